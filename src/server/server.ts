import { EventEmitter } from "node:events";
import { constants } from "node:os";
import type { DescService } from "@bufbuild/protobuf";
import { type Address, parseAddress } from "../address.js";
import { Code } from "../code.js";
import { join, openError } from "../client/connector.js";
import type { ServerConnection } from "./context.js";
import { type ConnectionMessage, connections } from "../diagnostics.js";
import { TtrpcError } from "../error.js";
import type { BindingListenOptions, BindingMethod } from "../native/addon.js";
import {
  checkedCall,
  checkedInterceptors,
  intercept,
  type ServerCall,
  type ServerInterceptor,
} from "../interceptor.js";
import { checkDriver } from "../native/driver.js";
import { LONGEST_TIMER_MS, checkLimits, checkOptions, closeOptions, withDefaults } from "../options.js";
import { shown } from "../values.js";
import { type Bridge, bridgeOf } from "../native/bridge.js";
import type { BatchReader } from "../native/batch-reader.js";
import type { ActiveRequest, IncomingRequest, RequestReceiver } from "../native/types.js";
import { RefusedRequest } from "./refused-request.js";
import { type RequestHost, RunningRequest, runningRequest, type Served } from "./request.js";
import { type RawMethods, rawMethods, type ServedMethod, type ServiceImpl, typedMethods } from "./service.js";
import { reclaimStale, removerOf, socketPath } from "./socket-file.js";
import type { Driver, PeerCredentials } from "../transport.js";

/** Options of {@link createServer}. */
export interface ServerOptions {
  /** Connections open at once on one address; one more is closed as soon as it is accepted. 10 000 if left out. */
  readonly maxConnections?: number;
  /** Requests being handled at once on one address; one more is answered `ResourceExhausted`. 10 000 if left out. */
  readonly maxConcurrentCalls?: number;
  /**
   * Bytes of the unary requests being handled at once on one address; one beyond it is answered `ResourceExhausted`.
   * 64 MiB if left out. A request counts, with its metadata, until its handler has ended, also if nobody waits for the
   * answer any more. Parts of it bound what else the peers of an address may cause to be held: frames that are not whole and
   * messages of streams that were not taken a quarter each, replies that were not read a half. Of these, a connection may
   * have 64 KiB whatever the others have.
   */
  readonly maxQueuedBytes?: number;
  /**
   * Admits only peers of this process's own user and group, as containerd and Go shims do; others are closed as soon as
   * they are accepted. Only a unix socket tells who its peer is, so on any other address nobody is admitted.
   */
  readonly requireSameUser?: boolean;
  /** See each request before its handler does, and what the handler returns. The first is the outermost. */
  readonly interceptors?: readonly ServerInterceptor[];
  /** What turns the server's runtime. `"loop"` if left out, where there is Node's; see {@link Driver}. */
  readonly driver?: Driver;
}

/** Options of {@link Server.listen}. */
export interface ListenOptions {
  /** Permission bits of a unix socket's file, set before anyone can connect. By the umask if left out. */
  readonly mode?: number;
  /**
   * Removes a unix socket's file if nobody listens on it any more. A live server's file, one of a server that is about
   * to listen, or one that is no socket, is never removed: of several servers that listen at one moment, one succeeds.
   */
  readonly reclaimStale?: boolean;
}

/** Options of {@link Server.close}. */
export interface CloseOptions {
  /**
   * Milliseconds that handlers may go on for. Then their signals abort, and connections end without their replies.
   * 5 000 if left out; `Infinity` waits for all of them.
   */
  readonly graceMs?: number;
}

/** Events of a {@link Server}. */
export interface ServerEvents {
  /** A connection could not be accepted, as when descriptors have run out. It is tried again a little later. */
  acceptError: [error: TtrpcError];
}

const OPTIONS = [
  "maxConnections",
  "maxConcurrentCalls",
  "maxQueuedBytes",
  "requireSameUser",
  "interceptors",
  "driver",
] as const satisfies readonly (keyof ServerOptions)[];
const LISTEN_OPTIONS = ["mode", "reclaimStale"] as const satisfies readonly (keyof ListenOptions)[];

