import { clearTimeout, setTimeout } from "node:timers";
import { EventEmitter } from "node:events";
import { constants } from "node:os";
import type { DescService } from "@bufbuild/protobuf";
import { type Address, parseAddress } from "../address.js";
import { checkBusyPoll } from "../busy-poll.js";
import { Code } from "../code.js";
import { openError } from "../client/connector.js";
import type { ServerConnection } from "./context.js";
import { type ConnectionMessage, connections } from "../diagnostics.js";
import { join } from "../duplex.js";
import { transportError, TtrpcError } from "../error.js";
import type { BindingListenOptions, BindingOpened } from "../native/addon.js";
import {
  checkedCall,
  checkedInterceptors,
  clientStreams,
  intercept,
  serverStreams,
  type ServerCall,
  type ServerInterceptor,
} from "../interceptor.js";
import { answer } from "./answer.js";
import { inThisContext } from "./async-context.js";
import { checkDriver } from "../native/driver.js";
import {
  LONGEST_TIMER_MS,
  checkedBoolean,
  checkLimits,
  checkOptions,
  closeOptions,
  withDefaults,
} from "../options.js";
import { shown } from "../value-kinds.js";
import { type Bridge, bridgeOf } from "../native/bridge.js";
import type { BatchReader } from "../native/batch-reader.js";
import type { ActiveRequest, IncomingRequest, RequestReceiver } from "../native/types.js";
import { MethodRoutes } from "./method-routes.js";
import { RefusedRequest } from "./refused-request.js";
import { type RequestHost, RunningRequest, type Served } from "./running-request.js";
import { type RawMethods, rawMethods, type ServedMethod, type ServiceImpl, typedMethods } from "./service.js";
import { responsesOf } from "../stream/outgoing.js";
import {
  type CloseOptions,
  DEFAULT_GRACE_MS,
  DEFAULTS,
  LISTEN_OPTIONS,
  type ListenOptions,
  OPTIONS,
  type ServerOptions,
} from "./options.js";
import { StreamRequest } from "./stream-request.js";
import { UnaryRequest } from "./unary-request.js";
import { isAbstract, reclaimStale, removerOf, socketPath } from "./socket-file.js";
import type { PeerCredentials } from "../connection-types.js";

/** Events of a {@link Server}. */
export interface ServerEvents {
  /**
   * A connection could not be accepted, for example because descriptors ran out. Accepting is retried shortly after.
   */
  acceptError: [error: TtrpcError];
}

const { EADDRINUSE } = constants.errno;

/** A small `maxQueuedBytes` is meant for bytes. The objects of a few requests are larger. */
const LEAST_DECODED_BYTES = 4 << 20;

/** A ttrpc server, made by {@link createServer}. While it listens, it keeps the process alive. */
export class Server extends EventEmitter<ServerEvents> {
  readonly #bridge: Bridge;
  readonly #host: RequestHost;
  readonly #rules: Omit<BindingListenOptions, "methods" | "mode">;
  readonly #interceptors: readonly ServerInterceptor[];
  readonly #methods: MethodRoutes;
  readonly #services = new Set<string>();
  /** The functions that remove the listeners' socket files. */
  readonly #listeners = new Map<number, () => void>();
  readonly #connections = new Map<number, ServerConnection>();
  /** The Duplexes that may still pass on replies. */
  readonly #duplexes = new Set<Promise<void>>();
  #active = 0;
  #listened = false;
  #closing: Promise<void> | undefined;
  /** While it closes, each call of close() may shorten the grace time. */
  #endGraceAfter: (graceMs: number) => void = () => {};
  #idle: (() => void) | undefined;
  /** Listeners that may still report events. */
  #listening = 0;

