import { currentMs } from "../clock.js";
import { type CallOptions, callFields, type CheckedFields } from "./call-options.js";
import { callerContext, closedError, named, rejectLater } from "./call-site.js";
import { type UnaryInit, unaryCall } from "./unary-call.js";
import { bytesOf, encoded, type Payload, rawPayload } from "../codec/payload.js";
import { type CallMessage, clientCalls, type ConnectionMessage, connections } from "../diagnostics.js";
import { callError, TtrpcError } from "../error.js";
import type { MethodKind } from "../interceptor.js";
import { Hold, type OpenConnection } from "./connector.js";
import type { Bridge } from "../native/bridge.js";
import type { OutgoingCall, PendingCall } from "../native/types.js";
import type { Place, Reconnector } from "./reconnect.js";
import { iteratorOf, leave } from "../stream/outgoing.js";
import {
  failedStream,
  type Reconnected,
  shortened,
  StreamCall,
  type StreamInit,
  type StreamResult,
} from "./stream-call.js";
import type { ConnectionClosed } from "../connection-types.js";
import { checkBytes } from "../value-kinds.js";

/** The state of a connection: open, with its number in the addon; reconnecting; or closed for good. */
type State =
  | { readonly is: "open"; readonly id: number }
  | { readonly is: "reconnecting" }
  | { readonly is: "closed"; readonly why: ConnectionClosed };

const RECONNECTING: State = { is: "reconnecting" };

/**
 * A connection to a ttrpc server, made by {@link connect}. Calls made in one tick are sent together. Any number of
 * calls, up to a million, can be in flight. A connection keeps the process alive while calls are in flight, unless
 * {@link ref} or {@link unref} changes that.
 */
export class Connection {
  /** The address that it connected to. */
  readonly address: string;
  /** Resolves once, when the connection has ended for good; never rejects. */
  readonly closed: Promise<ConnectionClosed>;
  readonly #bridge: Bridge;
  #state: State = RECONNECTING;
  #resolve!: (why: ConnectionClosed) => void;
  #hold: number = Hold.WhileBusy;
  readonly #reconnector: Reconnector | undefined;

  /** @internal */
  constructor(opened: OpenConnection, address: string, reconnector?: Reconnector) {
    if (typeof opened?.onClosed !== "function") throw new TypeError("a Connection is made by connect()");
    this.address = address;
    this.#bridge = opened.bridge;
    this.#reconnector = reconnector;
    this.closed = new Promise((resolve) => {
      this.#resolve = resolve;
    });
    this.#use(opened);
  }

  /** @internal */
  get bridge(): Bridge {
    return this.#bridge;
  }

