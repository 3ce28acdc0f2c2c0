import { closeSync, constants, fstatSync, mkdirSync, openSync } from "node:fs";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { loadNative } from "../native/addon.js";
import { checkOptions } from "../options.js";
import { isPlain, kindOf, shown } from "../value-kinds.js";
import { checked } from "./system.js";

const { O_APPEND, O_CREAT, O_NONBLOCK, O_RDONLY, O_RDWR, O_WRONLY } = constants;

/** The kernel's way to say "leave it as it is" of a user or group. */
const UNCHANGED = 2 ** 32 - 1;

/** How long output is passed on after a stream was closed, at most. containerd's own shim waits as long. */
export const DRAIN_MS = 10_000;

/** What a task's requests say of a process's streams; an empty text stands for none. */
export interface StdioPaths {
  /** The path of a fifo. */
  readonly stdin: string;
  /**
   * The path of a fifo or of a file to append to; `file:///path` to append to a file that is created if it is missing;
   * or `binary:///path?key=value` for a logging program, which takes both output streams.
   */
  readonly stdout: string;
  /** As `stdout`. With a logging program it is not read. */
  readonly stderr: string;
}

/** How a process's streams are made. */
export interface StdioOptions {
  /** The user that owns the process's ends of its pipes; by default the shim's. */
  readonly uid?: number | undefined;
  /** The group that owns them; by default the shim's. */
  readonly gid?: number | undefined;
  /** The id under which a logging program knows the process: that of the container, or of the exec. */
  readonly id?: string | undefined;
  /** The containerd namespace, for a logging program. */
  readonly namespace?: string | undefined;
}

/** Options, checked and complete. */
export interface CheckedOptions {
  readonly uid: number;
  readonly gid: number;
  readonly id: string;
  readonly namespace: string;
}

/** Checks paths of streams. Throws a TypeError that names the one that is wrong. */
export function checkedPaths(paths: StdioPaths): StdioPaths {
  if (!isPlain(paths)) throw new TypeError(`paths must be an object, not ${kindOf(paths)}`);
  for (const name of ["stdin", "stdout", "stderr"] as const) {
    const path: unknown = paths[name];
    if (typeof path !== "string") throw new TypeError(`paths.${name} must be a string, not ${kindOf(path)}`);
    if (path.includes("\0")) throw new TypeError(`paths.${name} holds a NUL`);
  }
  const { stdin, stdout, stderr } = paths;
  return { stdin, stdout, stderr };
}

/** Checks options of streams. Throws a TypeError that names the one that is wrong. */
export function checkedOptions(options: StdioOptions | undefined): CheckedOptions {
  checkOptions("a process's streams", options, ["uid", "gid", "id", "namespace"]);
  const { uid = UNCHANGED, gid = UNCHANGED, id = "", namespace = "" } = options ?? {};
  for (const [name, value] of Object.entries({ uid, gid })) {
    if (!Number.isInteger(value) || value < 0 || value > UNCHANGED) {
      throw new TypeError(`options.${name} must be an integer from 0 to ${UNCHANGED}, not ${shown(value)}`);
    }
  }
  for (const [name, value] of Object.entries({ id, namespace })) {
    if (typeof value !== "string")
      throw new TypeError(`options.${name} must be a string, not ${kindOf(value)}`);
    if (value.includes("\0")) throw new TypeError(`options.${name} holds a NUL`);
  }
  return { uid, gid, id, namespace };
}

/** The scheme of an output's target; `fifo` for a path. */
export function schemeOf(target: string): string {
  return /^([a-z][a-z0-9+.-]*):\/\//.exec(target)?.[1] ?? "fifo";
}

/** An opened source of stdin. */
export interface OpenedInput {
  readonly source: number;
  /** Keeps the stream from ending before its writer comes and while no writer is there; -1 if it needs none. */
  readonly hold: number;
}

/** Opens the source of a stream that a process reads. Never waits. */
export function openInput(path: string): OpenedInput {
  const opened = openSync(withoutScheme(path), O_RDONLY | O_NONBLOCK);
  let hold = -1;
  try {
    if (fstatSync(opened).isFIFO()) hold = openSync(withoutScheme(path), O_WRONLY | O_NONBLOCK);
    return { source: forAddon(opened), hold };
  } catch (error) {
    closeSync(opened);
    if (hold >= 0) closeSync(hold);
    throw error;
  }
}

/** Opens the destination of a stream that a process writes. Never waits. */
export function openOutput(target: string): number {
  const scheme = schemeOf(target);
  if (scheme === "file") {
    const path = fileURLToPath(target);
    mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
    return forAddon(openSync(path, O_WRONLY | O_CREAT | O_APPEND, 0o644));
  }
  if (scheme !== "fifo") throw new Error(`unknown STDIO scheme ${scheme}`);
  const path = withoutScheme(target);
  // Open for reading too, so that readers may leave and come back.
  const fifo = openSync(path, O_RDWR | O_NONBLOCK);
  try {
    if (fstatSync(fifo).isFIFO()) return forAddon(fifo);
  } catch (error) {
    closeSync(fifo);
    throw error;
  }
  closeSync(fifo);
  return forAddon(openSync(path, O_WRONLY | O_APPEND));
}

/**
 * A descriptor that the addon may own, in place of one that Node has opened, which is closed: Node closes the numbers that
 * a worker has opened once more when the worker ends, whoever has them by then.
 */
function forAddon(opened: number): number {
  const copy = checked("duplicate a descriptor", loadNative().duplicateDescriptor(opened));
  closeSync(opened);
  return copy;
}

const withoutScheme = (path: string) => path.replace(/^fifo:\/\//, "");

/** Descriptors that are closed together, each once: a number that is closed twice may be another's the second time. */
export class Descriptors {
  #open: number[] = [];

  /** Notes a descriptor, and returns it. */
  add(fd: number): number {
    if (fd >= 0) this.#open.push(fd);
    return fd;
  }

  /** Gives up a descriptor that somebody else owns from now on. */
  release(fd: number): number {
    this.#open = this.#open.filter((one) => one !== fd);
    return fd;
  }

  /** Closes one, unless it was closed or released. */
  close(fd: number): void {
    if (this.#open.includes(fd)) closeSync(this.release(fd));
  }

  closeAll(): void {
    for (const fd of this.#open.splice(0)) closeSync(fd);
  }
}
