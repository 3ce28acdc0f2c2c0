import { readdirSync, readFileSync, realpathSync, statSync } from "node:fs";
import path from "node:path";
import { Code } from "../code.js";
import { TtrpcError } from "../error.js";
import { SANDBOXES } from "../sandboxes.js";

/** The folder of containerd's state in which each task has a bundle, below its namespace. */
const TASKS = "io.containerd.runtime.v2.task";

/** The error of a folder that is not containerd's state. */
export class NoStateFolder extends TtrpcError {}

/** A task or sandbox in containerd's state, or a socket that none names. */
export interface Found {
  /** Undefined for a socket that no bundle names. */
  readonly id?: string;
  readonly isSandbox?: true;
  readonly namespace?: string;
  /** Undefined if containerd has written none, or none that can be read. */
  readonly address?: string;
  /** The version of the task service that the bundle speaks of; the shim may serve another. */
  readonly version?: number;
  /** Why the shim cannot be asked. */
  readonly problem?: string;
}

/** A task, or a sandbox, in containerd's state. */
export interface FoundTask extends Found {
  readonly id: string;
  readonly namespace: string;
  /** The bundle's folder. */
  readonly bundle: string;
}

/**
 * The tasks in containerd's state folder, of all namespaces or of one, by namespace and id. Throws a TtrpcError if the
 * folder is not one.
 */
export function findTasks(state: string, namespace?: string): FoundTask[] {
  return namespaces(state)
    .filter((name) => namespace === undefined || name === namespace)
    .flatMap((name) => foundIn(path.join(state, TASKS), name));
}

/** The sandboxes with shims of their own, by namespace and id; their containers are tasks. */
export function findSandboxes(state: string, namespace?: string): FoundTask[] {
  const folder = path.join(state, SANDBOXES);
  return entries(folder)
    .filter((name) => namespace === undefined || name === namespace)
    .flatMap((name) => foundIn(folder, name, { isSandbox: true }));
}

/** The sockets in the socket folder. A name that begins with a dot is that of a lock. */
export function findSockets(sockets: string): Found[] {
  const names = entries(sockets).filter((name) => !name.startsWith("."));
  return names.map((name) => ({ address: `unix://${path.resolve(sockets, name)}` }));
}

function foundIn(folder: string, namespace: string, kind: Pick<Found, "isSandbox"> = {}): FoundTask[] {
  return entries(path.join(folder, namespace), true).map((id) => bundleOf(folder, namespace, id, kind));
}

function bundleOf(folder: string, namespace: string, id: string, kind: Pick<Found, "isSandbox">): FoundTask {
  const bundle = path.join(folder, namespace, id);
  return { id, namespace, bundle, ...kind, ...readBundle(bundle) };
}

function namespaces(state: string): string[] {
  // Before the first task this folder does not exist, which does not mean that the state is elsewhere.
  if (list(path.join(state, TASKS)) === undefined && list(state) === undefined) {
    throw new NoStateFolder(`${state} is not containerd's state folder: it does not exist`, Code.NotFound);
  }
  return entries(path.join(state, TASKS));
}

function entries(folder: string, nested = false): string[] {
  return (list(folder, nested) ?? []).toSorted();
}

const CODES: Readonly<Record<string, Code>> = {
  EACCES: Code.PermissionDenied,
  EPERM: Code.PermissionDenied,
  ENOTDIR: Code.FailedPrecondition,
};

function list(folder: string, nested = false): string[] | undefined {
  try {
    return readdirSync(folder);
  } catch (error) {
    const { code = "", message } = error as NodeJS.ErrnoException;
    // A task may end meanwhile, and there may be a file where containerd has only folders.
    if (code === "ENOENT" || (code === "ENOTDIR" && nested)) return undefined;
    const why = code === "ENOTDIR" ? "it is a file, not a folder" : message;
    throw new TtrpcError(`cannot read ${folder}: ${why}`, CODES[code] ?? Code.Internal, { cause: error });
  }
}

function readBundle(bundle: string): Pick<Found, "address" | "version" | "problem"> {
  // containerd 2 writes bootstrap.json; before that, shims wrote `address`, which may hold the same JSON.
  for (const name of ["bootstrap.json", "address"]) {
    let text: string;
    try {
      const file = path.join(bundle, name);
      // Reading a pipe would wait for its writer.
      if (!statSync(file).isFile()) return { problem: `${name} is not a file` };
      text = readFileSync(file, "utf8").trim();
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") continue;
      return { problem: (error as Error).message };
    }
    // A containerd that lets shims write the bare address knows version 2 only.
    return text.startsWith("{") ? fromBootstrap(text, name) : { address: withScheme(text), version: 2 };
  }
  return { problem: "its bundle names no address" };
}

function fromBootstrap(text: string, name: string): Pick<Found, "address" | "version" | "problem"> {
  let bootstrap: { version?: unknown; address?: unknown; protocol?: unknown };
  try {
    bootstrap = JSON.parse(text) as typeof bootstrap;
  } catch {
    return { problem: `${name} is not JSON` };
  }
  const { version, address, protocol = "ttrpc" } = bootstrap;
  if (typeof address !== "string") return { problem: `${name} names no address` };
  if (protocol !== "ttrpc") {
    return { address, problem: `it speaks ${typeof protocol === "string" ? protocol : "no protocol"}` };
  }
  return { address: withScheme(address), ...(typeof version === "number" && { version }) };
}

/** Before containerd 1.4, shims named an abstract socket without a scheme. */
function withScheme(address: string): string {
  return address.includes("://") ? address : `unix://@${address}`;
}

/**
 * What two addresses of unix sockets have in common if they name the same file, as /var/run/x and /run/x do. A file that
 * does not exist, such as the socket of a containerd that was stopped, counts by its folder.
 */
export function placeOf(address: string): string {
  const name = pathOf(address);
  if (!name.startsWith("/")) return name;
  return real(name) ?? path.join(real(path.dirname(name)) ?? path.dirname(name), path.basename(name));
}

function real(file: string): string | undefined {
  try {
    return realpathSync(file);
  } catch {
    return undefined;
  }
}

/** The path of a unix socket's address. */
export function pathOf(address: string): string {
  return address.replace(/^unix:\/\//, "");
}
