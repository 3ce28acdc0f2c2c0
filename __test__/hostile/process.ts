import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { ROOT } from "../helpers/program.js";

const KIB = 1024;

/** A script of this folder in a process of its own, which reads and prints lines. */
export class Process implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  constructor(name: string, ...args: string[]) {
    const script = join(import.meta.dirname, name);
    const command = ["--expose-gc", "--import", import.meta.resolve("tsx"), script, ...args];
    this.#child = spawn(process.execPath, command, { cwd: ROOT, stdio: ["pipe", "pipe", "inherit"] });
    this.#lines = createInterface({ input: this.#child.stdout! })[Symbol.asyncIterator]();
  }

  async line(): Promise<string> {
    const { done, value } = await this.#lines.next();
    if (done === true) throw new Error("the process has ended");
    return value;
  }

  ask(line: string): Promise<string> {
    this.#child.stdin!.write(`${line}\n`);
    return this.line();
  }

  /** The peak of the resident memory since it was last reset, or since the process began. */
  #peak(): number {
    const peak = /VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${this.#child.pid}/status`, "latin1"))?.[1];
    return Number(peak) * KIB;
  }

  /** The peak of the resident memory since the last call, or since the process began. */
  takePeak(): number {
    const peak = this.#peak();
    writeFileSync(`/proc/${this.#child.pid}/clear_refs`, "5");
    return peak;
  }

  /** Waits until the resident memory stops growing: on a busy machine the process may read slowly. */
  async settled(): Promise<void> {
    let peak = this.#peak();
    for (let [calm, tries] = [0, 0]; calm < 4 && tries < 60; tries++) {
      await sleep(250);
      const now = this.#peak();
      calm = now > peak ? 0 : calm + 1;
      peak = now;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = once(this.#child, "close");
    this.#child.kill("SIGKILL");
    await closed;
  }
}
