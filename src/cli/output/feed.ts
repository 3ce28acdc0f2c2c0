import { onceRead, printError, printNow, styledError, waiting } from "./stdout.js";
import type { Part } from "./text.js";

/** Bytes that may wait for whoever reads stdout. */
const MOST_WAITING = 16 * 1024 * 1024;

/**
 * Lines about something that must not wait for the reader of stdout. Beyond 16 MiB that wait, lines are left out, and how
 * many is told as soon as there is room.
 */
export class Feed {
  #leftOut = 0;

  write(line: Part): void {
    if (waiting() > MOST_WAITING) {
      if (this.#leftOut++ === 0) onceRead(() => this.end());
      return;
    }
    this.end();
    printNow(line);
  }

  /** Tells how many lines were left out, if any were since it was told last. */
  end(): void {
    if (this.#leftOut === 0) return;
    printError(styledError("red", `${this.#leftOut} lines left out: the reader is too slow`));
    this.#leftOut = 0;
  }
}
