import { checkOptions } from "../options.js";
import { isPlain, kindOf, shown } from "../value-kinds.js";
import { checkedText } from "./checked-text.js";
import { UNCHANGED } from "./pipe.js";

/** How long output is passed on after a stream was closed, at most. containerd's own shim waits as long. */
export const DRAIN_MS = 10_000;

/**
 * How long the report of an exit waits until the output has been read, at most. The addon keeps fifos open for their readers
 * after that, for a time of its own, which delays nothing.
 */
export const FLUSH_MS = 250;

/** The streams of a process, as a task's requests name them; an empty string means that there is none. */
export interface StdioPaths {
  /** The path of a fifo. */
  readonly stdin: string;
  /**
   * The path of a fifo or of a file to append to; `file:///path` to append to a file that is created if it is missing;
   * or `binary:///path?key=value` for a logging program, which takes both output streams.
   */
  readonly stdout: string;
  /** As `stdout`. Ignored if `stdout` is a logging program. */
  readonly stderr: string;
}

/** Options of `openStdio` and `listenConsole`. */
export interface StdioOptions {
  /** The user that owns the process's ends of its pipes. Default the shim's. */
  readonly uid?: number | undefined;
  /** The group that owns the process's ends of its pipes. Default the shim's. */
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
    checkedText(paths[name], `paths.${name}`);
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
  for (const [name, value] of Object.entries({ id, namespace })) checkedText(value, `options.${name}`);
  return { uid, gid, id, namespace };
}

/** As Go's `url.Parse` finds it: in any case, and with one slash or more behind it. */
const SCHEME = /^([a-z][a-z0-9+.-]*):(?=\/)/i;

/** The scheme of an output's target; `fifo` for a path. */
export function schemeOf(target: string): string {
  return SCHEME.exec(target)?.[1]?.toLowerCase() ?? "fifo";
}

/** The path of a `file:` URI. A host is left out, as by containerd's own shim. Throws an Error that names a malformed one. */
export function pathOfUri(target: string): string {
  const path = target
    .replace(SCHEME, "")
    .replace(/^\/\/[^/?#]*/, "")
    .replace(/[?#].*$/s, "");
  try {
    return decodeURIComponent(path);
  } catch (cause) {
    throw new Error(`cannot parse the URI ${target}`, { cause });
  }
}

/** A path that may be written as a `fifo:` URI. */
export const withoutScheme = (path: string) => path.replace(/^fifo:(?:\/\/)?(?=\/)/i, "");
