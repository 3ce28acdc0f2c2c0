import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { ROOT, temporaryFolder } from "../helpers/program.js";
import { PAGES, textOf } from "./blocks.js";

const drawings = readdirSync(join(ROOT, "docs")).filter((name) => name.endsWith(".svg"));

const drawn = (name: string): string => readFileSync(join(ROOT, "docs", name), "utf8");

it("the drawings in docs/ are up to date with their script", () => {
  const folder = temporaryFolder();
  execFileSync(process.execPath, [join(ROOT, "scripts/docs/drawings.mjs"), folder]);
  expect(readdirSync(folder).toSorted()).toEqual(drawings.toSorted());
  for (const name of drawings) expect(readFileSync(join(folder, name), "utf8")).toBe(drawn(name));
});

it.each(drawings)("%s is on a page, and has a title and colours for dark pages", (name) => {
  expect(PAGES.some((page) => textOf(page).includes(`${name})`))).toBe(true);
  expect(drawn(name)).toContain("prefers-color-scheme: dark");
  expect(drawn(name)).toMatch(/<title id="title">[^<]+<\/title>/);
});
