import { homedir } from "node:os";

/** A word, or the space between two: quoted parts, escaped characters, and others. A quote may still be open. */
const PART = /'([^']*)'?|"((?:[^"\\]|\\.)*)"?|\\(.?)|(\s+)|([^\s'"\\]+)/gs;

/** The words of a line, without their quotes and backslashes, as a shell would read them. The last one may be empty. */
export function wordsOf(line: string): string[] {
  const words = [""];
  for (const [, single, double, escaped, space, plain] of line.trimStart().matchAll(PART)) {
    if (space !== undefined) words.push("");
    else
      words[words.length - 1] += single ?? double?.replaceAll(/\\(["$\\`])/g, "$1") ?? escaped ?? plain ?? "";
  }
  return words;
}

/** A word with the home folder in place of a `~` that stands for it, which a shell replaces only once the line is entered. */
export function withHome(word: string): string {
  return word.replace(/^((?:--[\w-]+=)?)~(?=\/)/, (_, option: string) => option + homedir());
}
