import { connect } from "../client/connect.js";
import type { Connection } from "../client/connection.js";
import { notASocket } from "../shims/reason.js";
import { transportCode } from "./describe-error.js";
import { UsageError } from "./errors.js";

/** Connects, runs an action, and closes the connection whatever the outcome. */
export async function withConnection<T>(
  address: string,
  options: { readonly timeoutMs?: number; readonly signal?: AbortSignal },
  action: (connection: Connection) => Promise<T>,
): Promise<T> {
  const { timeoutMs, signal } = options;
  const connection = await connecting(address, () =>
    connect(address, { connectTimeoutMs: timeoutMs, signal }),
  );
  try {
    return await action(connection);
  } finally {
    await connection.close();
  }
}

/** Runs an attempt to connect to an address that the user gave. */
export async function connecting<T>(address: string, attempt: () => Promise<T>): Promise<T> {
  try {
    return await attempt();
  } catch (error) {
    // Every argument of `connect` comes from the command line, so a wrong one is the user's.
    if (error instanceof TypeError) throw new UsageError(error.message);
    const what = transportCode(error) === "ECONNREFUSED" ? notASocket(address) : undefined;
    throw what === undefined ? error : new UsageError(`cannot connect to ${address}: ${what}`);
  }
}
