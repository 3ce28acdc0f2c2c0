import { type Address, parseAddress } from "../address.js";
import {
  type CallOptions,
  callFields,
  type CheckedFields,
  checkPayload,
  checkSignal,
} from "./call-options.js";
import { type UnaryInit, unaryCall } from "./unary-call.js";
import { Code } from "../code.js";
import { bytesOf, encoded, type Payload, rawPayload } from "../codec/payload.js";
import { type CallMessage, clientCalls, type ConnectionMessage, connections } from "../diagnostics.js";
import { transportError, TtrpcError } from "../error.js";
import type { MethodKind } from "../interceptor.js";
import { checkTimeout, CONNECT_TIMEOUT_MS, type OpenConnection, openConnection } from "./connector.js";
import { checkDriver } from "../native/driver.js";
import type { Bridge } from "../native/bridge.js";
import type { OutgoingCall, PendingCall } from "../native/types.js";
import { checkOptions } from "../options.js";
import { type ReconnectOptions, reconnectOptions, Reconnector } from "./reconnect.js";
import { iteratorOf } from "../stream/outgoing.js";
import { failedStream, shortened, StreamCall, type StreamInit, type StreamResult } from "./stream-call.js";
import type { ConnectionClosed, Driver } from "../transport.js";

/** Options of {@link connect}. */
export interface ConnectOptions {
  /** Milliseconds until the attempt fails with `Unavailable` and cause code `ETIMEDOUT`. 10 000 if left out. */
  readonly connectTimeoutMs?: number;
  /** Gives the attempt up, with `Canceled`. */
  readonly signal?: AbortSignal;
  /**
   * Tries again for as long as there is nobody there (`ENOENT`, `ECONNREFUSED`), within `connectTimeoutMs`: for a
   * server that is being started.
   */
  readonly waitForReady?: boolean;
  /**
   * Makes the connection again whenever it ends other than by `close()`. Calls in flight fail all the same, since the
   * peer may have carried them out; calls made before the connection is back wait for the next attempt.
   */
  readonly reconnect?: ReconnectOptions | boolean;
  /** What turns the connection's runtime. `"loop"` if left out, where there is Node's; see {@link Driver}. */
  readonly driver?: Driver;
}

const Hold = { WhileBusy: 0, Always: 1, Never: 2 } as const;

/** Where a connection is: open, with the number that it crosses under; between two connections; or ended for good. */
type State =
  | { readonly is: "open"; readonly id: number }
  | { readonly is: "reconnecting" }
  | { readonly is: "closed"; readonly why: ConnectionClosed };

const RECONNECTING: State = { is: "reconnecting" };

/**
 * A connection to a ttrpc server, made by {@link connect}. Calls of one tick leave together; any number can be in
 * flight. A connection keeps the process alive while calls are in flight, unless {@link ref} or {@link unref} say
 * otherwise.
 */
export class Connection {
  /** The address that it was made to. */
  readonly address: string;
  /** Resolves once, when the connection has ended for good; never rejects. */
  readonly closed: Promise<ConnectionClosed>;
  /** @internal */
  readonly bridge: Bridge;
  #state: State = RECONNECTING;
  #resolve!: (why: ConnectionClosed) => void;
  #hold: number = Hold.WhileBusy;
  readonly #reconnector: Reconnector | undefined;

  /** @internal */
  constructor(opened: OpenConnection, address: string, reconnector?: Reconnector) {
    if (typeof opened?.onClosed !== "function") throw new TypeError("a Connection is made by connect()");
    this.address = address;
    this.bridge = opened.bridge;
    this.#reconnector = reconnector;
    this.closed = new Promise((resolve) => {
      this.#resolve = resolve;
    });
    this.#use(opened);
  }

