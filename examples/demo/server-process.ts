import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** server.ts in a process of its own, and the folder that holds its socket. */
export class ServerProcess {
  readonly address: string;
  readonly #child: ChildProcess;
  readonly #folder: string;
  readonly #removeFolder = () => rmSync(this.#folder, { recursive: true, force: true });

  private constructor() {
    // mkdtemp gives it mode 0700, so only this user can reach the socket.
    this.#folder = mkdtempSync(join(tmpdir(), "shim-demo-"));
    // A process that exits early, such as on a second signal, does not reach the end of `await using`.
    process.once("exit", this.#removeFolder);
    this.address = `unix://${join(this.#folder, "task.sock")}`;
    this.#child = fork(join(import.meta.dirname, "server.ts"), [this.address], {
      stdio: ["ignore", "inherit", "inherit", "ipc"],
    });
  }

  /** Starts the process and waits until it listens. */
  static async start(signal: AbortSignal): Promise<ServerProcess> {
    const server = new ServerProcess();
    try {
      await server.#listening(signal);
      return server;
    } catch (error) {
      await server[Symbol.asyncDispose]();
      throw error;
    }
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  async #listening(signal: AbortSignal): Promise<void> {
    const done = new AbortController();
    const either = { signal: AbortSignal.any([signal, done.signal]) };
    try {
      const ended = await Promise.race([
        once(this.#child, "message", either).then(() => undefined),
        once(this.#child, "exit", either).then(([code, killedBy]) => String(code ?? killedBy)),
      ]);
      if (ended !== undefined) throw new Error(`the server ended before it listened: ${ended}`);
    } finally {
      done.abort();
    }
  }

  /** Ends the process and removes the folder. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      const exited = once(this.#child, "exit");
      if (this.#child.connected) this.#child.disconnect();
      const impatient = setTimeout(() => this.#child.kill("SIGKILL"), 2000);
      await exited;
      clearTimeout(impatient);
    }
    this.#removeFolder();
    process.removeListener("exit", this.#removeFolder);
  }
}
