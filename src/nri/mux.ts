import { Buffer } from "node:buffer";
import { clearTimeout, setTimeout } from "node:timers";
import { connect as dial, Socket } from "node:net";
import { constants } from "node:os";
import { Duplex } from "node:stream";
import { checkSignal, listenToAbort, unlistenToAbort } from "../abort.js";
import { type Address, checkedDuplex, parseAddress } from "../address.js";
import { CONNECT_TIMEOUT_MS, openError } from "../client/connector.js";
import { Code } from "../code.js";
import type { ConnectionClosed } from "../connection-types.js";
import { own } from "../duplex.js";
import { canceledError, ERR_TTRPC_CLOSED, transportError, TtrpcError } from "../error.js";
import { MESSAGE_LIMIT } from "../native/records.js";
import { checkLimits, checkOptions, LONGEST_TIMER_MS } from "../options.js";
import { isInstance, shown, textOf } from "../value-kinds.js";
import { MuxConnection, TTRPC_HEADER } from "./mux-connection.js";

/** The connection of a {@link Mux} on which the runtime calls the plugin. */
export const PLUGIN_CONNECTION = 1;
/** The connection of a {@link Mux} on which the plugin calls the runtime. */
export const RUNTIME_CONNECTION = 2;

/** Options of {@link Mux}. */
export interface MuxOptions {
  /**
   * For how many milliseconds one connection that is not read may hold back all others; then the mux ends with
   * `ResourceExhausted`. Default 30 000.
   */
  readonly stallTimeoutMs?: number | undefined;
}

/** Options of {@link Mux.connect}. */
export interface MuxConnectOptions extends MuxOptions {
  /** Milliseconds until the attempt fails with `Unavailable` and cause code `ETIMEDOUT`. Default 10 000. */
  readonly connectTimeoutMs?: number | undefined;
  /** Aborts the attempt, which then fails with `Canceled`. */
  readonly signal?: AbortSignal | undefined;
}

/** A frame's header: the connection's number and the payload's length, 32 bits each, in network byte order. */
const HEADER_SIZE = 8;
/** The longest payload: a ttrpc message of 4 MiB and its header. */
const PAYLOAD_LIMIT = MESSAGE_LIMIT + TTRPC_HEADER;
const CLOSE_TIMEOUT_MS = 1000;
const DEFAULTS = { stallTimeoutMs: 30_000 };

/**
 * NRI's transport: several ttrpc connections over one socket. Each frame on the socket names its connection.
 *
 * ```ts
 * const mux = await Mux.connect("unix:///var/run/nri/nri.sock");
 * await server.listen(mux.open(PLUGIN_CONNECTION));
 * const runtime = createClient(Runtime, await connect(mux.open(RUNTIME_CONNECTION)));
 * const { reason, error } = await mux.closed;
 * ```
 *
 * Frames hold at most 4 MiB plus 10 bytes; a longer one ends the mux with the reason `"protocol"`. Frames of connections
 * that are not open are dropped. A connection that is not read holds back the socket, and so all connections, for up to
 * `stallTimeoutMs`.
 *
 * Go's mux does not hold anything back: it closes when 256 frames of one connection are waiting, and its reader fails on
 * a frame that is longer than the buffer that it reads into. Therefore each ttrpc message is sent in at most two frames:
 * its first 4096 bytes, and the rest.
 */
export class Mux implements AsyncDisposable {
  /** Resolves once, when the mux has ended; never rejects. */
  readonly closed: Promise<ConnectionClosed>;
  readonly #trunk: Duplex;
  readonly #connections = new Map<number, MuxConnection>();
  /** The connections that hold back the trunk. */
  readonly #holding = new Set<MuxConnection>();
  readonly #stallTimeoutMs: number;
  readonly #header = Buffer.alloc(HEADER_SIZE);
  #headerSize = 0;
  #target: MuxConnection | undefined;
  /** How many bytes of the payload that is being read are still missing. */
  #left = 0;
  #stall: NodeJS.Timeout | undefined;
  #why: ConnectionClosed | undefined;
  #resolve!: (why: ConnectionClosed) => void;

