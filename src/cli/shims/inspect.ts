import { readFileSync } from "node:fs";
import { type CallOptions, codeName, type Connection, TtrpcError } from "../../index.js";
import { Status } from "../../protos/task/v3.js";
import { withConnection } from "../connecting.js";
import { transportCode } from "../describe-error.js";
import type { Found } from "./bundles.js";
import { findTask } from "./task.js";

/** What `shimctl ls` shows of a shim. */
export interface Shim {
  /** Null for a socket that no task names. */
  readonly id: string | null;
  readonly namespace: string | null;
  readonly address: string | null;
  /** The process of the shim. */
  readonly pid: number | null;
  /** The process of the container. */
  readonly taskPid: number | null;
  /** The version of the task service: 2 or 3. */
  readonly version: number | null;
  /** The container's state in lower case; `orphan` for a shim without a task, `unreachable` for one that does not answer. */
  readonly state: string;
  readonly uptimeSeconds: number | null;
  readonly error: string | null;
}

/** How many shims are asked at a time. */
const PARALLEL = 32;

/** Asks shims for their state, several at a time. One that does not answer in time is `unreachable`. */
export async function inspectShims(
  found: readonly Found[],
  timeoutMs: number,
  signal: AbortSignal,
): Promise<Shim[]> {
  // Containers of a pod share a shim, which is asked over one connection.
  const groups = new Map<string | number, [index: number, found: Found][]>();
  for (const [index, shim] of found.entries()) {
    const key = shim.address ?? index;
    groups.set(key, [...(groups.get(key) ?? []), [index, shim]]);
  }
  const shims: Shim[] = [];
  const waiting = [...groups.values()];
  const work = async () => {
    for (let group = waiting.pop(); group !== undefined && !signal.aborted; group = waiting.pop()) {
      const results = await inspectGroup(
        group.map(([, shim]) => shim),
        timeoutMs,
        signal,
      );
      for (const [at, [index]] of group.entries()) shims[index] = results[at]!;
    }
  };
  await Promise.all(Array.from({ length: PARALLEL }, work));
  return shims;
}

async function inspectGroup(
  group: readonly Found[],
  timeoutMs: number,
  signal: AbortSignal,
): Promise<Shim[]> {
  const address = group[0]?.address;
  const problem = group[0]?.problem;
  if (address === undefined || problem !== undefined) {
    return group.map((found) => unreachable(found, found.problem ?? "it has no address"));
  }
  try {
    return await withConnection(address, { timeoutMs, signal }, (connection) =>
      Promise.all(group.map((found) => inspect(connection, found, { timeoutMs, signal }))),
    );
  } catch (error) {
    return group.map((found) => unreachable(found, reason(error)));
  }
}

async function inspect(connection: Connection, found: Found, options: CallOptions): Promise<Shim> {
  try {
    const { id = "" } = found;
    const { version, task, connected } = await findTask(connection, id, options, found.version);
    const known = {
      ...identity(found),
      pid: connected.shimPid || null,
      taskPid: connected.taskPid || null,
      version,
    };
    const uptimeSeconds = uptime(connected.shimPid);
    if (found.id === undefined) return { ...known, state: "orphan", uptimeSeconds, error: null };
    try {
      const { status } = await task.state({ id }, options);
      const state = (Status[status] ?? `status ${String(status)}`).toLowerCase();
      return { ...known, state, uptimeSeconds, error: null };
    } catch (error) {
      return { ...known, state: "error", uptimeSeconds, error: reason(error) };
    }
  } catch (error) {
    return unreachable(found, reason(error));
  }
}

function unreachable(found: Found, error: string): Shim {
  const nothing = { pid: null, taskPid: null, version: null };
  return { ...identity(found), ...nothing, state: "unreachable", uptimeSeconds: null, error };
}

function identity({ id, namespace, address }: Found): Pick<Shim, "id" | "namespace" | "address"> {
  return { id: id ?? null, namespace: namespace ?? null, address: address ?? null };
}

function reason(error: unknown): string {
  const transport = transportCode(error);
  if (transport !== undefined) return transport;
  if (error instanceof TtrpcError) return `${codeName(error.code)}: ${error.message}`;
  return (error as Error).message;
}

/** Linux reports times to user space in hundredths of a second, whatever its own clock does. */
const TICKS_PER_SECOND = 100;
/** The field of /proc/PID/stat, counted after the name, which may contain anything up to the last parenthesis. */
const START_TIME = 19;

/** How many seconds a process has been running; null if this process may not see it. */
function uptime(pid: number): number | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    const sinceBoot = Number(readFileSync("/proc/uptime", "utf8").split(" ")[0]);
    const seconds = sinceBoot - Number(fields[START_TIME]) / TICKS_PER_SECOND;
    // To the precision of the kernel.
    return Number.isFinite(seconds) ? Math.max(Math.round(seconds * 100) / 100, 0) : null;
  } catch {
    return null;
  }
}