const DEFAULTS = { maxConnections: 10_000, maxConcurrentCalls: 10_000, maxQueuedBytes: 64 << 20 };
const DEFAULT_GRACE_MS = 5000;
const { EADDRINUSE } = constants.errno;

/** A ttrpc server, made by {@link createServer}. While it listens, it keeps the process alive. */
export class Server extends EventEmitter<ServerEvents> {
  readonly #bridge: Bridge;
  readonly #host: RequestHost;
  readonly #limits: typeof DEFAULTS;
  readonly #requireSameUser: boolean;
  readonly #holdBack: boolean;
  readonly #interceptors: readonly ServerInterceptor[];
  readonly #methods: BindingMethod[] = [];
  readonly #services = new Set<string>();
  /** What removes the files of those that listen. */
  readonly #listeners = new Map<number, () => void>();
  readonly #connections = new Map<number, ServerConnection>();
  #active = 0;
  #listened = false;
  #closing: Promise<void> | undefined;
  /** While it closes: each call of close may end the handlers' time. */
  #endGraceAfter: (graceMs: number) => void = () => {};
  #idle: (() => void) | undefined;
  /** Listeners that may still have something to tell. */
  #listening = 0;

  /**
   * @param holdBack - Requests beyond the limits are not refused; their connections are not read until there is room.
   *
   * @internal
   */
  constructor(options: ServerOptions = {}, holdBack = false) {
    super();
    checkOptions("createServer", options, OPTIONS);
    const { interceptors, requireSameUser = false, driver, ...limits } = options;
    this.#holdBack = holdBack;
    this.#bridge = bridgeOf(checkDriver(driver));
    this.#host = { bridge: this.#bridge, finished: () => this.#finished() };
    if (typeof requireSameUser !== "boolean") throw new TypeError("requireSameUser must be a boolean");
    this.#requireSameUser = requireSameUser;
    this.#interceptors = checkedInterceptors(interceptors);
    this.#limits = withDefaults(DEFAULTS, limits);
    checkLimits(this.#limits);
  }

  /**
   * Adds a service. A handler may throw a {@link TtrpcError}, whose code, message and details the caller gets; any
   * other error reaches the caller as `Unknown` with its message.
   *
   * ```ts
   * server.add(Task, {
   *   async connect(request, context) {
   *     return { shimPid: process.pid };
   *   },
   * });
   * ```
   *
   * Throws a TypeError if the implementation does not fit the service or the service was added before.
   */
  add<Service extends DescService>(service: Service, implementation: ServiceImpl<Service>): this {
    const methods = typedMethods(service, implementation);
    return this.#add(service.typeName, methods);
  }

  /**
   * Adds a service whose handlers take and return bytes.
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
      const innermost = async (call: ServerCall) => {
        const { request, context } = checkedCall(call);
        return method.handle(request, context);
      };
      const intercepted =
        this.#interceptors.length === 0 ? undefined : intercept(this.#interceptors, innermost);
      const served: Served = { ...method, intercepted };
      this.#route(method, (reader) => this.#serve(served, reader.request(), reader));
    }
    return this;
  }

  /**
   * Adds a unary method whose requests `receiver` takes straight out of the batch, past handlers and interceptors.
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
    this.#methods.push({
      service,
      method,
      route: this.#bridge.serve(receiver),
      clientStreams: kind === "client_streaming" || kind === "bidi_streaming",
      serverStreams: kind === "server_streaming" || kind === "bidi_streaming",
    });
  }

  /**
   * Listens on an address; may be called for several. Resolves to the address that is bound, which for `tcp://ip:0`
   * tells the port.
   *
   * Rejects with a TypeError if the address is not one, and with a {@link TtrpcError} of code `Unavailable` whose
   * `cause.code` is the system's (`EADDRINUSE`, `EACCES`) if it cannot be bound.
   */
  async listen(address: Address, options: ListenOptions = {}): Promise<string> {
    return this.listenNow(address, options);
  }

  /** @internal */
  listenNow(address: Address, options: ListenOptions = {}): string {
    const parsed = parseAddress(address);
    checkOptions("listen", options, LISTEN_OPTIONS);
    const { mode, reclaimStale: reclaim = false } = options;
    if (mode !== undefined && (!Number.isInteger(mode) || mode < 0 || mode > 0o777)) {
      throw new TypeError(`mode must be permission bits from 0 to 0o777, not ${shown(mode)}`);
    }
    if (typeof reclaim !== "boolean") throw new TypeError("reclaimStale must be a boolean");
    if (this.#closing !== undefined) throw new TtrpcError("the server is closed", Code.FailedPrecondition);
    this.#listened = true;
    const binding: BindingListenOptions = {
      methods: this.#methods,
      mode: mode ?? null,
      requireSameUser: this.#requireSameUser,
      holdBack: this.#holdBack,
      ...this.#limits,
    };
    const bind = () => {
      if (parsed.binding !== undefined) return this.#bridge.listen(parsed.binding, binding);
      if (parsed.duplex === undefined) return this.#bridge.listenOn(parsed.fd ?? -1, false, binding);
      const { ours, theirs, errno, text } = this.#bridge.pair();
      if (errno !== 0) return { id: 0, bound: null, errno, text };
      join(parsed.duplex, theirs);
      return this.#bridge.listenOn(ours, true, binding);
    };
    let opened = bind();
    if (opened.errno === EADDRINUSE && reclaim && reclaimStale(parsed)) opened = bind();
    if (opened.id === 0) throw openError(parsed, opened, "cannot listen on");
    const path = socketPath(parsed);
    this.#listening++;
    this.#listeners.set(opened.id, path === undefined ? () => {} : removerOf(path));
    this.#bridge.observeListener(opened.id, {
      accepted: (connection, peer) => this.#accepted(connection, peer),
      acceptFailed: (error) => this.#acceptFailed(error),
      closed: () => {
        this.#listeners.delete(opened.id);
        this.#listening--;
        this.#idle?.();
      },
    });
    return parsed.binding?.kind === "tcp" ? `tcp://${opened.bound}` : parsed.text;
  }

