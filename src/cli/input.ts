import { createReadStream } from "node:fs";
import type { Readable } from "node:stream";
import { buffer as readAll } from "node:stream/consumers";
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
    const source = this.#stream();
    if (typeof source === "string") return source;
    return decoded(await this.#read(() => readAll(source)), this.name);
  }

  /** Its lines as they arrive; empty lines are skipped. Needs {@link close}. */
  async *lines(): AsyncGenerator<string> {
    const source = this.#stream();
    if (typeof source === "string") {
      yield* source.split("\n").filter(isFull);
      return;
    }
    this.#source = source;
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

  /** Stops reading. Otherwise an open stdin would keep the process alive after a reader that left early. */
  close(): void {
    this.#source?.destroy();
  }

  #stream(): Readable | string {
    if (this.#argument === undefined) return "";
    if (this.#argument === "-") return process.stdin;
    return this.#argument.startsWith("@") ? createReadStream(this.#argument.slice(1)) : this.#argument;
  }

  async #read<T>(read: () => Promise<T>): Promise<T> {
    try {
      return await read();
    } catch (error) {
      throw new UsageError(`cannot read ${this.name}: ${(error as Error).message}`);
    }
  }
}

/** The text of bytes, without a byte order mark. Throws a UsageError; `where` names the place in its text. */
function decoded(bytes: Uint8Array, where: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new UsageError(`${where} is not UTF-8`);
  }
}

const NEWLINE = 0x0a;

async function* linesOf(source: Readable): AsyncGenerator<Buffer, undefined> {
  let begun: Buffer[] = [];
  for await (const chunk of source as AsyncIterable<Buffer>) {
    let from = 0;
    for (let at = chunk.indexOf(NEWLINE); at !== -1; at = chunk.indexOf(NEWLINE, from)) {
      yield Buffer.concat([...begun, chunk.subarray(from, at)]);
      begun = [];
      from = at + 1;
    }
    begun.push(chunk.subarray(from));
  }
  yield Buffer.concat(begun);
}

function isFull(line: string): boolean {
  return line.trim() !== "";
}
