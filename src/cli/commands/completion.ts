import type { Command } from "commander";
import { print } from "../output/stdout.js";
import { text } from "../output/text.js";
import { candidates, type Candidates } from "../completion/candidates.js";
import { withHome, wordsOf } from "../completion/words.js";
import { SCRIPTS } from "../completion/scripts.js";

/** Words that a shell takes literally. No other is offered, so that the name of a socket cannot inject a command. */
const PLAIN = /^[\w./:@%+,=~-]+$/;

/** Prints the script that teaches a shell to complete shimctl's words. */
export async function completion(shell: keyof typeof SCRIPTS): Promise<void> {
  await print(SCRIPTS[shell].trim().split("\n"));
}

/**
 * Prints the candidates for the last of some words, or of those of a line, for those scripts: `words` and a line for each,
 * or `files` if the shell completes it by itself.
 */
export async function complete(shimctl: Command, typed: readonly string[] | string): Promise<void> {
  let found: Candidates = [];
  try {
    const words = typeof typed === "string" ? wordsOf(typed).slice(1) : typed;
    found = await candidates(
      shimctl,
      words.map((word) => withHome(word)),
    );
  } catch {
    // A wrong word or an unreadable file is not an error yet: the user is still typing.
  }
  if (found === "files") return print("files");
  const plain = found.filter(({ word }) => PLAIN.test(word));
  await print(["words", ...plain.map(({ word, about }) => text`${word}\t${about}`)]);
}
