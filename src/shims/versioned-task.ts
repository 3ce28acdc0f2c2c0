import { currentMs } from "../clock.js";
import type { CallOptions } from "../client/call-options.js";
import { type Client, createClient } from "../client/client.js";
import type { Connection } from "../client/connection.js";
import { Code } from "../code.js";
import { TtrpcError } from "../error.js";
import type { ConnectResponse } from "../protos/task/v3.js";
import { Task } from "../protos/task/v3.js";
import { TaskV2 } from "../protos/task/v2-as-v3.js";

/** The versions of the Task service. */
export type TaskVersion = 2 | 3;

/** The Task service in the version that a shim serves. */
export interface VersionedTask {
  readonly version: TaskVersion;
  /** Takes and gives the messages of version 3. */
  readonly client: Client<typeof Task>;
  /** The shim's answer to Connect; undefined if the shim does not know the id. */
  readonly connected: ConnectResponse | undefined;
}

/**
 * Finds out by a call of Connect which version of the Task service a shim serves, and tries the likely one first. A
 * status other than Unimplemented shows that the version is served, so it is thrown only if it says nothing of the
 * container.
 */
export async function findTask(
  connection: Connection,
  id: string,
  options: () => CallOptions,
  likely = 3,
): Promise<VersionedTask> {
  let failure: unknown;
  for (const version of likely === 2 ? ([2, 3] as const) : ([3, 2] as const)) {
    const client = createClient(version === 3 ? Task : TaskV2, connection);
    try {
      return { version, client, connected: await client.connect({ id }, options()) };
    } catch (error) {
      const code = error instanceof TtrpcError ? error.code : undefined;
      if (code === Code.NotFound) return { version, client, connected: undefined };
      if (code !== Code.Unimplemented) throw error;
      failure = error;
    }
  }
  throw failure;
}

/** Options for calls that must all end within `timeoutMs` from now. */
export function limitsOf(timeoutMs: number, signal: AbortSignal | undefined) {
  const until = currentMs() + timeoutMs;
  return () => ({ timeoutMs: Math.max(until - currentMs(), 1), signal });
}