  #use({ id, onClosed }: OpenConnection): void {
    this.#state = { is: "open", id };
    if (this.#hold !== Hold.WhileBusy) this.bridge.hold(id, this.#hold);
    const message: ConnectionMessage = { side: "client", id, address: this.address };
    connections.start(message);
    onClosed((why) => {
      connections.end(message, { why });
      if (this.#reconnector === undefined || why.reason === "local") {
        this.#end(why);
        return;
      }
      this.#state = RECONNECTING;
      this.#reconnector.start(
        (next) => this.#use(next),
        (error) => this.#end({ reason: "error", error }),
      );
    });
  }

  #end(why: ConnectionClosed): void {
    if (this.#state.is === "closed") return;
    this.#state = { is: "closed", why };
    this.#resolve(why);
  }

  /**
   * Makes a unary call with bytes for a message, and resolves to the bytes of the reply.
   *
   * ```ts
   * const reply = await connection.unary("my.Service", "Method", payload, { timeoutMs: 500 });
   * ```
   *
   * Rejects with a TypeError if an argument is wrong, otherwise with a {@link TtrpcError}. Request and reply may have
   * up to 4 MiB each, their envelopes included.
   */
  unary(service: string, method: string, payload: Uint8Array, options?: CallOptions): Promise<Uint8Array> {
    try {
      checkPayload(payload);
      const route = this.bridge.route(service, method);
      return this.call({ route, payload, options, decode: rawPayload });
    } catch (error) {
      // A wrong argument rejects; it is not thrown at the caller.
      return Promise.reject(error);
    }
  }

  /**
   * Makes a server-streaming call with bytes for messages. The call starts at once; leaving a `for await` ends it.
   *
   * ```ts
   * for await (const bytes of connection.serverStreaming("my.Service", "List", payload)) console.log(bytes);
   * ```
   *
   * What arrives and is not taken is bounded: from 4 MiB on, the connection is not read, other calls of it included. A
   * stream that may be left standing wants a connection of its own.
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
   * Makes a client-streaming call with bytes for messages: sends all of `requests`, half-closes, and resolves to the
   * response. `requests` is asked for a message when there is room for it.
   */
  async clientStreaming(
    service: string,
    method: string,
    requests: AsyncIterable<Uint8Array>,
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

  /** Makes a bidirectional call with bytes for messages: both sides send when they like. */
  bidiStreaming(
    service: string,
    method: string,
    requests: AsyncIterable<Uint8Array>,
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
    const fields = callFields(init.options);
    if (!clientCalls.active) return this.#call(init, init.payload, fields);
    // A wrong message throws here: it is not to be seen as a call.
    const payload = encoded(init.payload);
    const message = clientCalls.start(this.messageOf(init.route, "unary"));
    const result = this.#call(init, payload, fields);
    result.then(
      () => clientCalls.end(message, {}),
      (error: TtrpcError) => clientCalls.end(message, { error }),
    );
    return result;
  }

  #call<T>({ route, decode }: UnaryInit<T>, payload: Payload, fields: CheckedFields): Promise<T> {
    const state = this.#state;
    if (state.is === "open") return unaryCall(this.bridge, state.id, { route, fields, payload }, decode);
    if (state.is === "closed") return Promise.reject(closedError(this.address, state.why));
    // What waits is not to change meanwhile.
    const bytes = bytesOf(payload);
    return this.#reconnected(fields).then(({ id, waitedMs }) =>
      unaryCall(this.bridge, id, { route, fields: shortened(fields, waitedMs), payload: bytes }, decode),
    );
  }

  /** @internal */
  stream<O>(init: StreamInit<O>): StreamResult<O> {
    const { kind, requests, options, decode } = init;
    let iterator: ReturnType<typeof iteratorOf> | undefined;
    let settled: ((error: unknown) => void) | undefined;
    try {
      const state = this.#state;
      if (state.is === "closed") throw closedError(this.address, state.why);
      const route = init.route();
      const fields = callFields(options);
      let payload = init.request?.() ?? NOTHING;
      // One that waits is not to change meanwhile, and a message that is wrong is not to be seen as a call.
      if (state.is === "reconnecting") payload = bytesOf(payload);
      else if (clientCalls.active) payload = encoded(payload);
      if (requests !== undefined) {
        iterator = iteratorOf(requests.messages as AsyncIterable<unknown>, "requests");
      }
      if (clientCalls.active) settled = this.#tracedStream(route, kind);
      const connection = state.is === "open" ? state.id : this.#reconnected(fields);
      // A stream whose signal has aborted does not look at it.
      if (typeof connection !== "number") connection.catch(() => undefined);
      return new StreamCall(connection, {
        bridge: this.bridge,
        call: { route, fields, payload },
        kind,
        signal: fields.signal,
        requests: iterator && requests && { iterator, encode: requests.encode },
        decode,
        settled,
      });
    } catch (error) {
      settled?.(error);
      // Nothing is asked of it; what its own code throws now concerns nobody.
      void Promise.resolve()
        .then(() => iterator?.return?.())
        .catch(() => undefined);
      // The caller finds it where it looks: at the first message, or in the response.
      return failedStream(error);
    }
  }

  /**
   * Makes a call whose outcome `pending` takes straight out of the batch. Throws if the connection is not open.
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
   * What the diagnostics channels are told of a call.
   *
   * @internal
   */
  messageOf(route: number, kind: MethodKind): CallMessage {
    const connection = this.#state.is === "open" ? this.#state.id : 0;
    return { ...this.bridge.nameOf(route), kind, address: this.address, connection };
  }

  #tracedStream(route: number, kind: MethodKind): (error: unknown) => void {
    const message = clientCalls.start(this.messageOf(route, kind));
    return (error) => clientCalls.end(message, error === undefined ? {} : { error: TtrpcError.from(error) });
  }

  /** The connection that the next attempt makes. */
  async #reconnected({ timeoutNs, signal }: CheckedFields): Promise<{ id: number; waitedMs: number }> {
    const start = performance.now();
    const reconnector = this.#reconnector;
    if (reconnector === undefined) throw closedError(this.address, { reason: "remote" });
    const id = await reconnector.wait(timeoutNs / 1e6, signal);
    return { id, waitedMs: performance.now() - start };
  }

  /**
   * Closes the connection; calls in flight fail with `Unavailable`. Resolves when it is closed, and may be called any
   * number of times.
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

  /** Keeps the process alive for as long as the connection is open. */
  ref(): this {
    return this.#setHold(Hold.Always);
  }

  /** Lets the process end even while calls are in flight. */
  unref(): this {
    return this.#setHold(Hold.Never);
  }

  #setHold(hold: number): this {
    this.#hold = hold;
    if (this.#state.is === "open") this.bridge.hold(this.#state.id, hold);
    return this;
  }
}

