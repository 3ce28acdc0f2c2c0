import { connect, type Connection } from "../index.js";
import { UsageError } from "./errors.js";

/** Connects, runs an action, and closes the connection whatever the outcome. */
export async function withConnection<T>(
  address: string,
  options: { readonly timeoutMs?: number; readonly signal?: AbortSignal },
  action: (connection: Connection) => Promise<T>,
): Promise<T> {
  const connection = await open(address, options);
  try {
    return await action(connection);
  } finally {
    await connection.close();
  }
}

async function open(
  address: string,
  { timeoutMs, signal }: { readonly timeoutMs?: number; readonly signal?: AbortSignal },
): Promise<Connection> {
  try {
    return await connect(address, { connectTimeoutMs: timeoutMs, signal });
  } catch (error) {
    // Every argument of `connect` comes from the command line, so a wrong one is the user's.
    if (error instanceof TypeError) throw new UsageError(error.message);
    throw error;
  }
}
