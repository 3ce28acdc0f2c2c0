import type { Command } from "commander";
import { print } from "../output/stdout.js";
import { text } from "../output/text.js";
import { candidates, type Candidates } from "../completion/candidates.js";
import { SCRIPTS } from "../completion/scripts.js";

/** What a shell takes for one word, as it is. Whoever names a socket otherwise does not write command lines by it. */
const PLAIN = /^[\w./:@%+,=~-]+$/;

/** Prints the script that teaches a shell to complete shimctl's words. */
export async function completion(shell: keyof typeof SCRIPTS): Promise<void> {
  await print(SCRIPTS[shell].trim().split("\n"));
}

/**
 * Prints what the last of some words may be, for those scripts: `words` and a line for each, or `files` where it is the
 * shell that knows.
 */
export async function complete(shimctl: Command, words: readonly string[]): Promise<void> {
  let found: Candidates = [];
  try {
    found = await candidates(shimctl, words);
  } catch {
    // A word is wrong, or a file cannot be read: whoever presses the tab key is still typing.
  }
  if (found === "files") return print("files");
  const plain = found.filter(({ word }) => PLAIN.test(word));
  await print(["words", ...plain.map(({ word, about }) => text`${word}\t${about}`)]);
}