const NOTHING = new Uint8Array(0);

function checkedPayload(payload: unknown): Uint8Array {
  checkPayload(payload as Uint8Array);
  return payload as Uint8Array;
}

/** The error of a call on a connection that has ended. */
export function closedError(address: string, why: ConnectionClosed): TtrpcError {
  const cause = why.error?.cause;
  const what = `the connection to ${address} is closed`;
  if (cause === undefined)
    return transportError(what, 0, why.reason === "local" ? "by this side" : "by the peer");
  return new TtrpcError(`${what}: ${why.error?.message ?? ""}`, Code.Unavailable, { cause });
}

const OPTIONS = [
  "connectTimeoutMs",
  "signal",
  "waitForReady",
  "reconnect",
  "driver",
] as const satisfies readonly (keyof ConnectOptions)[];

/**
 * Connects to a ttrpc server.
 *
 * ```ts
 * const connection = await connect("unix:///run/containerd/s/abc", { connectTimeoutMs: 1000 });
 * ```
 *
 * Rejects with a TypeError if the address or an option is wrong, and with a {@link TtrpcError} of code `Unavailable`
 * whose `cause.code` is the system's (`ENOENT`, `ECONNREFUSED`, `ETIMEDOUT`) if there is nobody there.
 */
export async function connect(address: Address, options: ConnectOptions = {}): Promise<Connection> {
  checkOptions("connect", options, OPTIONS);
  const parsed = parseAddress(address);
  const {
    connectTimeoutMs: timeoutMs = CONNECT_TIMEOUT_MS,
    signal,
    waitForReady = false,
    reconnect,
    driver: given,
  } = options;
  checkTimeout(timeoutMs);
  checkSignal(signal);
  if (typeof waitForReady !== "boolean") throw new TypeError("waitForReady must be a boolean");
  const driver = checkDriver(given);
  let reconnector: Reconnector | undefined;
  if (reconnect !== undefined && reconnect !== false) {
    if (parsed.binding === undefined) throw new TypeError(`${parsed.text} cannot be connected to again`);
    reconnector = new Reconnector(reconnectOptions(reconnect), (stop) =>
      openConnection(parsed, { driver, timeoutMs, waitForReady: false, signal: stop }),
    );
  }
  const opened = await openConnection(parsed, { driver, timeoutMs, signal, waitForReady });
  return new Connection(opened, parsed.text, reconnector);
}