  /**
   * @param holdBack - Requests beyond the limits are not refused. Their connections are not read until there is room.
   *
   * @internal
   */
  constructor(options: ServerOptions = {}, holdBack = false) {
    super();
    checkOptions("createServer", options, OPTIONS);
    const { interceptors, requireSameUser = false, driver, busyPollMs, ...given } = options;
    this.#bridge = bridgeOf(checkDriver(driver));
    this.#methods = new MethodRoutes(this.#bridge);
    checkedBoolean(requireSameUser, "requireSameUser");
    this.#interceptors = checkedInterceptors(interceptors);
    const busyPollUs = checkBusyPoll(busyPollMs) ?? null;
    const limits = withDefaults(DEFAULTS, given);
    checkLimits(limits);
    this.#rules = { ...limits, requireSameUser, holdBack, busyPollUs };
    this.#host = {
      bridge: this.#bridge,
      decodedBytes: 0,
      maxDecodedBytes: Math.max(limits.maxQueuedBytes, LEAST_DECODED_BYTES),
      finished: () => this.#finished(),
    };
  }

  /**
   * Adds a service; call it before {@link listen}. If a handler throws a {@link TtrpcError}, the caller gets its code,
   * message and details. Any other error reaches the caller as `Unknown`, with its message.
   *
   * ```ts
   * server.add(Task, {
   *   async connect(request, context) {
   *     return { shimPid: process.pid };
   *   },
   * });
   * ```
   *
   * Throws a TypeError if the implementation does not fit the service or the service was added before, and a
   * {@link TtrpcError} with code `FailedPrecondition` after `listen`.
   */
  add<Service extends DescService>(service: Service, implementation: ServiceImpl<Service>): this {
    const methods = typedMethods(service, implementation);
    return this.#add(service.typeName, methods);
  }

  /**
   * Adds a service whose handlers take and return bytes. Throws as {@link add} does.
   *
   * ```ts
   * server.addRaw("test.Echo", { Echo: { kind: "unary", handle: async (payload) => payload } });
   * ```
   */
  addRaw(service: string, methods: RawMethods): this {
    return this.#add(service, rawMethods(service, methods));
  }

  #add(service: string, methods: ServedMethod[]): this {
    if (this.#listened) throw new TtrpcError(`${service} is added after listen`, Code.FailedPrecondition);
    if (this.#services.has(service)) throw new TypeError(`${service} is added twice`);
    this.#services.add(service);
    for (const method of methods) {
      const what = responsesOf(method);
      const streams = serverStreams(method.kind);
      const innermost = async (call: ServerCall) => {
        const { request, context } = checkedCall(call);
        return streams
          ? inThisContext(method.handle(request, context), what, context)
          : answer(method, request, context);
      };
      const intercepted =
        this.#interceptors.length === 0 ? undefined : intercept(this.#interceptors, innermost, method.kind);
      const served: Served = { ...method, intercepted };
      this.#route(method, (reader) => this.#serve(served, reader.request(), reader));
    }
    return this;
  }

  /**
   * Adds a unary method whose requests `receiver` reads directly from the batch, bypassing handlers and interceptors.
   *
   * @internal
   */
  addReceiver(service: string, method: string, receiver: RequestReceiver): this {
    this.#route({ service, method, kind: "unary" }, receiver);
    return this;
  }

  #route(
    { service, method, kind }: Pick<ServedMethod, "service" | "method" | "kind">,
    receiver: RequestReceiver,
  ): void {
    const streams = { clientStreams: clientStreams(kind), serverStreams: serverStreams(kind) };
    this.#methods.add({ service, method, ...streams }, receiver);
  }

  /**
   * Listens on an address; may be called for several. Resolves to the bound address, which for `tcp://ip:0` has the
   * chosen port.
   *
   * Rejects with a TypeError if the address or an option is wrong, with a {@link TtrpcError} of code `Unavailable` if
   * the address cannot be bound (its `cause.code` is the system's error name, such as `EADDRINUSE` or `EACCES`), and
   * with one of code `FailedPrecondition` after {@link close}.
   */
  async listen(address: Address, options: ListenOptions = {}): Promise<string> {
    return this.listenNow(address, options);
  }

  /** @internal */
  listenNow(address: Address, options: ListenOptions = {}): string {
    const parsed = parseAddress(address);
    checkOptions("listen", options, LISTEN_OPTIONS);
    if (parsed.binding?.kind === "hvsock") throw new TypeError(`${parsed.text} can only be connected to`);
    const { mode, reclaimStale: reclaim = false } = options;
    if (mode !== undefined && (!Number.isInteger(mode) || mode < 0 || mode > 0o777)) {
      throw new TypeError(`mode must be permission bits from 0 to 0o777, not ${shown(mode)}`);
    }
    if (mode !== undefined && isAbstract(parsed)) {
      const instead = "requireSameUser of the server decides who may connect";
      throw new TypeError(`mode is for a socket's file, and ${parsed.text} has none: ${instead}`);
    }
    checkedBoolean(reclaim, "reclaimStale");
    if (this.#closing !== undefined) throw new TtrpcError("the server is closed", Code.FailedPrecondition);
    this.#listened = true;
    const binding: BindingListenOptions = {
      methods: this.#methods.routed(),
      mode: mode ?? null,
      ...this.#rules,
    };
    const bind = () => {
      if (parsed.binding !== undefined) return this.#bridge.listen(parsed.binding, binding);
      if (parsed.duplex === undefined) return this.#bridge.listenOn(parsed.fd ?? -1, false, binding);
      const { errno, text, ...pair } = this.#bridge.pair();
      if (errno !== 0) return { id: 0, bound: null, errno, text };
      this.#join(join(parsed.duplex, pair));
      return this.#bridge.listenOn(pair.ours, true, binding);
    };
    let opened: BindingOpened;
    try {
      opened = bind();
      if (opened.errno === EADDRINUSE && reclaim && reclaimStale(parsed)) opened = bind();
      if (opened.id === 0) throw openError(parsed, opened, "cannot listen on");
    } catch (error) {
      this.#ended();
      throw error;
    }
    const path = socketPath(parsed);
    const bound = parsed.binding?.kind === "tcp" ? `tcp://${opened.bound}` : parsed.text;
    this.#listening++;
    this.#listeners.set(opened.id, path === undefined ? () => {} : removerOf(path));
    this.#bridge.observeListener(opened.id, {
      accepted: (connection, peer) => this.#accepted(connection, peer),
      acceptFailed: (errno, text) =>
        this.#acceptFailed(transportError(`cannot accept a connection on ${bound}`, errno, text)),
      closed: () => {
        this.#listeners.delete(opened.id);
        this.#listening--;
        this.#ended();
      },
    });
    return bound;
  }

  #join(joined: Promise<void>): void {
    this.#duplexes.add(joined);
    void joined.then(() => this.#duplexes.delete(joined));
  }

  /**
   * Stops listening, lets handlers run for up to `graceMs`, delivers their replies, and closes all connections.
   * Resolves when every socket is closed; for a Duplex that has not taken all replies, it waits no longer than the grace
   * time. A second call returns the same promise, and shortens the grace time if its own is shorter. Rejects with a
   * TypeError if an option is wrong.
   *
   * ```ts
   * process.once("SIGTERM", () => server.close({ graceMs: 2000 }));
   * ```
   */
  close(options: CloseOptions = {}): Promise<void> {
    let graceMs: number | undefined;
    try {
      ({ graceMs } = closeOptions(options));
    } catch (error) {
      // A wrong argument rejects instead of being thrown.
      return Promise.reject(error);
    }
    const isFirst = this.#closing === undefined;
    this.#closing ??= this.#close();
    if (isFirst || graceMs !== undefined) this.#endGraceAfter(graceMs ?? DEFAULT_GRACE_MS);
    return this.#closing;
  }

  /** Closes the server, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /**
   * Removes the socket files of the listeners that are still open, for a process that exits without closing its server.
   *
   * @internal
   */
  removeFiles(): void {
    for (const remove of this.#listeners.values()) remove();
  }

  async #close(): Promise<void> {
    const bridge = this.#bridge;
    for (const [id, remove] of this.#listeners) {
      // In this order: see removerOf.
      remove();
      bridge.closeListener(id);
    }
    const timers: NodeJS.Timeout[] = [];
    const grace = new Promise<void>((resolve) => {
      this.#endGraceAfter = (graceMs) => {
        timers.push(setTimeout(resolve, Math.min(graceMs, LONGEST_TIMER_MS)));
      };
    });
    await Promise.race([
      grace,
      new Promise<void>((resolve) =>
        this.#whenIdle(() => this.#active === 0 && this.#listening === 0, resolve),
      ),
    ]);
    for (const request of bridge.requests()) {
      if (request instanceof RunningRequest && this.#connections.has(request.connection)) {
        request.giveUp("shutdown");
      }
    }
    // Replies already given cross before the connections close. A peer that does not read them has the grace time to do
    // so.
    bridge.flush();
    for (const id of this.#connections.keys()) bridge.close(id, true);
    const gone = new Promise<void>((resolve) =>
      this.#whenIdle(() => this.#connections.size === 0 && this.#listening === 0, resolve),
    );
    await Promise.race([grace, gone]);
    for (const id of this.#connections.keys()) bridge.close(id);
    await gone;
    await Promise.race([grace, Promise.all(this.#duplexes)]);
    this.#endGraceAfter = () => {};
    for (const timer of timers) clearTimeout(timer);
  }

  /** A listener or a connection has ended, or could not be opened. */
  #ended(): void {
    if (this.#listening === 0 && this.#connections.size === 0) this.#methods.release();
    this.#idle?.();
  }

  #whenIdle(isIdle: () => boolean, resolve: () => void): void {
    this.#idle = () => isIdle() && resolve();
    this.#idle();
  }

  #accepted(id: number, credentials: PeerCredentials | undefined): void {
    this.#connections.set(id, Object.freeze({ id, peer: credentials }));
    const message: ConnectionMessage = { side: "server", id };
    this.#bridge.observeConnection(id, {
      // Deferred until the batch has been read, but before everything else in it that belongs to the connection.
      accepted: () => void connections.start(message),
      closed: (why) => {
        connections.end(message, { why });
        this.#connections.delete(id);
        this.#ended();
      },
    });
    if (this.#closing !== undefined) this.#bridge.close(id);
  }

  #acceptFailed(error: TtrpcError): void {
    if (!this.emit("acceptError", error)) process.emitWarning(error.message, { type: "TtrpcWarning" });
  }

  #serve(served: Served, request: IncomingRequest, reader: BatchReader): ActiveRequest {
    const peer = this.#connections.get(request.connection);
    if (peer === undefined || this.#closing !== undefined) {
      const error = new TtrpcError("the server is shutting down", Code.Unavailable);
      return new RefusedRequest(this.#bridge, request, error);
    }
    this.#active++;
    const Kind = served.kind === "unary" ? UnaryRequest : StreamRequest;
    return new Kind(this.#host, served, request, peer, reader);
  }

  #finished(): void {
    this.#active--;
    if (this.#active === 0) this.#idle?.();
  }
}

/**
 * Makes a server. Add services first, then listen.
 *
 * ```ts
 * const server = createServer({ maxConcurrentCalls: 1000 });
 * server.add(Task, { async connect() { return { shimPid: process.pid }; } });
 * await server.listen("unix:///run/my-shim.sock", { mode: 0o600, reclaimStale: true });
 * ```
 *
 * Throws a TypeError that names a wrong option.
 */
export function createServer(options?: ServerOptions): Server {
  return new Server(options);
}
