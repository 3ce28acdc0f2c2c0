import { setTimeout as sleep } from "node:timers/promises";
import { type Address, parseAddress, type ParsedAddress } from "./address.js";
import {
  type CallOptions,
  callFields,
  checkNames,
  checkPayload,
  type Decode,
  rawPayload,
  unaryCall,
} from "./call.js";
import { canceledError, transportError, TtrpcError } from "./error.js";
import type { BindingOpened } from "./native.js";
import { Code } from "./code.js";
import { port } from "./port/port.js";
import { FLAG_CLIENT_STREAM, FLAG_SERVER_STREAM } from "./port/records.js";
import { encoded, failedStream, StreamCall } from "./stream/stream-call.js";
import type { ConnectionClosed } from "./port/reader.js";

/** Options of {@link connect}. */
export interface ConnectOptions {
  /** Milliseconds until the attempt fails with `Unavailable` and cause code `ETIMEDOUT`. 10 000 if left out. */
  readonly connectTimeoutMs?: number;
  /** Gives the attempt up, with `Canceled`. */
  readonly signal?: AbortSignal;
}

const DEFAULT_TIMEOUT_MS = 10_000;
const EAGAIN = 11;
const ETIMEDOUT = 110;
const BACKLOG_RETRY_MS = 5;

const Hold = { WhileBusy: 0, Always: 1, Never: 2 } as const;

/**
 * A connection to a ttrpc server, made by {@link connect}. Calls of one tick leave together; any number can be in
 * flight. A connection keeps the process alive while calls are in flight, unless {@link ref} or {@link unref} say
 * otherwise.
 */
export class Connection {
  /** The address that it was made to. */
  readonly address: string;
  /** Resolves once, when the connection has ended; never rejects. */
  readonly closed: Promise<ConnectionClosed>;
  readonly #id: number;
  #why: ConnectionClosed | undefined;