  /**
   * Takes over a socket. Open the connections in the same tick, because frames of connections that are not open are
   * dropped. Throws a TypeError if an argument is wrong.
   */
  constructor(trunk: Duplex, options: MuxOptions = {}) {
    if (!isInstance(trunk, Duplex)) throw new TypeError(`the trunk must be a Duplex, not ${shown(trunk)}`);
    checkOptions("Mux", options, Object.keys(DEFAULTS));
    const { stallTimeoutMs = DEFAULTS.stallTimeoutMs } = options;
    checkLimits({ stallTimeoutMs });
    this.#stallTimeoutMs = stallTimeoutMs;
    this.#trunk = checkedDuplex(trunk, "the trunk");
    own(trunk, "a mux over a Duplex cannot be made");
    this.closed = new Promise((resolve) => {
      this.#resolve = resolve;
    });
    trunk.on("data", (chunk: Buffer) => this.#received(chunk));
    trunk.on("error", (error: NodeJS.ErrnoException) => {
      // A write after the peer has closed; its end may not have been read yet.
      if (error.code === "EPIPE") this.#ended();
      else this.#end({ reason: "error", error: failure(error) });
    });
    trunk.once("end", () => this.#ended());
    trunk.once("close", () => this.#ended());
    if (trunk.destroyed) this.#end({ reason: "error", error: failure(trunk.errored) });
  }

  /**
   * Connects to a runtime's socket. Rejects with a TypeError if an argument is wrong, and with a {@link TtrpcError} of
   * code `Unavailable` if nobody listens: its `cause.code` is the system's, such as `ENOENT`.
   */
  static async connect(address: Address, options: MuxConnectOptions = {}): Promise<Mux> {
    checkOptions("Mux.connect", options, [...Object.keys(DEFAULTS), "connectTimeoutMs", "signal"]);
    const { connectTimeoutMs = CONNECT_TIMEOUT_MS, signal, ...rest } = options;
    const { stallTimeoutMs = DEFAULTS.stallTimeoutMs } = rest;
    checkLimits({ connectTimeoutMs, stallTimeoutMs });
    checkSignal(signal);
    return new Mux(await openTrunk(address, connectTimeoutMs, signal), rest);
  }

  /**
   * Opens a connection, for `connect` or `server.listen`. Nothing is sent: the peer opens the connection of the same
   * number. What is written to it must be ttrpc. Throws a TypeError if `id` is not an integer from 1 to 2³²-1, or is open
   * already.
   */
  open(id: number): Duplex {
    if (!Number.isInteger(id) || id < 1 || id > 0xffffffff)
      throw new TypeError(`a connection's number must be an integer from 1 to 2^32-1, not ${shown(id)}`);
    if (this.#connections.has(id)) throw new TypeError(`connection ${id} is open already`);
    const connection = new MuxConnection({
      send: (frames, done) => this.#send(id, frames, done),
      read: () => this.#release(connection),
      destroyed: () => {
        if (this.#connections.get(id) === connection) this.#connections.delete(id);
        this.#release(connection);
      },
    });
    this.#connections.set(id, connection);
    if (this.#why !== undefined) connection.destroy(this.#why.error);
    return connection;
  }

  /** Ends all connections, once what was written has been sent, or after a second. Resolves when the socket is closed. */
  async close(): Promise<void> {
    const trunk = this.#trunk;
    this.#end({ reason: "local" }, false);
    const timer = setTimeout(() => trunk.destroy(), CLOSE_TIMEOUT_MS);
    await new Promise<void>((resolve) => {
      if (trunk.closed) resolve();
      trunk.once("close", resolve);
      trunk.end(() => trunk.destroy());
    });
    clearTimeout(timer);
  }

  /** Closes the mux, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #send(id: number, frames: readonly Buffer[], done: (error?: Error | null) => void): void {
    const trunk = this.#trunk;
    trunk.cork();
    for (const [index, payload] of frames.entries()) {
      const header = Buffer.allocUnsafe(HEADER_SIZE);
      header.writeUInt32BE(id, 0);
      header.writeUInt32BE(payload.length, 4);
      trunk.write(header);
      trunk.write(payload, index === frames.length - 1 ? done : undefined);
    }
    trunk.uncork();
  }

  #received(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length && this.#why === undefined) {
      if (this.#left === 0) {
        const count = chunk.copy(this.#header, this.#headerSize, at, at + HEADER_SIZE - this.#headerSize);
        at += count;
        this.#headerSize += count;
        if (this.#headerSize < HEADER_SIZE) return;
        this.#headerSize = 0;
        const id = this.#header.readUInt32BE(0);
        this.#left = this.#header.readUInt32BE(4);
        this.#target = this.#connections.get(id);
        if (this.#left > PAYLOAD_LIMIT) this.#tooLong(id, this.#left);
      } else {
        const payload = chunk.subarray(at, at + this.#left);
        at += payload.length;
        this.#left -= payload.length;
        if (this.#target?.push(payload) === false) this.#hold(this.#target);
      }
    }
  }

  #hold(connection: MuxConnection): void {
    // Whoever closed it does not read it.
    if (connection.destroyed) return;
    this.#holding.add(connection);
    this.#trunk.pause();
    this.#stall ??= setTimeout(
      () => {
        const text = `one of the connections was not read for ${this.#stallTimeoutMs} ms`;
        this.#end({ reason: "error", error: new TtrpcError(text, Code.ResourceExhausted) });
      },
      Math.min(this.#stallTimeoutMs, LONGEST_TIMER_MS),
    ).unref();
  }

  #release(connection: MuxConnection): void {
    if (!this.#holding.delete(connection) || this.#holding.size > 0) return;
    clearTimeout(this.#stall);
    this.#stall = undefined;
    this.#trunk.resume();
  }

  #tooLong(id: number, length: number): void {
    const text = `a frame of connection ${id} has ${length} bytes; ${PAYLOAD_LIMIT} are allowed`;
    const cause = Object.assign(new Error(text), { code: ERR_TTRPC_CLOSED });
    this.#end({ reason: "protocol", error: new TtrpcError(text, Code.Unavailable, { cause }) });
  }

  #ended(): void {
    if (this.#left === 0 && this.#headerSize === 0) return this.#end({ reason: "remote" });
    const error = transportError("the peer has gone in the middle of a frame", 0);
    this.#end({ reason: "error", error });
  }

  #end(why: ConnectionClosed, destroy = true): void {
    if (this.#why !== undefined) return;
    this.#why = why;
    clearTimeout(this.#stall);
    for (const connection of this.#connections.values()) connection.destroy(why.error);
    if (destroy) this.#trunk.destroy();
    else this.#trunk.resume();
    this.#resolve(why);
  }
}

function failure(cause: Error | null): TtrpcError {
  if (cause === null) return transportError("the socket is closed", 0);
  return isInstance(cause, TtrpcError)
    ? cause
    : new TtrpcError(`the socket failed: ${textOf(cause)}`, Code.Unavailable, { cause });
}

/** Opens the socket that a mux takes over. */
async function openTrunk(address: Address, timeoutMs: number, signal?: AbortSignal): Promise<Duplex> {
  const parsed = parseAddress(address);
  const { binding, fd, duplex, text } = parsed;
  if (duplex !== undefined) return duplex;
  if (signal?.aborted) throw canceledError(signal, `the attempt to connect to ${text}`);
  if (fd !== undefined) return openDescriptor(fd);
  if (binding?.kind === "vsock") throw new TypeError(`the address ${text} is not one that a mux connects to`);
  const name = binding?.name ?? "";
  const port = Number(/:(\d+)$/.exec(name)?.[1]);
  const host = name.slice(0, name.lastIndexOf(":")).replaceAll(/^\[|\]$/g, "");
  const socket = binding?.kind === "tcp" ? dial({ host, port }) : dial({ path: name });
  return new Promise((resolve, reject) => {
    const settle = (error?: TtrpcError) => {
      clearTimeout(timer);
      unlistenToAbort(signal, onAbort);
      socket.removeAllListeners("error");
      socket.removeAllListeners("connect");
      if (error === undefined) return resolve(socket);
      socket.on("error", () => undefined).destroy();
      reject(error);
    };
    const onAbort = {
      aborted: (by: AbortSignal) => settle(canceledError(by, `the attempt to connect to ${text}`)),
    };
    const late = () => settle(openError(parsed, { errno: constants.errno.ETIMEDOUT, text: null }));
    const timer = setTimeout(late, Math.min(timeoutMs, LONGEST_TIMER_MS));
    listenToAbort(signal, onAbort);
    socket.once("connect", () => settle());
    socket.once("error", (error: NodeJS.ErrnoException) => {
      settle(openError(parsed, { errno: -(error.errno ?? 0), text: error.message }));
    });
  });
}

function openDescriptor(fd: number): Duplex {
  try {
    return new Socket({ fd, readable: true, writable: true });
  } catch (cause) {
    const text = `the descriptor ${fd} is not a socket that can be used: ${textOf(cause)}`;
    throw new TtrpcError(text, Code.FailedPrecondition, { cause });
  }
}
