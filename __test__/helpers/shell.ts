import { execFileSync } from "node:child_process";

/** Words as a line for a shell, which takes each as it is. */
export function quoted(words: readonly string[]): string {
  return words.map((word) => `'${word.replaceAll("'", `'\\''`)}'`).join(" ");
}

/** Makes a fifo, and returns its path. */
export function makeFifo(path: string): string {
  execFileSync("mkfifo", [path]);
  return path;
}
