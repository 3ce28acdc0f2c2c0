import { readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, expect, it, test } from "vitest";
import { ROOT } from "../helpers/program.js";

const { exports, imports } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as {
  exports: Record<string, string | { types: string }>;
  imports: Record<string, { types: string }>;
};

/** The entries, each with the file of its declarations. */
const ENTRIES = Object.entries(exports).flatMap(([name, targets]) =>
  typeof targets === "string" ? [] : [[name, join(ROOT, targets.types)] as const],
);

/** The declarations that a file consists of, by file and without comments: its own, and those that it imports. */
function reached(file: string, texts = new Map<string, string>()): Map<string, string> {
  if (texts.has(file)) return texts;
  const text = readFileSync(file, "utf8").replaceAll(/^ *\/?\*.*$/gm, "");
  texts.set(file, text);
  for (const [, specifier = ""] of text.matchAll(/(?:from |import\()"(\.{1,2}\/[^"]+)\.js"/g)) {
    reached(join(dirname(file), `${specifier}.d.ts`), texts);
  }
  return texts;
}

describe("the declarations of an entry", () => {
  it.each(ENTRIES)("say what %s is for", (_, file) => {
    const [, comment] = /^\/\*\*\n([\s\S]*?)\n \*\//.exec(readFileSync(file, "utf8")) ?? [];
    expect(comment).toContain("@module");
  });

  // TypeScript 6 and later includes no types that a project does not list, and `tsc --init` lists none. Without Node's, a
  // signal or an address would be of type any, and a server would have no `on`.
  it.each(ENTRIES)("of %s bring Node's types if they use them", (_, file) => {
    const texts = [...reached(file).values()];
    const uses = texts.some((text) => /\bAbortSignal\b|"node:|\bNodeJS\.|\b(?:asyncD|d|D)ispos/.test(text));
    expect(texts.some((text) => text.includes('<reference types="node"'))).toBe(uses);
  });
});

test("the package has no declarations that none of its entries reaches", () => {
  const dist = join(ROOT, "dist");
  const all = readdirSync(dist, { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".d.ts"))
    .map((name) => join(dist, name));
  const inside = Object.values(imports).map(({ types }) => join(ROOT, types));
  const found = new Map<string, string>();
  for (const file of [...ENTRIES.map(([, entry]) => entry), ...inside]) reached(file, found);
  expect(all.filter((file) => !found.has(file))).toEqual([]);
});
