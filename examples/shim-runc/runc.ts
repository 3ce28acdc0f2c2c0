import { existsSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import type { Options } from "containerd-shim-protos/runc";
import { runProcess, startProcess } from "containerd-shim-protos/shim/process";
import { notFound, unknown } from "./errors.js";

const DEFAULT_ROOT = "/run/containerd/runc";

/** How a process is started: with these streams, or with a terminal that is sent to a socket. */
export interface Launch {
  readonly stdio: readonly (number | "ignore")[];
  readonly consoleSocket: string | undefined;
  readonly pidFile: string;
}

/** The whole environment of a runc; this process's if there is none. */
type Environment = Readonly<Record<string, string>>;

/** What a command gets besides its flags and the container's id. */
interface Extras {
  readonly rest?: readonly string[];
  readonly env?: Environment;
  readonly input?: Uint8Array;
}

/**
 * The command runc, or another with the same command line, about the container of one bundle. It ends with the shim: what
 * hangs does not outlive it, and no `create` goes on after the `delete` that clears up behind a shim that was killed.
 */
export class Runc {
  readonly #command: string;
  readonly #global: readonly string[];
  readonly #log: string;
  readonly #bundle: string;
  readonly #id: string;
  readonly #options: Options;

  constructor(id: string, namespace: string, bundle: string, options: Options) {
    this.#id = id;
    this.#bundle = bundle;
    this.#options = options;
    this.#command = options.binaryName || "runc";
    this.#log = join(bundle, "log.json");
    const root = join(options.root || DEFAULT_ROOT, namespace);
    this.#global = ["--root", root, ...(options.systemdCgroup ? ["--systemd-cgroup"] : [])];
  }

  create(launch: Launch): Promise<void> {
    return this.#launch("create", ["--bundle", this.#bundle, ...this.#creation()], launch);
  }

  /** `flags` say what is restored, and `env` has the PATH on which criu is. */
  restore(launch: Launch, flags: readonly string[], env: Environment): Promise<void> {
    const noPivot = this.#options.noPivotRoot ? ["--no-pivot"] : [];
    const args = ["--detach", "--no-subreaper", ...flags, "--bundle", this.#bundle, ...noPivot];
    return this.#launch("restore", args, launch, env);
  }

  exec(launch: Launch, processFile: string): Promise<void> {
    return this.#launch("exec", ["--detach", "--process", processFile], launch);
  }

  start(): Promise<string> {
    return this.#run("start", []);
  }

  /** Sends a signal to the first process, or to all. Rejects with NotFound if there is nothing to signal. */
  async kill(signal: number, all: boolean): Promise<void> {
    try {
      await this.#run("kill", all ? ["--all"] : [], { rest: [String(signal)] });
    } catch (error) {
      const text = String(error).toLowerCase();
      if (/process already finished|container not running|no such process/.test(text)) {
        throw notFound("process already finished");
      }
      if (text.includes("does not exist")) throw notFound("no such container");
      throw error;
    }
  }

  delete(force: boolean): Promise<string> {
    return this.#run("delete", force ? ["--force"] : []);
  }

  pause(): Promise<string> {
    return this.#run("pause", []);
  }

  resume(): Promise<string> {
    return this.#run("resume", []);
  }

  /** The pids of all processes in the container. */
  async pids(): Promise<number[]> {
    return (JSON.parse(await this.#run("ps", ["--format", "json"])) as number[] | null) ?? [];
  }

  /** Sets the limits of a container that runs, given as JSON of the spec's `linux.resources`. */
  update(resources: Uint8Array): Promise<string> {
    return this.#run("update", ["--resources", "-"], { input: resources });
  }

  checkpoint(flags: readonly string[], env: Environment): Promise<string> {
    return this.#run("checkpoint", flags, { env });
  }

  #creation(): string[] {
    const { noPivotRoot, noNewKeyring } = this.#options;
    return [...(noPivotRoot ? ["--no-pivot"] : []), ...(noNewKeyring ? ["--no-new-keyring"] : [])];
  }

  async #launch(command: string, args: readonly string[], launch: Launch, env?: Environment) {
    const { pidFile, consoleSocket, stdio } = launch;
    const socket = consoleSocket === undefined ? [] : ["--console-socket", consoleSocket];
    const before = this.#logSize();
    const all = ["--pid-file", pidFile, ...socket, ...args, this.#id];
    const { cwd, args: invocation } = this.#invocation(command, all);
    const options = { cwd, env, stdio, endsWithShim: true };
    const child = await startProcess(this.#command, invocation, options).catch((error) => {
      throw notStarted(command, error);
    });
    // The streams are the container's and go on.
    const { status } = await child.exited;
    if (status !== 0) throw this.#failed(command, before, this.#endOf(status));
  }

  async #run(
    command: string,
    flags: readonly string[],
    { rest = [], env, input }: Extras = {},
  ): Promise<string> {
    const before = this.#logSize();
    const { cwd, args } = this.#invocation(command, [...flags, this.#id, ...rest]);
    const { status, stdout, stderr } = await runProcess(this.#command, args, {
      cwd,
      env,
      input,
      endsWithShim: true,
    }).catch((error) => {
      throw notStarted(command, error);
    });
    if (status !== 0) throw this.#failed(command, before, textOf(stderr).trim() || this.#endOf(status));
    return textOf(stdout);
  }

  /** Runs in the bundle, as with containerd's own shim: a wrapper may read config.json there. */
  #invocation(command: string, args: readonly string[]): { cwd: string; args: string[] } {
    const there = existsSync(this.#bundle);
    const log = there ? ["--log", this.#log, "--log-format", "json"] : [];
    return { cwd: there ? this.#bundle : "/", args: [...this.#global, ...log, command, ...args] };
  }

  #failed(command: string, logged: number, otherwise: string): Error {
    return unknown(`OCI runtime ${command} failed: ${this.#lastError(logged) ?? otherwise}`);
  }

  #endOf(status: number): string {
    return `${this.#command} ended with status ${status}`;
  }

  #logSize(): number {
    return statSync(this.#log, { throwIfNoEntry: false })?.size ?? 0;
  }

  /** The last error that runc has logged, which says more than what it prints. */
  #lastError(before: number): string | undefined {
    if (this.#logSize() === 0) return undefined;
    const lines = readFileSync(this.#log).subarray(before).toString().split("\n");
    const last = lines.findLast((line) => line.includes('"error"'));
    if (last === undefined) return undefined;
    try {
      return (JSON.parse(last) as { msg: string }).msg.trim();
    } catch {
      // A full disk has cut it.
      return undefined;
    }
  }
}

const textOf = (bytes: Uint8Array) => Buffer.from(bytes).toString();

/** There is no such program, or no descriptor for its streams. */
function notStarted(command: string, error: unknown): Error {
  return unknown(`OCI runtime ${command} failed: ${(error as Error).message}`, error);
}
