import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";

const LOG_LIMIT = 16 << 10;
const READY_MS = 30_000;

/** A daemon of the machine, which may be ended and started again, and the end of what it logs. */
export class Daemon {
  readonly #command: readonly [string, ...string[]];
  readonly #folder: string;
  #process: ChildProcess | undefined;
  #log = "";

  /** @param folder its working directory */
  constructor(command: readonly [string, ...string[]], folder: string) {
    this.#command = command;
    this.#folder = folder;
  }

  /** Starts it; resolves once `problem` resolves to nothing, and fails with the last problem if that takes too long. */
  async start(problem: () => Promise<string | undefined>): Promise<void> {
    const [program, ...args] = this.#command;
    const daemon = spawn(program, args, { cwd: this.#folder, stdio: ["ignore", "pipe", "pipe"] });
    this.#process = daemon;
    for (const stream of [daemon.stdout, daemon.stderr]) {
      stream.setEncoding("utf8").on("data", (text: string) => {
        this.#log = (this.#log + text).slice(-LOG_LIMIT);
      });
    }
    const deadline = Date.now() + READY_MS;
    for (let last = await problem(); last !== undefined; last = await problem()) {
      if (Date.now() > deadline) throw new Error(`${program} is not ready: ${last}\n${this.takeLog()}`);
      await sleep(100);
    }
  }

  /** Ends it alone, by a signal. */
  async end(signal: NodeJS.Signals): Promise<void> {
    const daemon = this.#process;
    this.#process = undefined;
    if (daemon === undefined || daemon.exitCode !== null || daemon.signalCode !== null) return;
    const exited = once(daemon, "exit");
    daemon.kill(signal);
    await exited;
  }

  /** What it and its shims have logged since this was last called, or the end of it. */
  takeLog(): string {
    const log = this.#log;
    this.#log = "";
    return log;
  }
}