  /**
   * Stops listening, lets handlers go on for `graceMs`, delivers their replies, and closes all connections. Resolves
   * when every socket is gone. A second call returns the same promise, and cuts the handlers' time short if it gives less.
   */
  close(options: CloseOptions = {}): Promise<void> {
    let graceMs: number | undefined;
    try {
      ({ graceMs } = closeOptions(options));
    } catch (error) {
      // A wrong argument rejects; it is not thrown at the caller.
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
   * Removes the socket files of the listeners that are open still, for a process that ends without closing its server.
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
    // Replies that were given cross before the connections end. A peer that does not read them has the grace time.
    bridge.flush();
    for (const id of this.#connections.keys()) bridge.close(id, true);
    const gone = new Promise<void>((resolve) =>
      this.#whenIdle(() => this.#connections.size === 0 && this.#listening === 0, resolve),
    );
    await Promise.race([grace, gone]);
    for (const id of this.#connections.keys()) bridge.close(id);
    await gone;
    this.#endGraceAfter = () => {};
    for (const timer of timers) clearTimeout(timer);
    for (const { route } of this.#methods) bridge.unserve(route);
  }

  #whenIdle(isIdle: () => boolean, resolve: () => void): void {
    this.#idle = () => isIdle() && resolve();
    this.#idle();
  }

  #accepted(id: number, credentials: PeerCredentials | undefined): void {
    this.#connections.set(id, Object.freeze({ id, peer: credentials }));
    const message: ConnectionMessage = { side: "server", id };
    this.#bridge.observeConnection(id, {
      // Behind the batch that is being read, and before all else that it brought of the connection.
      accepted: () => void connections.start(message),
      closed: (why) => {
        connections.end(message, { why });
        this.#connections.delete(id);
        this.#idle?.();
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
    return runningRequest(this.#host, served, request, peer, reader);
  }

  #finished(): void {
    this.#active--;
    if (this.#active === 0) this.#idle?.();
  }
}

/**
 * Makes a server. Add services, then listen.
 *
 * ```ts
 * const server = createServer({ maxConcurrentCalls: 1000 });
 * server.add(Task, { async connect() { return { shimPid: process.pid }; } });
 * await server.listen("unix:///run/my-shim.sock", { mode: 0o600, reclaimStale: true });
 * ```
 *
 * Throws a TypeError that names an option that is wrong.
 */
export function createServer(options?: ServerOptions): Server {
  return new Server(options);
}
