import { Buffer } from "node:buffer";
import { StringDecoder } from "node:string_decoder";

/** The longest text of a log line, in UTF-16 units. Less is kept of a line that has not ended. */
export const LONGEST_TEXT = 64 << 10;

/** Marks where a line was broken: at the end of one part, and at the beginning of the next. */
const MARK = "…";

/**
 * Splits text that arrives in pieces into lines. A line that is too long becomes several, each marked where it was
 * broken. A character that is split between two pieces stays whole.
 */
export class Lines {
  readonly #line: (line: string) => void;
  readonly #decoder = new StringDecoder("utf8");
  /** Of a line that has not ended. */
  #rest = "";

  /** @param line - Called with each line, without its line end. */
  constructor(line: (line: string) => void) {
    this.#line = line;
  }

  /** Takes the next piece: UTF-8, or text. */
  write(piece: string | Uint8Array): void {
    // A text does not complete the bytes of a split character.
    const text = typeof piece === "string" ? this.#decoder.end() + piece : this.#decoder.write(piece);
    let from = 0;
    for (let to = text.indexOf("\n"); to >= 0; to = text.indexOf("\n", from)) {
      this.#add(text, from, to);
      this.#emit();
      from = to + 1;
    }
    this.#add(text, from, text.length);
    // A substring keeps the whole string in memory.
    if (text.length > LONGEST_TEXT) this.#rest = Buffer.from(this.#rest, "utf16le").toString("utf16le");
  }

  /** The part of a line that will not end counts as a line. */
  end(): void {
    const last = this.#decoder.end();
    this.#add(last, 0, last.length);
    if (this.#rest !== "") this.#emit();
  }

  #add(text: string, from: number, to: number): void {
    let start = from;
    for (;;) {
      const room = LONGEST_TEXT - MARK.length - this.#rest.length;
      if (to - start <= room) break;
      const part = this.#rest + text.slice(start, start + room);
      const end = wholeTo(part, part.length);
      this.#rest = part.slice(0, end) + MARK;
      this.#emit();
      this.#rest = MARK + part.slice(end);
      start += room;
    }
    this.#rest += text.slice(start, to);
  }

  #emit(): void {
    const line = this.#rest;
    this.#rest = "";
    this.#line(line);
  }
}

/** Shortens a string that is too long; a mark says how much is left out. */
export function shortened(text: string): string {
  if (text.length <= LONGEST_TEXT) return text;
  const end = wholeTo(text, LONGEST_TEXT - 32);
  return `${text.slice(0, end)}${MARK} (${text.length - end} more)`;
}

/** Where to cut a string: at `end`, or one unit earlier if that would split a character. */
function wholeTo(text: string, end: number): number {
  return (text.charCodeAt(end - 1) & 0xfc00) === 0xd800 ? end - 1 : end;
}
