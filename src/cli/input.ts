import { constants, createReadStream, fstatSync, openSync } from "node:fs";
import { Socket } from "node:net";
import type { Readable } from "node:stream";
import { isatty, ReadStream } from "node:tty";
import { UsageError } from "./errors.js";

/** The text of what a call sends: an argument, a file (`@file`) or stdin (`-`). */
export class Input {
  readonly #argument: string | undefined;
  #source: Readable | undefined;

  constructor(argument: string | undefined) {
    this.#argument = argument;
  }

  /** Whether anything was given. */
  get given(): boolean {
    return this.#argument !== undefined;
  }

  /** Its name in error texts. */
  get name(): string {
    if (this.#argument === "-") return "stdin";
    return this.#argument?.startsWith("@") ? this.#argument.slice(1) : "the argument";
  }

  /** The whole text. */
  async text(): Promise<string> {
    const source = this.#open();
    if (typeof source === "string") return source;
    return decoded(await this.#read(() => wholeOf(source)), this.name);
  }

  /** Its lines as they arrive; empty lines are skipped. Needs {@link close}. */
  async *lines(): AsyncGenerator<string> {
    const source = this.#open();
    if (typeof source === "string") {
      yield* source.split("\n").filter(isFull);
      return;
    }
    const lines = linesOf(source);
    for (let number = 1; ;) {
      const { value, done } = await this.#read(() => lines.next());
      if (done) return;
      const line = decoded(value, `${this.name}, message ${number}`);
      if (!isFull(line)) continue;
      yield line;
      number++;
    }
  }

  /** Stops reading, which then fails. An open stdin or pipe would keep the process alive after a reader that left early. */
  close(): void {
    this.#source?.destroy();
  }

  #open(): Readable | string {
    const argument = this.#argument ?? "";
    if (argument !== "-" && !argument.startsWith("@")) return argument;
    try {
      this.#source = argument === "-" ? process.stdin : streamOf(argument.slice(1));
      return this.#source;
    } catch (error) {
      throw this.#failure(error);
    }
  }

  async #read<T>(read: () => Promise<T>): Promise<T> {
    try {
      return await read();
    } catch (error) {
      throw this.#failure(error);
    }
  }

  #failure(error: unknown): UsageError {
    return new UsageError(`cannot read ${this.name}: ${(error as Error).message}`);
  }
}

/**
 * Opens a file. A pipe or a terminal is read as a socket is: a read that waits in one of Node's threads can neither be taken
 * back, nor does the process end before it does.
 */
function streamOf(file: string): Readable {
  const fd = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK);
  if (isatty(fd)) return new ReadStream(fd);
  return fstatSync(fd).isFIFO() ? new Socket({ fd, writable: false }) : createReadStream(file, { fd });
}

/** The text of bytes, without a byte order mark. Throws a UsageError; `where` names the place in its text. */
function decoded(bytes: Uint8Array, where: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new UsageError(`${where} is not UTF-8`);
  }
}

/** The most bytes of a request's text. That of every message which ttrpc carries is shorter, even if it is indented. */
const MOST_BYTES = 64 * 1024 * 1024;

/** Bytes that come in pieces, up to the limit. */
class Pieces {
  #pieces: Buffer[] = [];
  #size = 0;

  add(piece: Buffer): void {
    this.#size += piece.length;
    if (this.#size > MOST_BYTES) throw new Error("it is longer than 64 MiB");
    this.#pieces.push(piece);
  }

  /** All of them as one. */
  take(): Buffer {
    const whole = Buffer.concat(this.#pieces);
    this.#pieces = [];
    this.#size = 0;
    return whole;
  }
}

async function wholeOf(source: Readable): Promise<Buffer> {
  const pieces = new Pieces();
  for await (const chunk of source as AsyncIterable<Buffer>) pieces.add(chunk);
  return pieces.take();
}

const NEWLINE = 0x0a;

async function* linesOf(source: Readable): AsyncGenerator<Buffer, undefined> {
  const begun = new Pieces();
  for await (const chunk of source as AsyncIterable<Buffer>) {
    let from = 0;
    for (let at = chunk.indexOf(NEWLINE); at !== -1; at = chunk.indexOf(NEWLINE, from)) {
      begun.add(chunk.subarray(from, at));
      yield begun.take();
      from = at + 1;
    }
    begun.add(chunk.subarray(from));
  }
  yield begun.take();
}

function isFull(line: string): boolean {
  return line.trim() !== "";
}
