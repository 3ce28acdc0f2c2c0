import { readdirSync, readFileSync, statSync } from "node:fs";
import path from "node:path";
import { UsageError } from "../errors.js";
import { isObject, type Json, parseJson } from "../json-value.js";
import { problemOf } from "../output/raw.js";

/** The folder of containerd's state in which each task has a bundle, below its namespace. */
const TASKS = "io.containerd.runtime.v2.task";

/** A task in containerd's state, or a socket that no task names. */
export interface Found {
  /** Undefined for a socket that no bundle names. */
  readonly id?: string;
  readonly namespace?: string;
  /** Undefined if containerd has written none, or none that can be read. */
  readonly address?: string;
  /** The version of the task service, if containerd has written it down. */
  readonly version?: number;
  /** Why the shim cannot be asked. */
  readonly problem?: string;
}

/** The tasks in containerd's state folder. Throws a UsageError if the folder is not one. */
export function findTasks(state: string): Found[] {
  return namespaces(state).flatMap((namespace) =>
    entries(path.join(state, TASKS, namespace), true).map((id) => foundIn(state, namespace, id)),
  );
}

/** The sockets in the socket folder. A name that begins with a dot is that of a lock. */
export function findSockets(sockets: string): Found[] {
  const names = entries(sockets).filter((name) => !name.startsWith("."));
  return names.map((name) => ({ address: `unix://${path.join(sockets, name)}` }));
}

function foundIn(state: string, namespace: string, id: string): Found {
  return { id, namespace, ...readBundle(path.join(state, TASKS, namespace, id)) };
}

function namespaces(state: string): string[] {
  // Before the first task this folder does not exist, which does not mean that the state is elsewhere.
  if (list(path.join(state, TASKS)) === undefined && list(state) === undefined) {
    throw new UsageError(
      `${state} is not containerd's state folder`,
      "--state with the `state` of containerd's configuration, such as /run/k3s/containerd",
    );
  }
  return entries(path.join(state, TASKS));
}

function entries(folder: string, nested = false): string[] {
  return (list(folder, nested) ?? []).toSorted();
}

function list(folder: string, nested = false): string[] | undefined {
  try {
    return readdirSync(folder);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    // A task may end meanwhile, and there may be a file where containerd has only folders.
    if (code === "ENOENT" || (code === "ENOTDIR" && nested)) return undefined;
    throw new UsageError(
      `cannot read ${folder}: ${message}`,
      code === "EACCES" ? "again as root: only root may read containerd's state" : undefined,
    );
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
      return { problem: problemOf(error) };
    }
    return text.startsWith("{") ? fromBootstrap(text, name) : { address: withScheme(text) };
  }
  return { problem: "its bundle names no address" };
}

function fromBootstrap(text: string, name: string): Pick<Found, "address" | "version" | "problem"> {
  let bootstrap: Json;
  try {
    bootstrap = parseJson(text);
  } catch (error) {
    return { problem: `${name}: ${problemOf(error)}` };
  }
  const { version, address, protocol = "ttrpc" } = isObject(bootstrap) ? bootstrap : {};
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
