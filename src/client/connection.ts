import { type Address, parseAddress } from "../address.js";
import {
  type CallOptions,
  callFields,
  type CheckedCall,
  checkPayload,
  checkSignal,
  unaryCall,
} from "./unary-call.js";
import { Code } from "../code.js";
import { bytesOf, type Decode, encoded, type Payload, rawPayload } from "../codec/payload.js";
import { type CallMessage, clientCalls, type ConnectionMessage, connections } from "../diagnostics.js";
import { transportError, TtrpcError } from "../error.js";
import type { MethodKind } from "../interceptor.js";
import { checkTimeout, CONNECT_TIMEOUT_MS, type OpenLink, openLink } from "./connector.js";
import { checkDriver, type Driver } from "../native/driver.js";
import type { Port } from "../native/bridge.js";
import type { ConnectionClosed } from "../native/batch-reader.js";
import type { CallFields, PendingCall } from "../native/types.js";
import { FLAG_CLIENT_STREAM, FLAG_SERVER_STREAM } from "../native/records.js";
import { checkOptions } from "../options.js";
import { type ReconnectOptions, reconnectOptions, Reconnector } from "./reconnect.js";
import { iteratorOf } from "../stream/outgoing.js";
import { failedStream, shortened, StreamCall } from "./stream-call.js";

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
  readonly port: Port;
  /** The engine's connection, 0 while there is none. */
  #id = 0;
  #why: ConnectionClosed | undefined;
  #resolve!: (why: ConnectionClosed) => void;
  #hold: number = Hold.WhileBusy;
  readonly #reconnector: Reconnector | undefined;

  /** @internal */
  constructor(link: OpenLink, address: string, reconnector?: Reconnector) {
    if (typeof link?.onClosed !== "function") throw new TypeError("link must be one that connect() made");
    this.address = address;
    this.port = link.port;
    this.#reconnector = reconnector;
    this.closed = new Promise((resolve) => {
      this.#resolve = resolve;
    });
    this.#use(link);
  }

  #use(link: OpenLink): void {
    this.#id = link.id;
    if (this.#hold !== Hold.WhileBusy) this.port.native.hold(link.id, this.#hold);
    const message: ConnectionMessage = { side: "client", id: link.id, address: this.address };
    connections.start(message);
    link.onClosed((why) => {
      connections.end(message, { why });
      this.#id = 0;
      if (this.#reconnector === undefined || why.reason === "local") this.#end(why);
      else {
        this.#reconnector.start(
          (next) => this.#use(next),
          (error) => this.#end({ reason: "error", error }),
        );
      }
    });
  }

  #end(why: ConnectionClosed): void {
    if (this.#why !== undefined) return;
    this.#why = why;
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
      return this.call(this.port.route(service, method), payload, options, rawPayload);
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
    const first = () => checkedPayload(payload);
    return this.stream(
      "server_streaming",
      this.#route(service, method),
      first,
      undefined,
      options,
      rawPayload,
    ).replies;
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
    const messages = { messages: requests, toPayload: checkedPayload };
    return this.stream(
      "client_streaming",
      this.#route(service, method),
      undefined,
      messages,
      options,
      rawPayload,
    ).response;
  }

  /** Makes a bidirectional call with bytes for messages: both sides send when they like. */
  bidiStreaming(
    service: string,
    method: string,
    requests: AsyncIterable<Uint8Array>,
    options?: CallOptions,
  ): AsyncIterableIterator<Uint8Array> {
    const messages = { messages: requests, toPayload: checkedPayload };
    return this.stream(
      "bidi_streaming",
      this.#route(service, method),
      undefined,
      messages,
      options,
      rawPayload,
    ).replies;
  }

  #route(service: string, method: string): () => number {
    return () => this.port.route(service, method);
  }

  /** @internal */
  stream<O>(
    kind: keyof typeof STREAM_FLAGS,
    route: number | (() => number),
    first: (() => Payload) | undefined,
    requests: Requests | undefined,
    options: CallOptions | undefined,
    decode: Decode<O>,
  ): { replies: AsyncIterableIterator<O>; response: Promise<O> } {
    let iterator: ReturnType<typeof iteratorOf> | undefined;
    let settled: ((error: unknown) => void) | undefined;
    try {
      if (this.#why !== undefined) throw closedError(this.address, this.#why);
      const number = typeof route === "number" ? route : route();
      const fields = callFields(options);
      let payload = first?.() ?? NOTHING;
      // One that waits is not to change meanwhile, and a message that is wrong is not to be seen as a call.
      if (this.#id === 0) payload = bytesOf(payload);
      else if (clientCalls.active) payload = encoded(payload);
      if (requests !== undefined) {
        iterator = iteratorOf(requests.messages as AsyncIterable<unknown>, "requests");
      }
      if (clientCalls.active) settled = this.#tracedStream(number, kind);
      const init = {
        port: this.port,
        route: number,
        kind: STREAM_FLAGS[kind],
        fields,
        signal: fields.signal,
        payload,
        requests: iterator && requests && { iterator, encode: requests.toPayload },
        decode,
        settled,
      };
      const link = this.#id === 0 ? this.#next(fields) : this.#id;
      // A stream whose signal has aborted does not look at it.
      if (typeof link !== "number") link.catch(() => undefined);
      return new StreamCall(init, link);
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

  /** @internal */
  call<T>(route: number, payload: Payload, options: CallOptions | undefined, decode: Decode<T>): Promise<T> {
    const fields = callFields(options);
    if (!clientCalls.active) return this.#call(route, payload, fields, decode);
    // What is wrong is not to be seen as a call.
    const bytes = encoded(payload);
    const message = clientCalls.start(this.messageOf(route, "unary"));
    const result = this.#call(route, bytes, fields, decode);
    result.then(
      () => clientCalls.end(message, {}),
      (error: TtrpcError) => clientCalls.end(message, { error }),
    );
    return result;
  }

  /**
   * Makes a call whose outcome `pending` takes straight out of the batch. Throws if the connection is not open.
   *
   * @internal
   */
  start(route: number, payload: Uint8Array, fields: CallFields, pending: PendingCall): void {
    if (this.#id === 0) throw closedError(this.address, this.#why ?? { reason: "remote" });
    this.port.call(this.#id, route, fields, payload, pending);
  }

  /**
   * What the diagnostics channels are told of a call.
   *
   * @internal
   */
  messageOf(route: number, kind: MethodKind): CallMessage {
    return { ...this.port.routes.nameOf(route), kind, address: this.address, connection: this.#id };
  }

  #call<T>(route: number, payload: Payload, fields: CheckedCall, decode: Decode<T>): Promise<T> {
    if (this.#why !== undefined) return Promise.reject(closedError(this.address, this.#why));
    if (this.#id !== 0) return unaryCall(this.port, this.#id, route, payload, fields, decode);
    const bytes = bytesOf(payload);
    return this.#next(fields).then(({ id, waitedMs }) =>
      unaryCall(this.port, id, route, bytes, shortened(fields, waitedMs), decode),
    );
  }

  #tracedStream(route: number, kind: MethodKind): (error: unknown) => void {
    const message = clientCalls.start(this.messageOf(route, kind));
    return (error) => clientCalls.end(message, error === undefined ? {} : { error: TtrpcError.from(error) });
  }

  /** The connection that the next attempt makes. */
  async #next({ timeoutNs, signal }: CheckedCall): Promise<{ id: number; waitedMs: number }> {
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
    if (this.#why === undefined) {
      this.#reconnector?.stop(closedError(this.address, { reason: "local" }));
      if (this.#id === 0) this.#end({ reason: "local" });
      else {
        this.port.native.close(this.#id, false);
        this.port.schedule();
      }
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
    if (this.#id !== 0) this.port.native.hold(this.#id, hold);
    return this;
  }
}

interface Requests {
  readonly messages: unknown;
  readonly toPayload: (message: unknown) => Payload;
}

const NOTHING = new Uint8Array(0);

const STREAM_FLAGS = {
  server_streaming: FLAG_SERVER_STREAM,
  client_streaming: FLAG_CLIENT_STREAM,
  bidi_streaming: FLAG_CLIENT_STREAM | FLAG_SERVER_STREAM,
} as const;

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
      openLink(parsed, { driver, timeoutMs, waitForReady: false, signal: stop }),
    );
  }
  const link = await openLink(parsed, { driver, timeoutMs, signal, waitForReady });
  return new Connection(link, parsed.text, reconnector);
}
