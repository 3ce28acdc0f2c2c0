import { currentMs } from "../clock.js";
import { Code } from "../code.js";
import { TtrpcError, withoutFrames } from "../error.js";
import { ContextValues } from "../context-values.js";
import type { Metadata } from "../metadata.js";
import type { IncomingRequest } from "../native/types.js";
import type { PeerCredentials } from "../connection-types.js";
import { isInstance } from "../value-kinds.js";

/** One connection of a server, from accept to close. All requests on the connection have the same object. */
export interface ServerConnection {
  /** A number that is unique among the connections of this thread. */
  readonly id: number;
  /** The peer's credentials; undefined unless the connection is a unix socket. */
  readonly peer: PeerCredentials | undefined;
}

/** Counts a handler that runs for interceptors, or its iterable, until the function that it returns is called. */
export let countedBy: (context: HandlerContext) => () => void;

/** What a handler knows about its request besides the message. */
export class HandlerContext {
  /** The full name of the service. */
  readonly service: string;
  /** The name of the method, as in the .proto file. */
  readonly method: string;
  /** The request's metadata: lower-case keys, each with its values in order. */
  readonly metadata: Metadata;
  /** The caller's timeout, in milliseconds; undefined if none. */
  readonly timeoutMs: number | undefined;
  /** When the timeout ends; undefined if there is none. */
  readonly deadline: Date | undefined;
  /** The connection that the request came on. */
  readonly connection: ServerConnection;
  readonly #arrivedMs: number = 0;
  #values: ContextValues | undefined;
  #abort: AbortController | undefined;
  #reason: TtrpcError | undefined;
  #running = 0;

  static {
    countedBy = (context) => {
      // An interceptor may pass on another object.
      if (!isInstance(context, HandlerContext)) return () => undefined;
      context.#running++;
      let isCounted = true;
      return () => {
        if (isCounted) context.#running--;
        isCounted = false;
      };
    };
  }

  /** @internal */
  constructor(service: string, method: string, request: IncomingRequest, connection: ServerConnection) {
    if (request === undefined) throw new TypeError("request must be one that a server got");
    this.service = service;
    this.method = method;
    this.metadata = request.metadata;
    this.connection = connection;
    if (request.timeoutMs > 0) {
      this.timeoutMs = request.timeoutMs;
      this.#arrivedMs = currentMs();
      // Dates end 8.64e15 ms after 1970; a timeout may end later.
      this.deadline = new Date(Math.min(Date.now() + request.timeoutMs, 8.64e15));
    }
  }

  /** The peer's credentials; undefined unless the connection is a unix socket. */
  get peer(): PeerCredentials | undefined {
    return this.connection.peer;
  }

  /** Values that interceptors set for the handler, by keys of `createContextKey`. */
  get values(): ContextValues {
    return (this.#values ??= new ContextValues());
  }

  /**
   * The milliseconds until the deadline: 0 once it has passed, undefined if there is none. Measured by the monotonic
   * clock, so setting the system's clock does not change it.
   */
  remainingMs(): number | undefined {
    if (this.timeoutMs === undefined) return undefined;
    return Math.max(this.#arrivedMs + this.timeoutMs - currentMs(), 0);
  }

  /**
   * Aborts when nobody waits for the answer any more. The reason is a {@link TtrpcError}: `DeadlineExceeded` at the
   * deadline; `Canceled` if the peer has disconnected or canceled its stream, or if an interceptor has answered without
   * the handler; `Unavailable` if the server shuts down; and if a message of a stream cannot be sent, the error that the
   * caller gets.
   */
  get signal(): AbortSignal {
    // Most handlers never read it, and an AbortController costs more than the rest of the context.
    if (this.#abort === undefined) {
      this.#abort = new AbortController();
      if (this.#reason !== undefined) this.#abort.abort(this.#reason);
    }
    return this.#abort.signal;
  }

  /**
   * The reason with which the signal has aborted, or would have if anything had read it.
   *
   * @internal
   */
  get abortReason(): TtrpcError | undefined {
    return this.#reason;
  }

  /**
   * The request has been answered. A handler that still runs learns that nobody waits for it.
   *
   * @internal
   */
  answered(): void {
    if (this.#running > 0) this.abort("answered");
  }

  /**
   * @param why - An error if a message of a stream cannot be sent.
   *
   * @internal
   */
  abort(why: AbortReason | TtrpcError): void {
    if (this.#reason !== undefined) return;
    if (typeof why === "string") {
      const [message, code] = REASONS[why];
      this.#reason = withoutFrames(() => new TtrpcError(message, code));
    } else this.#reason = why;
    this.#abort?.abort(this.#reason);
  }
}

/** Why nobody waits for a handler's answer any more. */
export type AbortReason = keyof typeof REASONS;

const REASONS = {
  deadline: ["the deadline passed", Code.DeadlineExceeded],
  disconnect: ["the peer has gone, or given the call up", Code.Canceled],
  answered: ["an interceptor has answered without the handler", Code.Canceled],
  shutdown: ["the server is shutting down", Code.Unavailable],
} as const;
