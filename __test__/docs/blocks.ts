import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { ROOT } from "../helpers/program.js";

/*
 * The code of the documentation. The language and the first line of a block determine what it must be:
 *
 * - `ts` and `js`: a module that a strict compiler accepts. If its first line is a comment with a file name, it is a program, and
 *   a test runs it.
 * - `sh`: commands. Without a language, the lines after `$ ` are commands. They must exist and accept their arguments.
 * - `json`: JSON. `proto` and `yaml`: files of the repository.
 * - In any language, a first line that names a file of examples/: the rest is that file.
 *
 * A comment `<!-- prelude … -->` right before a block of TypeScript has the code that the block assumes.
 */

/** A fenced block of a page. */
export interface Block {
  readonly page: string;
  readonly line: number;
  readonly language: string;
  readonly code: string;
  /** The file that its first line names. */
  readonly name: string | undefined;
  readonly prelude: string;
}

/** The place of a block, for the name of a test. */
export const placeOf = ({ page, line }: Block): string => `${page}:${line}`;

/** The pages of the documentation, relative to the repository. */
export const PAGES: readonly string[] = [
  "README.md",
  "CONTRIBUTING.md",
  ...readdirSync(join(ROOT, "docs"))
    .filter((name) => name.endsWith(".md"))
    .map((name) => `docs/${name}`)
    .toSorted(),
];

/** The text of a page. */
export function textOf(page: string): string {
  return readFileSync(join(ROOT, page), "utf8");
}

const FENCED =
  /(?:^<!-- prelude\n(?<prelude>.*?)-->\n+)?^(?<indent> *)```(?<language>[^\n]*)\n(?<code>.*?)^ *```$/gms;
const NAMED = /^(?:\/\/|#) (?<name>[\w./-]+\.(?:ts|mjs|proto|yaml))\n/;

/** All blocks of a page. */
export function blocksOf(page: string): Block[] {
  const text = textOf(page);
  return [...text.matchAll(FENCED)].map((match) => {
    const { prelude = "", indent = "", language = "", code = "" } = match.groups ?? {};
    const fence = match.index + match[0].indexOf("```", prelude.length);
    const lines = code.replaceAll(new RegExp(`^${indent}`, "gm"), "");
    const name = NAMED.exec(lines)?.groups?.["name"];
    return { page, line: text.slice(0, fence).split("\n").length, language, code: lines, name, prelude };
  });
}

/** Whether a block is a module of TypeScript or JavaScript. */
export const isModule = ({ language }: Block): boolean => language === "ts" || language === "js";

/** All blocks of all pages. */
export const BLOCKS: readonly Block[] = PAGES.flatMap(blocksOf);

/** A block that is a program of its page. */
export type ProgramBlock = Block & { readonly name: string };

/** The programs of the documentation. */
export const PROGRAMS: readonly ProgramBlock[] = BLOCKS.filter(
  (block): block is ProgramBlock => isModule(block) && block.name !== undefined && !block.name.includes("/"),
);