  #use({ id, onClosed }: OpenConnection): void {
    this.#state = { is: "open", id };
    // An attempt to connect again is made with another hold.
    if (this.#hold !== Hold.WhileBusy || this.#reconnector !== undefined) this.bridge.hold(id, this.#hold);
    const message: ConnectionMessage = { side: "client", id, address: this.address };
    connections.start(message);
    onClosed((why) => {
      connections.end(message, { why });
      // close() may have come after the end, which then was still on its way here.
      if (this.#reconnector === undefined || this.#reconnector.isStopped || why.reason === "local") {
        this.#end(why);
        return;
      }
      this.#state = RECONNECTING;
      this.#reconnector.start(
        (next) => this.#use(next),
        (error) => this.#end({ reason: "error", error }),
        why.error,
      );
    });
  }

  #end(why: ConnectionClosed): void {
    if (this.#state.is === "closed") return;
    this.#state = { is: "closed", why };
    this.#resolve(why);
  }

  /**
   * Makes a unary call with the bytes of a message, and resolves to the bytes of the reply.
   *
   * ```ts
   * const reply = await connection.unary("my.Service", "Method", payload, { timeoutMs: 500 });
   * ```
   *
   * Rejects with a TypeError if an argument is wrong, otherwise with a {@link TtrpcError}. Request and reply may have
   * up to 4 MiB each, including their envelopes.
   */
  unary(service: string, method: string, payload: Uint8Array, options?: CallOptions): Promise<Uint8Array> {
    try {
      checkBytes(payload, "payload");
      const route = this.bridge.route(service, method);
      return this.call({ route, payload, options, decode: rawPayload });
    } catch (error) {
      // A wrong argument rejects, like any other failure of the call.
      return Promise.reject(error);
    }
  }

  /**
   * Makes a server-streaming call with the bytes of messages. The call starts at once; leaving a `for await` ends it.
   *
   * ```ts
   * for await (const bytes of connection.serverStreaming("my.Service", "List", payload)) console.log(bytes);
   * ```
   *
   * Messages that have arrived but have not been read are limited to 4 MiB. Beyond that, nothing more is read from the
   * connection, so its other calls wait, too. Give a stream that may stay unread for long a connection of its own.
   *
   * The iterable throws a TypeError if an argument is wrong, otherwise a {@link TtrpcError}.
   */
  serverStreaming(
    service: string,
    method: string,
    payload: Uint8Array,
    options?: CallOptions,
  ): AsyncIterableIterator<Uint8Array> {
    return this.stream({
      kind: "server_streaming",
      route: this.#route(service, method),
      request: () => checkedPayload(payload),
      options,
      decode: rawPayload,
    }).replies;
  }

  /**
   * Makes a client-streaming call with the bytes of messages: sends all of `requests`, half-closes, and resolves to the
   * response. `requests` is asked for its next message only when there is room to send one.
   *
   * ```ts
   * const sum = await connection.clientStreaming("my.Service", "Sum", [Uint8Array.of(1), Uint8Array.of(2)]);
   * ```
   *
   * Rejects with a TypeError if an argument is wrong, otherwise with a {@link TtrpcError}.
   */
  async clientStreaming(
    service: string,
    method: string,
    requests: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
    options?: CallOptions,
  ): Promise<Uint8Array> {
    return this.stream({
      kind: "client_streaming",
      route: this.#route(service, method),
      requests: { messages: requests, encode: checkedPayload },
      options,
      decode: rawPayload,
    }).response;
  }

  /**
   * Makes a bidirectional call with the bytes of messages: both sides send whenever they like. Limits and errors are as
   * in {@link serverStreaming}.
   *
   * ```ts
   * for await (const bytes of connection.bidiStreaming("my.Service", "Chat", requests())) console.log(bytes);
   * ```
   */
  bidiStreaming(
    service: string,
    method: string,
    requests: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
    options?: CallOptions,
  ): AsyncIterableIterator<Uint8Array> {
    return this.stream({
      kind: "bidi_streaming",
      route: this.#route(service, method),
      requests: { messages: requests, encode: checkedPayload },
      options,
      decode: rawPayload,
    }).replies;
  }

  #route(service: string, method: string): () => number {
    return () => this.bridge.route(service, method);
  }

  /** @internal */
  call<T>(init: UnaryInit<T>): Promise<T> {
    try {
      return this.#checkedCall(init);
    } catch (error) {
      throw named(error, this, init.route, this.call);
    }
  }

  #checkedCall<T>(init: UnaryInit<T>): Promise<T> {
    const fields = callFields(init.options);
    if (!clientCalls.active) return this.#call(init, init.payload, fields);
    // A wrong message throws here, before the diagnostics channels see a call.
    const payload = encoded(init.payload);
    const message = clientCalls.start(this.messageOf(init.route, "unary"));
    const result = this.#call(init, payload, fields);
    // The caller awaits what this returns: with two readers, V8 could not tell who awaits the call.
    return result.then(
      (reply) => {
        clientCalls.end(message, {});
        return reply;
      },
      (error: TtrpcError) => {
        clientCalls.end(message, { error });
        throw error;
      },
    );
  }

  #call<T>({ route, decode }: UnaryInit<T>, payload: Payload, fields: CheckedFields): Promise<T> {
    const state = this.#state;
    if (state.is === "open") return unaryCall(this, state.id, { route, fields, payload }, decode);
    if (state.is === "closed") {
      return Promise.reject(named(closedError(this.address, state.why), this, route, this.call));
    }
    // The caller may change its bytes while the call waits.
    const bytes = bytesOf(payload);
    const { connection } = this.#reconnected(fields, route);
    return new Promise((resolve, reject) => {
      connection.then(
        ({ id, waitedMs }) =>
          resolve(
            unaryCall(this, id, { route, fields: shortened(fields, waitedMs), payload: bytes }, decode),
          ),
        (error: unknown) => rejectLater(resolve, reject, error),
      );
    });
  }

  /** @internal */
  stream<O>(init: StreamInit<O>): StreamResult<O> {
    const { kind, requests, options, decode } = init;
    let iterator: ReturnType<typeof iteratorOf> | undefined;
    let settled: ((error: unknown) => void) | undefined;
    let route: number | undefined;
    try {
      const state = this.#state;
      route = init.route();
      const fields = callFields(options);
      let payload = init.request?.() ?? NOTHING;
      // The caller may change its bytes while the call waits, and a wrong message must not be reported as a call.
      if (state.is === "reconnecting") payload = bytesOf(payload);
      else if (clientCalls.active) payload = encoded(payload);
      if (requests !== undefined) {
        iterator = iteratorOf(requests.messages as AsyncIterable<unknown>, "requests");
      }
      if (clientCalls.active) settled = this.#tracedStream(route, kind);
      if (state.is === "closed") throw closedError(this.address, state.why);
      const connection = state.is === "open" ? state.id : this.#reconnected(fields, route);
      return new StreamCall(connection, {
        site: this,
        call: { route, fields, payload },
        kind,
        signal: fields.signal,
        requests: iterator && requests && { iterator, encode: requests.encode },
        decode,
        settled,
      });
    } catch (error) {
      if (route !== undefined) named(error, this, route, this.stream);
      settled?.(error);
      void leave(iterator);
      // The caller gets the error with the first message, or with the response.
      return failedStream(error);
    }
  }

  /**
   * Makes a call whose outcome `pending` reads directly from the batch. Throws if the connection is not open.
   *
   * @internal
   */
  start(call: OutgoingCall, pending: PendingCall): void {
    const state = this.#state;
    if (state.is !== "open") {
      throw closedError(this.address, state.is === "closed" ? state.why : { reason: "remote" });
    }
    this.bridge.call(state.id, call, pending);
  }

  /**
   * The message about a call for the diagnostics channels.
   *
   * @internal
   */
  messageOf(route: number, kind: MethodKind): CallMessage {
    const connection = this.#state.is === "open" ? this.#state.id : 0;
    return { ...this.bridge.nameOf(route), kind, address: this.address, connection };
  }

  #tracedStream(route: number, kind: MethodKind): (error: unknown) => void {
    const message = clientCalls.start(this.messageOf(route, kind));
    const context = callerContext();
    return (error) => {
      const details = error === undefined ? {} : { error: TtrpcError.from(error) };
      context.runInAsyncScope(() => clientCalls.end(message, details));
    };
  }

  /** Waits for the connection of the next attempt. */
  #reconnected({ timeoutNs, signal }: CheckedFields, route: number): Place<Reconnected> {
    const start = currentMs();
    const place = this.#reconnector?.wait(timeoutNs / 1e6, signal);
    const next = place?.connection ?? Promise.reject(closedError(this.address, { reason: "remote" }));
    const connection = next.then(
      (id) => ({ id, waitedMs: currentMs() - start }),
      (reason: unknown) => {
        // The calls that wait for one attempt share its error.
        const { rawMessage, code, details, cause } = TtrpcError.from(reason);
        const options = cause === undefined ? { details } : { details, cause };
        throw named(callError(rawMessage, code, options), this, route);
      },
    );
    return { connection, leave: () => place?.leave() };
  }

  /**
   * Closes the connection; calls in flight fail with `Unavailable`. Resolves when the connection is closed. May be
   * called any number of times.
   */
  async close(): Promise<void> {
    const state = this.#state;
    if (state.is !== "closed") {
      this.#reconnector?.stop(closedError(this.address, { reason: "local" }));
      if (state.is === "open") this.bridge.close(state.id);
      else this.#end({ reason: "local" });
    }
    await this.closed;
  }

  /** Closes the connection, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Keeps the process alive as long as the connection is open. */
  ref(): this {
    return this.#setHold(Hold.Always);
  }

  /** Lets the process end even while calls are in flight. */
  unref(): this {
    return this.#setHold(Hold.Never);
  }

  #setHold(hold: number): this {
    this.#hold = hold;
    this.#reconnector?.setHolds(hold !== Hold.Never);
    if (this.#state.is === "open") this.bridge.hold(this.#state.id, hold);
    return this;
  }
}

const NOTHING = new Uint8Array(0);

function checkedPayload(payload: unknown): Uint8Array {
  checkBytes(payload as Uint8Array, "payload");
  return payload as Uint8Array;
}
