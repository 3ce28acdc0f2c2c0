import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import type { Socket } from "node:net";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { PACKAGE } from "./package.js";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

/**
 * What a script may use besides the product: `say` prints a line; `sayIfHeld` prints one a little later if something else
 * keeps the process alive until then, because its own timer does not.
 */
const PRELUDE = `
import * as product from "${PACKAGE}";
const say = (line) => process.stdout.write(line + "\\n");
const sayIfHeld = (line) => setTimeout(() => say(line), 100).unref();
const [address] = process.argv.slice(1);
`;

export interface ScriptOptions {
  /** What it inherits as descriptors from 3 on. */
  readonly stdio?: readonly Socket[];
  /** How many descriptors it may have open. */
  readonly maxFiles?: number;
  /** A program that runs it, with its first arguments. */
  readonly wrapper?: readonly string[];
}

/** A script that uses the product in a Node process of its own; its working directory is the repository. */
export class Script implements AsyncDisposable {
  readonly address: string;
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;
  readonly #ended: Promise<unknown>;
  #errors = "";

  /** @param source - A module, with `product`, `address`, `say` and `sayIfHeld` in scope. */
  constructor(source: string, address = "", { stdio = [], maxFiles, wrapper = [] }: ScriptOptions = {}) {
    const node = [...wrapper, process.execPath, "--input-type=module", "-e", PRELUDE + source, address];
    const limit = maxFiles === undefined ? "" : `ulimit -n ${maxFiles} && `;
    const child = spawn("/bin/sh", ["-c", `${limit}exec "$0" "$@"`, ...node], {
      cwd: ROOT,
      stdio: ["ignore", "pipe", "pipe", ...stdio],
    });
    if (child.stdout === null || child.stderr === null) throw new Error("a script's output is not piped");
    this.address = address;
    this.#child = child;
    this.#ended = once(child, "close");
    this.#lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    child.stderr.setEncoding("utf8").on("data", (chunk: string) => {
      this.#errors += chunk;
    });
  }

  get pid(): number {
    if (this.#child.pid === undefined) throw new Error("a script did not start");
    return this.#child.pid;
  }

  /** The next line that it says; undefined once it has ended. */
  async nextLine(): Promise<string | undefined> {
    const { done, value } = await this.#lines.next();
    return done === true ? undefined : value;
  }

  /** The lines that it says until it ends by itself. It must end without an error. */
  async rest(): Promise<string[]> {
    const lines: string[] = [];
    for (let line = await this.nextLine(); line !== undefined; line = await this.nextLine()) lines.push(line);
    await this.#ended;
    const { exitCode, signalCode } = this.#child;
    if (exitCode !== 0 || this.#errors !== "") {
      throw new Error(`the script ended with ${signalCode ?? exitCode}\n${this.#errors}`);
    }
    return lines;
  }

  /** Stops the process; `resume` continues it. */
  pause(): void {
    this.#child.kill("SIGSTOP");
  }

  resume(): void {
    this.#child.kill("SIGCONT");
  }

  async kill(): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
  }
}
