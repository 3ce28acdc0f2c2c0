import type { CallOptions } from "../client/call-options.js";
import { connect } from "../client/connect.js";
import type { Connection } from "../client/connection.js";
import { loadNative } from "../native/addon.js";
import { Status } from "../protos/task/v3.js";
import { type Found, placeOf } from "./bundles.js";
import { listeningPlaces } from "./listeners.js";
import { commandLineOf, uptimeOf } from "./process-info.js";
import { reasonOf } from "./reason.js";
import type { ShimInfo } from "./shim-info.js";
import { findTask, limitsOf, type VersionedTask } from "./versioned-task.js";

/** How a shim is asked. */
export interface AskOptions {
  /** The gRPC socket of the containerd whose shims are listed. */
  readonly containerd: string;
  /** How long connecting and all calls may take together, in milliseconds. */
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
}

/** Asks one shim for all of its containers, over one connection. Rejects only where the addon cannot be loaded. */
export async function askShim(group: readonly Found[], options: AskOptions): Promise<ShimInfo[]> {
  loadNative();
  const [{ address, problem } = {}] = group;
  if (address === undefined || problem !== undefined) {
    return group.map((found) => unreachable(found, found.problem ?? "it has no address"));
  }
  const { signal } = options;
  const limits = limitsOf(options.timeoutMs, signal);
  let connection: Connection | undefined;
  try {
    connection = await connect(address, { connectTimeoutMs: limits().timeoutMs, signal });
    const open = connection;
    return await Promise.all(group.map((found) => ask(open, found, limits, options)));
  } catch (error) {
    return group.map((found) => unreachable(found, reasonOf(error, address)));
  } finally {
    await connection?.close();
  }
}

async function ask(
  connection: Connection,
  found: Found,
  limits: () => CallOptions,
  options: AskOptions,
): Promise<ShimInfo> {
  try {
    const task = await findTask(connection, found.id ?? "", limits, found.version);
    const pid = task.connected?.shimPid || null;
    const line = pid === null ? undefined : commandLineOf(pid);
    const known = {
      ...identity(found),
      pid,
      taskPid: task.connected?.taskPid || null,
      version: task.version,
      uptimeSeconds: pid === null ? null : uptimeOf(pid),
      containerd: line?.containerd || null,
    };
    // What the sandbox itself says of its state is in words of its own.
    if (found.isSandbox) return { ...known, state: "sandbox", error: null };
    if (found.id !== undefined) return { ...known, ...(await stateOf(task, found.id, limits)) };
    // The pid is what the shim says, and its command line counts only if that process has the socket.
    if (line === undefined || pid === null || !listeningPlaces([pid]).has(placeOf(connection.address))) {
      return { ...known, containerd: null, state: "orphan", error: null };
    }
    const named = { ...known, id: line.id, namespace: line.namespace };
    const isOurs = line.containerd === "" || placeOf(line.containerd) === placeOf(options.containerd);
    if (isOurs) return { ...named, state: "orphan", error: null };
    const connected = await task.client.connect({ id: line.id }, limits()).catch(() => undefined);
    return { ...named, taskPid: connected?.taskPid || null, ...(await stateOf(task, line.id, limits)) };
  } catch (error) {
    return unreachable(found, reasonOf(error));
  }
}

async function stateOf(
  { client }: VersionedTask,
  id: string,
  limits: () => CallOptions,
): Promise<Pick<ShimInfo, "state" | "error">> {
  try {
    const { status } = await client.state({ id }, limits());
    return { state: (Status[status] ?? `status ${String(status)}`).toLowerCase(), error: null };
  } catch (error) {
    return { state: "error", error: reasonOf(error) };
  }
}

/** A shim of which nothing is known but where it should be. */
export function unanswered(found: Found, state: string, error: string | null): ShimInfo {
  const nothing = { pid: null, taskPid: null, version: null, uptimeSeconds: null, containerd: null };
  return { ...identity(found), ...nothing, state, error };
}

function unreachable(found: Found, error: string): ShimInfo {
  return unanswered(found, "unreachable", error);
}

function identity({ id, namespace, address }: Found): Pick<ShimInfo, "id" | "namespace" | "address" | "own"> {
  return { id: id ?? null, namespace: namespace ?? null, address: address ?? null, own: id !== undefined };
}
