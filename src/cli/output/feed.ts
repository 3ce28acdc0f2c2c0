import { styledError } from "./stdout.js";

/** Bytes that may wait for whoever reads stdout. */
const MOST_WAITING = 16 * 1024 * 1024;

/**
 * Lines about something that must not wait for the reader of stdout. Beyond 16 MiB that wait, lines are left out, and how
 * many is told as soon as there is room.
 */
export class Feed {
  #leftOut = 0;

  write(line: string): void {
    if (process.stdout.writableLength > MOST_WAITING) {
      this.#leftOut++;
      return;
    }
    if (this.#leftOut > 0) {
      process.stderr.write(
        `${styledError("red", `${this.#leftOut} lines left out: the reader is too slow`)}\n`,
      );
      this.#leftOut = 0;
    }
    process.stdout.write(`${line}\n`);
  }
}
