import { createReadStream } from "node:fs";
import { createInterface } from "node:readline";
import { text as readAll } from "node:stream/consumers";
import { UsageError } from "./errors.js";

/** The text of what a call sends: an argument, a file (`@file`) or stdin (`-`). */
export class Input {
  readonly #argument: string | undefined;

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
    try {
      return await readAll(source);
    } catch (error) {
      throw this.#unreadable(error);
    }
  }

  /** Its lines as they arrive; empty lines are skipped. */
  async *lines(): AsyncGenerator<string> {
    const source = this.#stream();
    if (typeof source === "string") {
      yield* source.split("\n").filter((line) => line.trim() !== "");
      return;
    }
    let failure: unknown;
    const lines = createInterface({ input: source, crlfDelay: Number.POSITIVE_INFINITY });
    // readline does not report an error of its stream.
    source.once("error", (error) => {
      failure = error;
      lines.close();
    });
    try {
      for await (const line of lines) if (line.trim() !== "") yield line;
    } finally {
      // Otherwise an open stdin would keep the process alive after a reader that left early.
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
