import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";

/** The folder of the repository. */
export const ROOT = fileURLToPath(new URL("../..", import.meta.url));

/** How a program is run. */
export interface RunOptions {
  readonly cwd?: string;
  /** The program's folder for temporary files. */
  readonly tmp?: string;
}

/** A program in a process of its own. */
export class Started implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #closed: Promise<unknown>;
  output = "";
  errors = "";

  constructor(command: string, args: readonly string[], { cwd = ROOT, tmp }: RunOptions = {}) {
    this.#child = spawn(command, args, {
      cwd,
      env: { ...process.env, ...(tmp !== undefined && { TMPDIR: tmp }) },
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.#closed = once(this.#child, "close");
    this.#child.stdout?.setEncoding("utf8").on("data", (chunk: string) => (this.output += chunk));
    this.#child.stderr?.setEncoding("utf8").on("data", (chunk: string) => (this.errors += chunk));
  }

  /** Waits until it has printed a text. */
  async printed(text: string): Promise<void> {
    const { stdout } = this.#child;
    if (stdout === null) throw new Error("its output is not piped");
    const closed = this.#closed.then(() => true);
    while (!this.output.includes(text)) {
      const over = await Promise.race([closed, once(stdout, "data").then(() => false)]);
      if (over && !this.output.includes(text)) {
        throw new Error(`it ended before it printed ${JSON.stringify(text)}\n${this.errors}`);
      }
    }
  }

  /** Sends a signal. */
  signal(name: NodeJS.Signals): void {
    this.#child.kill(name);
  }

  /** Stops reading its output, as `head` does. */
  ignore(): void {
    this.#child.stdout?.destroy();
  }

  /** Resolves when it has ended: to its status, or the signal that ended it. */
  async ended(): Promise<number | NodeJS.Signals | null> {
    await this.#closed;
    return this.#child.exitCode ?? this.#child.signalCode;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.signal("SIGKILL");
    await this.#closed;
  }
}
