import type { TtrpcError } from "./error.js";

/**
 * What turns the addon's runtime.
 *
 * - `"loop"`: the event loop of the JavaScript thread that uses it. No other thread is on the way of a call, which gives
 *   the shortest latency. It takes Node's own event loop, libuv, which Bun and Deno do not have.
 * - `"thread"`: a thread of its own, one for each JavaScript thread that asks for it. It reads, writes and keeps time
 *   while JavaScript is busy and takes the socket's work off the JavaScript thread, but a call pays for waking it.
 */
export type Driver = "loop" | "thread";

/** Why a connection ended. */
export interface ConnectionClosed {
  /**
   * `"local"`: this side closed it. `"remote"`: the peer closed it, between two messages. `"error"`: the socket failed,
   * or the peer went in the middle of a message. `"protocol"`: the peer sent what is not ttrpc.
   */
  readonly reason: "local" | "remote" | "error" | "protocol";
  /** What failed; undefined when either side closed it in order. */
  readonly error?: TtrpcError;
}

/** Who is at the other end of a unix socket, as the kernel says. */
export interface PeerCredentials {
  /** Process id; 0 if the process is in another pid namespace. */
  readonly pid: number;
  /** Effective user id. */
  readonly uid: number;
  /** Effective group id. */
  readonly gid: number;
}