  /** @internal */
  constructor(id: number, address: string) {
    this.#id = id;
    this.address = address;
    this.closed = new Promise((resolve) => {
      port().connections.set(id, {
        closed: (why) => {
          this.#why = why;
          resolve(why);
        },
      });
    });
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
  async unary(
    service: string,
    method: string,
    payload: Uint8Array,
    options?: CallOptions,
  ): Promise<Uint8Array> {
    checkNames(service, method);
    checkPayload(payload);
    return this.call(port().route(service, method), payload, options, rawPayload);
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
    return this.stream("server_streaming", routeOf(service, method), first, undefined, options, asItIs)
      .replies;
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
    const messages = { messages: requests, toBytes: checkedPayload };
    return this.stream("client_streaming", routeOf(service, method), undefined, messages, options, asItIs)
      .response;
  }

  /** Makes a bidirectional call with bytes for messages: both sides send when they like. */
  bidiStreaming(
    service: string,
    method: string,
    requests: AsyncIterable<Uint8Array>,
    options?: CallOptions,
  ): AsyncIterableIterator<Uint8Array> {
    const messages = { messages: requests, toBytes: checkedPayload };
    return this.stream("bidi_streaming", routeOf(service, method), undefined, messages, options, asItIs)
      .replies;
  }

  /** @internal */
  stream<O>(
    kind: keyof typeof STREAM_FLAGS,
    route: number | (() => number),
    first: (() => Uint8Array) | undefined,
    requests: Requests | undefined,
    options: CallOptions | undefined,
    decode: (bytes: Uint8Array) => O,
  ): { replies: AsyncIterableIterator<O>; response: Promise<O> } {
    try {
      if (this.#why !== undefined) throw closedError(this.address, this.#why);
      return new StreamCall({
        connection: this.#id,
        route: typeof route === "number" ? route : route(),
        kind: STREAM_FLAGS[kind],
        fields: callFields(options),
        signal: options?.signal,
        payload: first?.() ?? NOTHING,
        requests:
          requests && encoded(requests.messages as AsyncIterable<unknown>, requests.toBytes, "requests"),
        decode,
      });
    } catch (error) {
      // The caller finds it where it looks: at the first message, or in the response.
      return failedStream(error);
    }
  }

  /** @internal */
  call<T>(
    route: number,
    payload: Uint8Array,
    options: CallOptions | undefined,
    decode: Decode<T>,
  ): Promise<T> {
    if (this.#why !== undefined) return Promise.reject(closedError(this.address, this.#why));
    return unaryCall(this.#id, route, payload, callFields(options), options?.signal, decode);
  }

  /**
   * Closes the connection; calls in flight fail with `Unavailable`. Resolves when it is closed, and may be called any
   * number of times.
   */
  async close(): Promise<void> {
    if (this.#why === undefined) {
      port().native.close(this.#id, false);
      port().schedule();
    }
    await this.closed;
  }

  /** Closes the connection, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Keeps the process alive for as long as the connection is open. */
  ref(): this {
    port().native.hold(this.#id, Hold.Always);
    return this;
  }

  /** Lets the process end even while calls are in flight. */
  unref(): this {
    port().native.hold(this.#id, Hold.Never);
    return this;
  }
}

interface Requests {
  readonly messages: unknown;
  readonly toBytes: (message: unknown) => Uint8Array;
}

const NOTHING = new Uint8Array(0);

const STREAM_FLAGS = {
  server_streaming: FLAG_SERVER_STREAM,
  client_streaming: FLAG_CLIENT_STREAM,
  bidi_streaming: FLAG_CLIENT_STREAM | FLAG_SERVER_STREAM,
} as const;

function routeOf(service: string, method: string): () => number {
  return () => {
    checkNames(service, method);
    return port().route(service, method);
  };
}

function checkedPayload(payload: unknown): Uint8Array {
  checkPayload(payload as Uint8Array);
  return payload as Uint8Array;
}

function asItIs(bytes: Uint8Array): Uint8Array {
  return bytes;
}

/** The error of a call on a connection that has ended. */
export function closedError(address: string, why: ConnectionClosed): TtrpcError {
  const cause = why.error?.cause;
  const what = `the connection to ${address} is closed`;
  if (cause === undefined)
    return transportError(what, 0, why.reason === "local" ? "by this side" : "by the peer");
  return new TtrpcError(`${what}: ${why.error?.message ?? ""}`, Code.Unavailable, { cause });
}

/**
 * Connects to a ttrpc server.
 *
 * ```ts
 * const connection = await connect("unix:///run/containerd/s/abc", { connectTimeoutMs: 1000 });
 * ```
 *
 * Rejects with a TypeError if the address is not one, and with a {@link TtrpcError} of code `Unavailable` whose
 * `cause.code` is the system's (`ENOENT`, `ECONNREFUSED`, `ETIMEDOUT`) if there is nobody there.
 */
export async function connect(address: Address, options: ConnectOptions = {}): Promise<Connection> {
  const parsed = parseAddress(address);
  const { connectTimeoutMs = DEFAULT_TIMEOUT_MS, signal } = options;
  checkTimeout(connectTimeoutMs);
  if (signal?.aborted) throw canceledError(signal);
  const until = performance.now() + connectTimeoutMs;
  for (;;) {
    const opened = open(parsed);
    if (opened.id !== 0) return established(opened.id, parsed.text, until - performance.now(), signal);
    if (opened.errno !== EAGAIN) throw openError(parsed, opened);
    // A unix socket does not queue those that find its backlog full; the server has to accept first.
    if (performance.now() >= until) throw openError(parsed, { ...opened, errno: ETIMEDOUT });
    await sleep(BACKLOG_RETRY_MS, undefined, { signal }).catch(() => undefined);
    if (signal?.aborted) throw canceledError(signal);
  }
}

function open({ binding, fd }: ParsedAddress): BindingOpened {
  return binding === undefined ? port().native.adopt(fd ?? -1, false) : port().native.connect(binding);
}

function established(
  id: number,
  address: string,
  timeoutMs: number,
  signal?: AbortSignal,
): Promise<Connection> {
  return new Promise((resolve, reject) => {
    let error: TtrpcError | undefined;
    const giveUp = (reason: TtrpcError) => {
      error = reason;
      port().native.close(id, false);
      port().schedule();
    };
    const onAbort = () => signal && giveUp(canceledError(signal));
    const timer = setTimeout(
      () => giveUp(transportError(`cannot connect to ${address}`, ETIMEDOUT)),
      Math.max(timeoutMs, 1),
    );
    const settle = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", onAbort);
    };
    signal?.addEventListener("abort", onAbort);
    port().connections.set(id, {
      connected() {
        settle();
        resolve(new Connection(id, address));
      },
      closed(why) {
        settle();
        const cause = why.error?.cause as { errno?: number } | undefined;
        reject(
          error ?? transportError(`cannot connect to ${address}`, -(cause?.errno ?? 0), why.error?.message),
        );
      },
    });
    port().schedule();
  });
}

/** The error of an address that cannot be opened. */
export function openError(
  { text }: ParsedAddress,
  opened: BindingOpened,
  what = "cannot connect to",
): TtrpcError {
  return transportError(`${what} ${text}`, opened.errno, opened.text ?? "");
}

/** Checks a timeout for connecting. */
export function checkTimeout(timeoutMs: number, name = "connectTimeoutMs"): void {
  if (typeof timeoutMs !== "number" || !(timeoutMs > 0)) {
    throw new TypeError(`${name} must be a number of milliseconds above 0, not ${String(timeoutMs)}`);
  }
}
