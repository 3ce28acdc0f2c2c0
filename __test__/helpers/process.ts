import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { closeSync, openSync, readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { temporaryPath } from "./temp.js";

/** A process of an independent peer, and its output, line by line. */
export class PeerProcess implements AsyncDisposable {
  readonly pid: number;
  readonly #process: ChildProcess;
  readonly #lines: AsyncIterator<string>;
  readonly #ended: Promise<unknown>;
  readonly #log = temporaryPath(".log");

  constructor(binary: string, args: readonly string[]) {
    // A file takes all of the peer's errors even while a blocking call keeps this process from reading.
    const log = openSync(this.#log, "w");
    // A server ends with its stdin, so it cannot outlive this process, however this process ends.
    const child = spawn(binary, args, { stdio: ["pipe", "pipe", log] });
    closeSync(log);
    if (child.pid === undefined) throw new Error(`cannot start ${binary}`);
    if (child.stdout === null) throw new Error("the peer's output is not piped");
    this.pid = child.pid;
    this.#process = child;
    this.#ended = once(child, "close");
    this.#lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  }

  /** The next line of output; undefined if there are no more. */
  async nextLine(): Promise<string | undefined> {
    const { done, value } = await this.#lines.next();
    return done === true ? undefined : value;
  }

  /** How the process failed, once it has ended; undefined if it did not fail. */
  async failure(): Promise<string | undefined> {
    await this.#ended;
    const { exitCode, signalCode } = this.#process;
    if (exitCode === 0) return undefined;
    return `${signalCode ?? `exit status ${exitCode}`}\n${readFileSync(this.#log, "utf8")}`;
  }

  /** Kills the process, whatever it is doing, and resolves when it has gone. */
  async kill(): Promise<void> {
    this.#process.kill("SIGKILL");
    await this.#ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
  }
}
