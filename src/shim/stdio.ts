import { closeSync, constants, fstatSync, mkdirSync, openSync } from "node:fs";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { Code } from "../code.js";
import { TtrpcError } from "../error.js";
import { isPlain, kindOf } from "../values.js";

const { O_APPEND, O_CREAT, O_NONBLOCK, O_RDONLY, O_RDWR, O_WRONLY } = constants;

/** What a task's requests say of a process's streams; an empty text stands for none. */
export interface StdioPaths {
  /** The path of a fifo. */
  readonly stdin: string;
  /** The path of a fifo, or `file:///path` to append to a file. */
  readonly stdout: string;
  /** As `stdout`. */
  readonly stderr: string;
}

/**
 * The streams of a container's process, opened to be handed to it as they are: nothing is copied, and what is written
 * reaches the reader even when the shim is busy or gone. Made by {@link openStdio}.
 */
export class Stdio {
  /** For the option `stdio` of `spawn`. */
  readonly descriptors: readonly ["ignore" | number, "ignore" | number, "ignore" | number];
  /** To be closed once a process has them, or its reader would never see the end. */
  readonly #handed: number[] = [];
  /** What keeps stdin from ending. */
  #stdin: number | undefined;
  /** What keeps a process from failing when the reader of its output goes and another comes. */
  readonly #readers: number[] = [];

  /** @internal */
  constructor(paths: StdioPaths) {
    const { stdin, stdout, stderr } = checkedPaths(paths, ["stdin", "stdout", "stderr"]);
    try {
      this.descriptors = [this.#input(stdin), this.#output(stdout), this.#output(stderr)];
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** To be called when a process has been started with {@link descriptors}, or could not be. */
  handedOver(): void {
    closeAll(this.#handed.splice(0));
  }

  /** Lets stdin end as soon as whoever writes to it has closed it: what CloseIO asks for. */
  closeStdin(): void {
    const stdin = this.#stdin;
    this.#stdin = undefined;
    if (stdin !== undefined) closeSync(stdin);
  }

  /** Closes all that is open still. To be called when the process has ended. */
  close(): void {
    this.handedOver();
    this.closeStdin();
    closeAll(this.#readers.splice(0));
  }

  #input(path: string): "ignore" | number {
    if (path === "") return "ignore";
    // One end waits for the other when it is opened, unless both are there: so open both first.
    const both = openSync(path, O_RDWR | O_NONBLOCK);
    try {
      this.#handed.push(openSync(path, O_RDONLY));
      this.#stdin = openSync(path, O_WRONLY | O_NONBLOCK);
    } finally {
      closeSync(both);
    }
    return this.#handed.at(-1) ?? "ignore";
  }

  #output(target: string): "ignore" | number {
    if (target === "") return "ignore";
    const scheme = /^([a-z][a-z0-9+.-]*):\/\//.exec(target)?.[1] ?? "fifo";
    if (scheme === "file") return this.#file(fileURLToPath(target));
    if (scheme !== "fifo") {
      throw new TtrpcError(`the log ${target} is neither a fifo nor a file`, Code.Unimplemented);
    }
    const path = target.replace(/^fifo:\/\//, "");
    const both = openSync(path, O_RDWR | O_NONBLOCK);
    try {
      if (!fstatSync(both).isFIFO()) return this.#file(path);
      this.#handed.push(openSync(path, O_WRONLY));
      this.#readers.push(openSync(path, O_RDONLY | O_NONBLOCK));
    } finally {
      closeSync(both);
    }
    return this.#handed.at(-1) ?? "ignore";
  }

  #file(path: string): number {
    mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
    const fd = openSync(path, O_WRONLY | O_CREAT | O_APPEND, 0o644);
    this.#handed.push(fd);
    return fd;
  }
}

/**
 * Opens the streams that containerd names, for a process without a terminal. Never waits: not for a reader or writer
 * either.
 *
 * ```ts
 * const stdio = openStdio(request);
 * const child = spawn("/bin/worker", { stdio: [...stdio.descriptors] });
 * stdio.handedOver();
 * child.once("exit", () => stdio.close());
 * ```
 *
 * Throws a TypeError that names a path that is none, the system's error if a fifo cannot be opened, and `Unimplemented` for logs through another program
 * (`binary://`).
 */
export function openStdio(paths: StdioPaths): Stdio {
  return new Stdio(paths);
}

/** Checks paths of streams. Throws a TypeError that names the one that is wrong. */
export function checkedPaths<Paths extends object>(
  paths: Paths,
  names: readonly (keyof Paths & string)[],
): Paths {
  if (!isPlain(paths)) throw new TypeError(`paths must be an object, not ${kindOf(paths)}`);
  for (const name of names) {
    const path: unknown = paths[name];
    if (typeof path !== "string") throw new TypeError(`paths.${name} must be a string, not ${kindOf(path)}`);
    if (path.includes("\0")) throw new TypeError(`paths.${name} holds a NUL`);
  }
  return paths;
}

/** Of descriptors that nobody else knows any more: a number that is closed twice may be another's the second time. */
function closeAll(descriptors: readonly number[]): void {
  for (const fd of descriptors) closeSync(fd);
}
