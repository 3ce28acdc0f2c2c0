import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { expect, it } from "vitest";
import { ROOT } from "../helpers/program.js";
import { textOf } from "./blocks.js";

/** The text below a heading of docs/design.md. */
function section(heading: string): string {
  return textOf("docs/design.md").split(`\n## ${heading}\n`)[1]?.split("\n## ")[0] ?? "";
}

it("each word of the glossary appears once, in order", () => {
  const words = [...section("Words").matchAll(/^- \*\*(.+?)\*\*:/gm)].map(([, word = ""]) => word);
  expect(words.length).toBeGreaterThan(20);
  expect(words).toEqual([...new Set(words)].toSorted());
});

/** The paths in a cell. A path without a folder is in the folder of the one before it. */
function pathsOf(cell: string): string[] {
  let folder = "";
  return [...cell.matchAll(/`([\w/.-]+)`/g)].map(([, path = ""]) => {
    const whole = path.includes("/") ? path : join(folder, path);
    folder = whole.endsWith("/") ? whole : dirname(whole);
    return whole;
  });
}

it("each folder and file in the table of changes exists", () => {
  const rows = section("Where a change goes")
    .split("\n")
    .filter((line) => line.startsWith("|"))
    .slice(2);
  expect(rows.length).toBeGreaterThan(10);
  const paths = rows.flatMap((row) => row.split("|").slice(2, -1).flatMap(pathsOf));
  expect(paths.filter((path) => !existsSync(join(ROOT, path)))).toEqual([]);
});
