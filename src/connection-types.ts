import type { TtrpcError } from "./error.js";

/**
 * What runs the addon's async runtime.
 *
 * - `"loop"`: the event loop of the JavaScript thread that uses it. A call involves no other thread, which gives the
 *   shortest latency. It needs Node's own event loop, libuv, which Bun and Deno do not have.
 * - `"thread"`: a separate thread, one for each JavaScript thread that asks for it. It reads, writes and runs timers
 *   while JavaScript is busy, and takes socket work off the JavaScript thread, but each call pays for waking the other
 *   thread.
 */
export type Driver = "loop" | "thread";

/** Why a connection ended. */
export interface ConnectionClosed {
  /**
   * `"local"`: this side closed it. `"remote"`: the peer closed it between two messages. `"error"`: the socket failed,
   * or the peer disappeared in the middle of a message. `"protocol"`: the peer sent bytes that are not valid ttrpc.
   */
  readonly reason: "local" | "remote" | "error" | "protocol";
  /** What failed; undefined when either side closed it normally. */
  readonly error?: TtrpcError;
}

/** Who is at the other end of a unix socket, as the kernel reports it. */
export interface PeerCredentials {
  /** Process id; 0 if the process is in another pid namespace. */
  readonly pid: number;
  /** Effective user id. */
  readonly uid: number;
  /** Effective group id. */
  readonly gid: number;
}
