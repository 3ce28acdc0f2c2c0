import { accessSync, constants, existsSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import type { Options } from "containerd-shim-protos/runc";
import { runProcess, startProcess } from "containerd-shim-protos/shim/process";
import { notFound, unknown } from "./errors.js";

const DEFAULT_ROOT = "/run/containerd/runc";
/**
 * How long a command that nobody waits for any more may go on. Most end by themselves, and have done all of what they were to
 * do then: a process that an exec has started and not told would be nobody's.
 */
const GRACE_MS = 1000;

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
  readonly #namespace: string;
  /** Aborts when nobody waits for the command any more. */
  readonly #signal: AbortSignal | undefined;
  #wasKilled = false;

  constructor(id: string, namespace: string, bundle: string, options: Options, signal?: AbortSignal) {
    this.#id = id;
    this.#namespace = namespace;
    this.#signal = signal;
    this.#bundle = bundle;
    this.#options = options;
    this.#command = options.binaryName || "runc";
    this.#log = join(bundle, "log.json");
    const root = join(options.root || DEFAULT_ROOT, namespace);
    this.#global = ["--root", root, ...(options.systemdCgroup ? ["--systemd-cgroup"] : [])];
  }

  /** The same for one call: what hangs when nobody waits for the call any more is killed. */
  during(signal: AbortSignal): Runc {
    return new Runc(this.#id, this.#namespace, this.#bundle, this.#options, signal);
  }

  create(launch: Launch): Promise<void> {
    return this.#launch("create", ["--bundle", this.#bundle, ...this.#creation()], launch);
  }

  /** Whether a command was killed because nobody waited for it any more. */
  get wasKilled(): boolean {
    return this.#wasKilled;
  }

  /** `flags` say what is restored, and `env` has the PATH on which criu is. */
  restore(launch: Launch, flags: readonly string[], env: Environment): Promise<void> {
    const noPivot = this.#options.noPivotRoot ? ["--no-pivot"] : [];
    const args = ["--detach", "--no-subreaper", ...flags, "--bundle", this.#bundle, ...noPivot];
    return this.#launch("restore", args, launch, { env });
  }

  /** Execs run at the same time, so each has a log of its own, which would tell another's error otherwise. */
  exec(launch: Launch, processFile: string, log: string): Promise<void> {
    return this.#launch("exec", ["--detach", "--process", processFile], launch, { log });
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

  async #launch(
    command: string,
    args: readonly string[],
    { pidFile, consoleSocket, stdio }: Launch,
    { env, log = this.#log }: { env?: Environment; log?: string } = {},
  ) {
    const socket = consoleSocket === undefined ? [] : ["--console-socket", consoleSocket];
    const before = sizeOf(log);
    const all = ["--pid-file", pidFile, ...socket, ...args, this.#id];
    const { cwd, args: invocation } = this.#invocation(command, all, log);
    const { status } = await this.#untilGivenUp(async (signal) => {
      const options = { cwd, env, stdio, endsWithShim: true, signal };
      const child = await startProcess(this.#command, invocation, options).catch((error) => {
        throw notStarted(command, error);
      });
      // The streams are the container's and go on.
      return child.exited;
    });
    if (status !== 0) this.#signal?.throwIfAborted();
    if (status !== 0) throw failed(command, lastError(log, before) ?? this.#endOf(status));
  }

  async #run(
    command: string,
    flags: readonly string[],
    { rest = [], env, input }: Extras = {},
  ): Promise<string> {
    const before = sizeOf(this.#log);
    const { cwd, args } = this.#invocation(command, [...flags, this.#id, ...rest], this.#log);
    const { status, stdout, stderr } = await this.#untilGivenUp((signal) =>
      runProcess(this.#command, args, { cwd, env, input, endsWithShim: true, signal }).catch((error) => {
        throw notStarted(command, error);
      }),
    );
    if (status !== 0) this.#signal?.throwIfAborted();
    const printed = () => textOf(stderr).trim() || this.#endOf(status);
    // The log says more than what is printed.
    if (status !== 0) throw failed(command, lastError(this.#log, before) ?? printed());
    return textOf(stdout);
  }

  /** Runs in the bundle, as with containerd's own shim: a wrapper may read config.json there. */
  #invocation(command: string, args: readonly string[], log: string): { cwd: string; args: string[] } {
    // runc does nothing at all if it cannot write its log; and a container must be killed all the same.
    const logged = isWritable(this.#bundle) ? ["--log", log, "--log-format", "json"] : [];
    const cwd = logged.length > 0 || existsSync(this.#bundle) ? this.#bundle : "/";
    return { cwd, args: [...this.#global, ...logged, command, ...args] };
  }

  /** Runs a program. When nobody waits for it any more, its signal aborts some time later. */
  async #untilGivenUp<T>(run: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const late = new AbortController();
    const given = this.#signal;
    let timer: NodeJS.Timeout | undefined;
    const giveUp = () => {
      timer = setTimeout(() => {
        this.#wasKilled = true;
        late.abort(given?.reason);
      }, GRACE_MS);
    };
    given?.addEventListener("abort", giveUp);
    try {
      return await run(late.signal);
    } finally {
      given?.removeEventListener("abort", giveUp);
      clearTimeout(timer);
    }
  }

  #endOf(status: number): string {
    return `${this.#command} ended with status ${status}`;
  }
}

function isWritable(folder: string): boolean {
  try {
    accessSync(folder, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

const sizeOf = (log: string) => statSync(log, { throwIfNoEntry: false })?.size ?? 0;

/** The last error that runc has logged. */
function lastError(log: string, before: number): string | undefined {
  if (sizeOf(log) === 0) return undefined;
  const lines = readFileSync(log).subarray(before).toString().split("\n");
  const last = lines.findLast((line) => line.includes('"error"'));
  if (last === undefined) return undefined;
  try {
    return (JSON.parse(last) as { msg: string }).msg.trim();
  } catch {
    // A full disk has cut it.
    return undefined;
  }
}

const failed = (command: string, why: string, cause?: unknown) =>
  unknown(`OCI runtime ${command} failed: ${why}`, cause);

const textOf = (bytes: Uint8Array) => Buffer.from(bytes).toString();

/** There is no such program, or no descriptor for its streams. */
function notStarted(command: string, error: unknown): Error {
  return failed(command, (error as Error).message, error);
}
