import type { DescMessage } from "@bufbuild/protobuf";
import { currentMs } from "../clock.js";
import type { CallOptions } from "../client/call-options.js";
import { type Client, createClient } from "../client/client.js";
import type { Connection } from "../client/connection.js";
import { Code } from "../code.js";
import { TtrpcError } from "../error.js";
import type { ConnectResponse } from "../protos/task/v3.js";
import { Task as TaskV2 } from "../protos/task/v2.js";
import { Task as TaskV3 } from "../protos/task/v3.js";

/** The versions of the Task service. */
export type TaskVersion = 2 | 3;

/** The Task service in the version that a shim serves. */
export interface VersionedTask {
  readonly version: TaskVersion;
  /** Takes and gives the messages of version 3. */
  readonly client: Client<typeof TaskV3>;
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
    const client = version === 3 ? createClient(TaskV3, connection) : clientOfV2(connection);
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

type Method = (request: unknown, options?: CallOptions) => Promise<unknown>;

/** A client of version 2 with the messages of version 3. The versions differ in nothing but their names. */
function clientOfV2(connection: Connection): Client<typeof TaskV3> {
  const older = createClient(TaskV2, connection) as unknown as Record<string, Method>;
  const client: Record<string, Method> = {};
  for (const { localName, input, output } of TaskV3.methods) {
    client[localName] = async (request, options) =>
      renamed(await older[localName]!(unnamed(request, input), options), output);
  }
  return client as unknown as Client<typeof TaskV3>;
}

/** A request made by `create` is sent without its name, which is that of version 3. */
function unnamed(request: unknown, { typeName }: DescMessage): unknown {
  if (typeof request !== "object" || request === null || !("$typeName" in request)) return request;
  const { $typeName: name, ...fields } = request;
  return name === typeName ? fields : request;
}

function renamed(reply: unknown, { typeName }: DescMessage): unknown {
  return Object.assign(reply as object, { $typeName: typeName });
}

/** Options for calls that must all end within `timeoutMs` from now. */
export function limitsOf(timeoutMs: number, signal: AbortSignal | undefined) {
  const until = currentMs() + timeoutMs;
  return () => ({ timeoutMs: Math.max(until - currentMs(), 1), signal });
}
