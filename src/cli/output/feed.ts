import { onceRead, printError, printNow, styledError, waiting } from "./stdout.js";
import type { Part } from "./text.js";

/** The most bytes that may wait for the reader of stdout. */
const MOST_WAITING = 16 * 1024 * 1024;

/**
 * Lines about something that must not wait for the reader of stdout. While more than 16 MiB wait for it, lines are left
 * out; their number is reported as soon as there is room.
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

  /** Reports how many lines were left out since the last report, if any. */
  end(): void {
    if (this.#leftOut === 0) return;
    printError(styledError("red", `${this.#leftOut} lines left out: the reader is too slow`));
    this.#leftOut = 0;
  }
}
