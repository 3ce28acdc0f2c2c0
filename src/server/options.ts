import type { ServerInterceptor } from "../interceptor.js";
import type { Driver } from "../connection-types.js";

/** Options of {@link createServer}. */
export interface ServerOptions {
  /** Connections open at once on one address; any further one is closed as soon as it is accepted. Default 10 000. */
  readonly maxConnections?: number | undefined;
  /**
   * Requests being handled at once on one address; any further one is answered with `ResourceExhausted`. Default 10 000.
   */
  readonly maxConcurrentCalls?: number | undefined;
  /**
   * Bytes of the unary requests being handled at once on one address; a request beyond this limit is answered with
   * `ResourceExhausted`. Default 64 MiB. A request counts, with its metadata, until its handler has ended, even if nobody
   * waits for the answer any more. Fractions of this limit bound what else the peers of an address can make the server
   * hold: a quarter for incomplete frames, a quarter for stream messages that no handler has read, and half for replies
   * that the peers have not read. Each connection may always use 64 KiB for these in total, whatever the others use.
   */
  readonly maxQueuedBytes?: number | undefined;
  /**
   * Admits only peers with this process's own user and group, as containerd and Go shims do; the connections of others
   * are closed as soon as they are accepted. Only unix sockets have peer credentials, so on any other address nobody is
   * admitted. Nor is anybody if this process itself has the overflow id, which stands for all users that its user
   * namespace does not map. Default false.
   */
  readonly requireSameUser?: boolean | undefined;
  /** Interceptors that wrap each request and what its handler returns. The first is the outermost. */
  readonly interceptors?: readonly ServerInterceptor[] | undefined;
  /** What runs the server's runtime; see {@link Driver}. Default `"loop"`, or `"thread"` without Node's event loop. */
  readonly driver?: Driver | undefined;
  /**
   * Milliseconds to poll for another request before the thread sleeps: from 0 to 10, fractions allowed. Polling begins
   * once a reply or a stream's message has been sent, ends when the next bytes arrive, and gives way to whatever else the
   * event loop has to do.
   *
   * A peer on the same machine that makes one call after the other is then answered up to twice as often. So by default,
   * a server polls for up to 0.1 ms, separately for each connection, from the connection's eighth reply on and as long as
   * that pays: where requests are further apart, it soon polls only one time in 64. A number given here applies to every
   * reply; 0 turns polling off. On a single processor, nothing polls. See docs/performance.md.
   */
  readonly busyPollMs?: number | undefined;
}

/** Options of {@link Server.listen}. */
export interface ListenOptions {
  /**
   * Permission bits of a unix socket's file, from 0 to 0o777, set before anyone can connect. By default, the umask
   * decides. An abstract name has no file, so any process may connect to it: `mode` is refused there, and only
   * `requireSameUser` restricts who is admitted.
   */
  readonly mode?: number | undefined;
  /**
   * Removes a unix socket's file if nobody listens on it any more. The file of a server that listens or is about to
   * listen, and a file that is not a socket, are never removed. If several servers listen at the same moment, one
   * succeeds. Default false.
   */
  readonly reclaimStale?: boolean | undefined;
}

/** Options of {@link Server.close}. */
export interface CloseOptions {
  /**
   * Milliseconds that handlers may keep running. After that their signals abort, and connections close without their
   * replies. Default 5 000; `Infinity` waits for all handlers.
   */
  readonly graceMs?: number | undefined;
}

/** The names of {@link ServerOptions}. */
export const OPTIONS = [
  "maxConnections",
  "maxConcurrentCalls",
  "maxQueuedBytes",
  "requireSameUser",
  "interceptors",
  "driver",
  "busyPollMs",
] as const satisfies readonly (keyof ServerOptions)[];
/** The names of {@link ListenOptions}. */
export const LISTEN_OPTIONS = ["mode", "reclaimStale"] as const satisfies readonly (keyof ListenOptions)[];

/** The limits of a server that gets none. */
export const DEFAULTS = { maxConnections: 10_000, maxConcurrentCalls: 10_000, maxQueuedBytes: 64 << 20 };
/** How long a server that closes waits for its handlers. */
export const DEFAULT_GRACE_MS = 5000;
