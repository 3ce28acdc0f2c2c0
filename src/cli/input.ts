import { createReadStream } from "node:fs";
import { createInterface } from "node:readline";
import { text as readAll } from "node:stream/consumers";
import { UsageError } from "./errors.js";

/** What a call sends, as text: an argument, a file (`@file`) or stdin (`-`). */
export class Input {
  readonly #argument: string | undefined;

  constructor(argument: string | undefined) {
    this.#argument = argument;
  }

  /** Whether there is any. */
  get given(): boolean {
    return this.#argument !== undefined;
  }

  /** What errors call it. */
  get name(): string {
    if (this.#argument === "-") return "stdin";
    return this.#argument?.startsWith("@") ? this.#argument.slice(1) : "the argument";
  }

  /** All of it. */
  async text(): Promise<string> {
    const source = this.#stream();
    if (typeof source === "string") return source;
    try {
      return await readAll(source);
    } catch (error) {
      throw this.#unreadable(error);
    }
  }

  /** Its lines as they come, without those that are empty. */
  async *lines(): AsyncGenerator<string> {
    const source = this.#stream();
    if (typeof source === "string") {
      yield* source.split("\n").filter((line) => line.trim() !== "");
      return;
    }
    let failure: unknown;
    const lines = createInterface({ input: source, crlfDelay: Number.POSITIVE_INFINITY });
    // readline hears nothing of a stream that fails.
    source.once("error", (error) => {
      failure = error;
      lines.close();
    });
    try {
      for await (const line of lines) if (line.trim() !== "") yield line;
    } finally {
      // A reader that leaves early would otherwise keep the process until the end of stdin.
      source.destroy();
    }
    if (failure !== undefined) throw this.#unreadable(failure);
  }

  #stream(): (NodeJS.ReadableStream & { destroy(): unknown }) | string {
    if (this.#argument === undefined) return "";
    if (this.#argument === "-") return process.stdin;
    return this.#argument.startsWith("@") ? createReadStream(this.#argument.slice(1)) : this.#argument;
  }

  #unreadable(error: unknown): UsageError {
    return new UsageError(`cannot read ${this.name}: ${(error as Error).message}`);
  }
}
