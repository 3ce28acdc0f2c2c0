import {
  type CallOptions,
  type Client,
  Code,
  type Connection,
  createClient,
  TtrpcError,
} from "../../index.js";
import type { ConnectResponse } from "../../protos/task/v3.js";
import { Task as TaskV2 } from "../../protos/task/v2.js";
import { Task as TaskV3 } from "../../protos/task/v3.js";

/** The Task service in the version that a shim serves. The versions differ only in their names. */
export interface VersionedTask {
  readonly version: number;
  readonly task: Client<typeof TaskV3>;
  /** The shim's answer to Connect. */
  readonly connected: ConnectResponse;
}

/** Finds out which version of the Task service a shim serves, and tries the likely one first. */
export async function findTask(
  connection: Connection,
  id: string,
  options: CallOptions,
  likely = 3,
): Promise<VersionedTask> {
  const clients: [number, Client<typeof TaskV3>][] = [
    [3, createClient(TaskV3, connection)],
    [2, createClient(TaskV2, connection) as unknown as Client<typeof TaskV3>],
  ];
  if (likely === 2) clients.reverse();
  let failure: unknown;
  for (const [version, task] of clients) {
    try {
      return { version, task, connected: await task.connect({ id }, options) };
    } catch (error) {
      if (!(error instanceof TtrpcError) || error.code !== Code.Unimplemented) throw error;
      failure = error;
    }
  }
  throw failure;
}
