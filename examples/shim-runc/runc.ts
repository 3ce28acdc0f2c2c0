import { spawn, type StdioOptions } from "node:child_process";
import { once } from "node:events";
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import type { Options } from "containerd-shim-protos/runc";

const DEFAULT_ROOT = "/run/containerd/runc";

/** How a process is started: with these streams, or with a terminal that is sent to a socket. */
export interface Launch {
  readonly stdio: readonly (number | "ignore")[];
  readonly consoleSocket: string | undefined;
  readonly pidFile: string;
}

/** The command runc, or another with the same command line, about the container of one bundle. */
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
    this.#global = ["--root", root, "--log", this.#log, "--log-format", "json"];
    if (options.systemdCgroup) this.#global = [...this.#global, "--systemd-cgroup"];
  }

  create(launch: Launch): Promise<void> {
    return this.#launch("create", ["--bundle", this.#bundle, ...this.#creation()], launch, [this.#id]);
  }

  restore(launch: Launch, image: string, work: string): Promise<void> {
    const flags = ["--detach", "--no-subreaper", "--image-path", image, "--work-path", work];
    const args = [...flags, "--bundle", this.#bundle, ...this.#creation()];
    return this.#launch("restore", args, launch, [this.#id]);
  }

  exec(launch: Launch, processFile: string): Promise<void> {
    return this.#launch("exec", ["--detach", "--process", processFile], launch, [this.#id]);
  }

  start(): Promise<string> {
    return this.#run("start", []);
  }

  kill(signal: number, all: boolean): Promise<string> {
    return this.#run("kill", all ? ["--all"] : [], [String(signal)]);
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
    return this.#run("update", ["--resources", "-"], [], resources);
  }

  checkpoint(flags: readonly string[]): Promise<string> {
    return this.#run("checkpoint", flags);
  }

  #creation(): string[] {
    const { noPivotRoot, noNewKeyring } = this.#options;
    return [...(noPivotRoot ? ["--no-pivot"] : []), ...(noNewKeyring ? ["--no-new-keyring"] : [])];
  }

  async #launch(command: string, args: readonly string[], launch: Launch, rest: readonly string[]) {
    const { pidFile, consoleSocket, stdio } = launch;
    const socket = consoleSocket === undefined ? [] : ["--console-socket", consoleSocket];
    const before = this.#logSize();
    const all = [...this.#global, command, "--pid-file", pidFile, ...socket, ...args, ...rest];
    const child = spawn(this.#command, all, { stdio: [...stdio] as StdioOptions });
    // The streams are the container's and go on: "close" would come when it ends.
    const [code, signal] = (await once(child, "exit")) as [number | null, NodeJS.Signals | null];
    if (code !== 0) throw this.#failure(command, before, `it ended with ${signal ?? code}`);
  }

  async #run(
    command: string,
    flags: readonly string[],
    rest: readonly string[] = [],
    input?: Uint8Array,
  ): Promise<string> {
    const before = this.#logSize();
    const child = spawn(this.#command, [...this.#global, command, ...flags, this.#id, ...rest], {
      stdio: ["pipe", "pipe", "pipe"],
    });
    child.stdin.on("error", () => undefined);
    child.stdin.end(input);
    const closed = once(child, "close") as Promise<[number | null, NodeJS.Signals | null]>;
    const [output, errors, [code, signal]] = await Promise.all([
      text(child.stdout),
      text(child.stderr),
      closed,
    ]);
    if (code !== 0) throw this.#failure(command, before, errors.trim() || `it ended with ${signal ?? code}`);
    return output;
  }

  #logSize(): number {
    return statSync(this.#log, { throwIfNoEntry: false })?.size ?? 0;
  }

  /** An error with the last message that runc has logged, which says more than what it prints. */
  #failure(command: string, before: number, otherwise: string): Error {
    const messages =
      this.#logSize() === 0 ? [] : readFileSync(this.#log).subarray(before).toString().split("\n");
    const last = messages.findLast((line) => line.includes('"error"'));
    const reason = last === undefined ? otherwise : (JSON.parse(last) as { msg: string }).msg.trim();
    return new Error(`OCI runtime ${command} failed: ${reason}`);
  }
}
