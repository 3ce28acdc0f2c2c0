import type { DescMethodUnary, DescService, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import { type Address, parseAddress } from "../address.js";
import { syncCallFields, type SyncCallOptions } from "./call-options.js";
import { checkConnection, type ClientName, methodsOf } from "./client.js";
import { Code } from "../code.js";
import {
  type Decode,
  encoded,
  messageDecoder,
  OutgoingMessage,
  type Payload,
  rawPayload,
} from "../codec/payload.js";
import { checkBusyPoll, setBusyPoll } from "../busy-poll.js";
import { type CallSite, closedError, named } from "./call-site.js";
import { clientCalls, type ConnectionMessage, connections } from "../diagnostics.js";
import { callError, ofCall, TtrpcError } from "../error.js";
import { CONNECT_TIMEOUT_MS, openError } from "./connector.js";
import { requireLoop } from "../native/driver.js";
import { checkedMs, checkOptions } from "../options.js";
import { type Bridge, bridgeOf } from "../native/bridge.js";
import type { CallFields, PendingCall } from "../native/types.js";
import type { ConnectionClosed } from "../connection-types.js";
import { checkBytes } from "../value-kinds.js";

/** Options of {@link connectSync}. */
export interface SyncConnectOptions {
  /** Milliseconds until the attempt fails with `Unavailable` and cause code `ETIMEDOUT`. Default 10 000. */
  readonly connectTimeoutMs?: number | undefined;
  /**
   * Milliseconds to poll for an answer before the thread sleeps: from 0 to 10, fractions allowed. By default up to 0.1,
   * as long as that pays; see {@link ConnectOptions.busyPollMs}. 0 turns polling off.
   */
  readonly busyPollMs?: number | undefined;
}

/**
 * A connection whose calls block the thread until the reply arrives, as the Rust crate's default client does. It never
 * keeps the process alive, and it notices that the peer is gone only during a call. Made by {@link connectSync}.
 */
export class SyncConnection {
  /** The address that it connected to. */
  readonly address: string;
  readonly #bridge: Bridge;
  readonly #site: CallSite;
  readonly #id: number;
  readonly #message: ConnectionMessage;
  #why: ConnectionClosed | undefined;

  /** @internal */
  constructor(id: number, address: string) {
    if (typeof id !== "number")
      throw new TypeError("id must be that of a connection that connectSync() made");
    this.#bridge = bridgeOf("loop");
    this.#id = id;
    this.address = address;
    this.#site = { bridge: this.#bridge, address };
    this.#message = { side: "client", id, address };
    this.#bridge.observeConnection(id, { closed: (why) => this.#end(why) });
    connections.start(this.#message);
  }

  #end(why: ConnectionClosed): void {
    if (this.#why !== undefined) return;
    this.#why = why;
    connections.end(this.#message, { why });
  }

  /**
   * Makes a unary call with the bytes of a message and returns the bytes of the reply. Without `timeoutMs` it waits
   * forever. Nothing else on this thread runs meanwhile, so a server on the same thread could not answer; a call to such
   * a server fails with `FailedPrecondition`. Request and reply may have up to 4 MiB each, including their envelopes.
   *
   * Throws a TypeError if an argument is wrong, otherwise a {@link TtrpcError}.
   */
  unary(service: string, method: string, payload: Uint8Array, options?: SyncCallOptions): Uint8Array {
    checkBytes(payload, "payload");
    return this.call(this.#bridge.route(service, method), payload, options, rawPayload);
  }

  /** @internal */
  call<T>(route: number, payload: Payload, options: SyncCallOptions | undefined, decode: Decode<T>): T {
    try {
      return this.#tracedCall(route, payload, syncCallFields(options), decode);
    } catch (error) {
      throw named(error, this.#site, route, this.call);
    }
  }

  #tracedCall<T>(route: number, payload: Payload, fields: CallFields, decode: Decode<T>): T {
    if (!clientCalls.active) return this.#call(route, payload, fields, decode);
    // A wrong message throws here, before the diagnostics channels see a call.
    const bytes = encoded(payload);
    const names = this.#bridge.nameOf(route);
    const connection = this.#why === undefined ? this.#id : 0;
    const message = clientCalls.start({ ...names, kind: "unary", address: this.address, connection });
    let error: TtrpcError | undefined;
    try {
      return this.#call(route, bytes, fields, decode);
    } catch (reason) {
      error = TtrpcError.from(reason);
      throw reason;
    } finally {
      clientCalls.end(message, error === undefined ? {} : { error });
    }
  }

  #call<T>(route: number, payload: Payload, fields: CallFields, decode: Decode<T>): T {
    if (this.#why !== undefined)
      throw named(closedError(this.address, this.#why), this.#site, route, this.call);
    if (this.#bridge.isServedHere(this.#id)) {
      // A wrong message is reported first.
      encoded(payload);
      const text = `a blocking call to ${this.address} would wait forever: its server runs on the same thread`;
      const error = callError(
        `${text}; use connect(), or run the server in a worker or process`,
        Code.FailedPrecondition,
      );
      throw named(error, this.#site, route, this.call);
    }
    let outcome: { value: T } | { error: unknown } | undefined;
    const pending: PendingCall = {
      slot: 0,
      generation: 0,
      succeed(reader) {
        try {
          outcome = { value: reader.read(decode) };
        } catch (error) {
          outcome = { error: ofCall(error) };
        }
      },
      fail(error) {
        outcome = { error };
      },
    };
    try {
      this.#bridge.callBlocking(this.#id, { route, fields, payload }, pending);
    } catch (error) {
      throw named(error, this.#site, route, this.call);
    }
    if (outcome === undefined) throw new TtrpcError("the call has no outcome", Code.Internal);
    if ("error" in outcome) throw named(outcome.error, this.#site, route, this.call);
    return outcome.value;
  }

  /** Closes the connection; may be called any number of times. */
  close(): void {
    if (this.#why !== undefined) return;
    this.#bridge.close(this.#id);
    this.#end({ reason: "local" });
  }

  /** Closes the connection, for `using`. */
  [Symbol.dispose](): void {
    this.close();
  }
}

const OPTIONS = ["connectTimeoutMs", "busyPollMs"] as const satisfies readonly (keyof SyncConnectOptions)[];

/**
 * Connects to a ttrpc server and blocks until the connection is open.
 *
 * ```ts
 * const task = createSyncClient(Task, connectSync("unix:///run/containerd/s/abc"));
 * const { shimPid } = task.connect({ id: "1" }, { timeoutMs: 500 });
 * ```
 *
 * Throws a TypeError if the address or an option is wrong, or if the runtime lacks Node's own event loop (Bun, Deno),
 * and a {@link TtrpcError} of code `Unavailable` if the attempt fails; its `cause.code` is the system's error name.
 */
export function connectSync(address: Address, options: SyncConnectOptions = {}): SyncConnection {
  checkOptions("connectSync", options, OPTIONS);
  const parsed = parseAddress(address);
  const { connectTimeoutMs = CONNECT_TIMEOUT_MS, busyPollMs } = options;
  checkedMs(connectTimeoutMs, "connectTimeoutMs", "above 0");
  const busyPollUs = checkBusyPoll(busyPollMs);
  if (parsed.duplex !== undefined)
    throw new TypeError("a Duplex needs the event loop, which a blocking call stops");
  requireLoop("a blocking connection");
  const bridge = bridgeOf("loop");
  const opened = bridge.connectBlocking(parsed.binding ?? { fd: parsed.fd ?? -1 }, connectTimeoutMs);
  if (opened.id === 0) throw openError(parsed, opened);
  setBusyPoll(bridge, opened.id, busyPollUs);
  return new SyncConnection(opened.id, parsed.text);
}

/** A blocking client of a service: a function for each of its unary methods, with the names of {@link createClient}. */
export type SyncClient<Service extends DescService> = {
  [
    Name in keyof Service["method"] as Service["method"][Name] extends DescMethodUnary
      ? ClientName<Name>
      : never
  ]: Service["method"][Name] extends DescMethodUnary<infer Input, infer Output>
    ? (request: MessageInitShape<Input>, options?: SyncCallOptions) => MessageShape<Output>
    : never;
};

/**
 * Makes a blocking client of a service. Its methods return the reply, and throw the errors that the methods of
 * {@link createClient} reject with. Streaming methods are left out.
 *
 * ```ts
 * const task = createSyncClient(Task, connectSync("unix:///run/containerd/s/abc"));
 * const { pid, status } = task.state({ id: "web" }, { timeoutMs: 500 });
 * ```
 *
 * Throws a TypeError if the service or the connection is wrong.
 */
export function createSyncClient<Service extends DescService>(
  service: Service,
  connection: SyncConnection,
): SyncClient<Service> {
  checkConnection(connection, SyncConnection, "SyncConnection", "connectSync() returns");
  return methodsOf(service, bridgeOf("loop"), ({ methodKind, input, output }, route) => {
    if (methodKind !== "unary") return undefined;
    const decode = messageDecoder(output);
    return (request: MessageInitShape<typeof input>, options?: SyncCallOptions) =>
      connection.call(route, new OutgoingMessage(input, request), options, decode);
  }) as SyncClient<Service>;
}
