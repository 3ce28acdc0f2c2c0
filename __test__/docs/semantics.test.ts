import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { ROOT } from "../helpers/program.js";
import { textOf } from "./blocks.js";

const PAGE = "docs/ttrpc-semantics.md";

/** A row of a table, and its item in the list of tests below the table. */
interface Row {
  readonly what: string;
  readonly shownBy: string;
}

/** A table and the list below it, which has an item for each row, in order. */
const TABLE =
  /^\|(?<table>(?:.*\n\|)*.*)\n\n(?:\(.*\n(?:.+\n)*\n)*Shown by:\n\n(?<list>(?:(?:- | {2}).*\n)+)/gm;

function rowsOf(page: string): Row[] {
  return [...page.matchAll(TABLE)].flatMap(({ groups: { table = "", list = "" } = {} }) => {
    const rows = table.split("\n").slice(2);
    const items = list.slice(2).split(/^- /m);
    return Array.from({ length: Math.max(rows.length, items.length) }, (_, index) => {
      const what = rows[index]?.split("|")[index < rows.length ? 1 : 0]?.trim() ?? "no row";
      const item = (items[index] ?? "").replaceAll(/\s+/g, " ").trim();
      // An item that does not start with its row's words does not count.
      const start = `**${what}**: `;
      return { what, shownBy: item.startsWith(start) ? item.slice(start.length) : "" };
    });
  });
}

/** The files that a page names, and the names of tests in them. A whole file has no names. */
function testsOf(text: string): { file: string; names: string[] }[] {
  return [...text.matchAll(/`(?<file>[\w/.-]+)`(?<names>[^`]*(?:`[a-z_]+`)?)/g)].map(({ groups = {} }) => {
    const { file = "", names = "" } = groups;
    const suite = file.endsWith(".ts") ? file : `${file}.test.ts`;
    const driven = `__test__/both-drivers/${suite}`;
    const other = existsSync(join(ROOT, driven)) ? driven : `__test__/${suite}`;
    const path = file.endsWith(".rs") ? file : other;
    return { file: path, names: [...names.matchAll(/_([^_]+)_|`(\w+)`/g)].map(([, a, b]) => a ?? b ?? "") };
  });
}

/** The faults of the named tests. An … stands for any text. */
function faultsOf(text: string): string[] {
  const tests = testsOf(text);
  if (tests.length === 0) return ["no test is named"];
  return tests.flatMap(({ file, names }) => {
    const path = join(ROOT, file);
    if (!existsSync(path)) return [`there is no ${file}`];
    const lines = readFileSync(path, "utf8").split("\n");
    return names
      .filter((name) => !lines.some((line) => includesInOrder(line, name.split("…"))))
      .map((name) => `${file} has no test ${name}`);
  });
}

function includesInOrder(line: string, parts: readonly string[]): boolean {
  let at = 0;
  for (const part of parts) {
    const found = line.indexOf(part.trim(), at);
    if (found < 0) return false;
    at = found + part.trim().length;
  }
  return true;
}

const rows = rowsOf(textOf(PAGE));

describe("the page about ttrpc's semantics", () => {
  it("has a list of tests below each table except the one of limits", () => {
    const tables = textOf(PAGE).match(/^\|.*\n\| ?-/gm) ?? [];
    expect([...textOf(PAGE).matchAll(TABLE)]).toHaveLength(tables.length - 1);
    expect(rows.length).toBeGreaterThan(70);
  });

  it.each(rows)("names tests that exist for: $what", ({ shownBy }) => {
    expect(shownBy === "not tested" ? [] : faultsOf(shownBy)).toEqual([]);
  });

  it("leaves out no row except the one of a peer that vanishes", () => {
    const untested = rows.filter(({ shownBy }) => shownBy === "not tested");
    expect(untested.map(({ what }) => what)).toEqual(["an idle peer that vanishes (power, cable)"]);
  });

  it("names tests that exist in its text", () => {
    const named = [...textOf(PAGE).matchAll(/Tests:\s(?<tests>[^.]*)\./g)];
    expect(named).toHaveLength(3);
    expect(named.flatMap(([, tests = ""]) => faultsOf(tests.replaceAll(/\s+/g, " ")))).toEqual([]);
  });

  it("would not pass with a test or a file that does not exist, nor with a row without its item", () => {
    expect(faultsOf("`limits` _a test that nobody wrote_")).toHaveLength(1);
    expect(faultsOf("`limits-gone` _a request_")).toHaveLength(1);
    expect(faultsOf("`crate/engine/tests.rs` `no_such_test`")).toHaveLength(1);
    expect(rowsOf("| a |\n|---|\n| b |\n| c |\n\nShown by:\n\n- **b**: `limits`\n")[1]?.shownBy).toBe("");
    expect(rowsOf("| a |\n|---|\n| b |\n\nShown by:\n\n- **other**: `limits`\n")[0]?.shownBy).toBe("");
  });
});
