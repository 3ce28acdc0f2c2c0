// Not the global one, which tests put their own in place of.
import { setImmediate as inNextTurn } from "node:timers";
import { OutgoingMessage, type Payload } from "../codec/payload.js";
import { loadNative, type NativePort } from "../native.js";
import { TtrpcError } from "../error.js";
import { Code } from "../code.js";
import { Inbox } from "./inbox.js";
import type { MessageQueue } from "../stream/message-queue.js";
import {
  BATCH_SIZE,
  Command,
  FLAG_CANCELLABLE,
  FLAG_LEFT,
  FLAG_SERVED,
  MESSAGE_LIMIT,
  MORE,
  WHOLE,
} from "./records.js";
import type { CallFields, PendingCall, PendingStream } from "./types.js";
import { type Driver, isNode } from "./driver.js";
import { codeOf, errorSize, knownSize, oversize } from "./size.js";
import { Routes } from "./routes.js";
import { BatchWriter, stringSize } from "./writer.js";

/**
 * A port of this environment to the addon, one for each driver that is used. Commands of one tick gather in one buffer and
 * cross in one call; events come back in one buffer and one callback.
 */
export class Port {
  readonly #writer = new BatchWriter(BATCH_SIZE);
  readonly inbox = new Inbox(() => this.native.takeWhole());
  readonly native: NativePort;
  readonly routes = new Routes();
  #taken: MessageQueue<unknown>[] = [];
  #scheduled = false;
  /** Batches handed over since the event loop last had its turn, as far as is known. */
  #inARow = 0;
  readonly #mostInARow: number;

  constructor(driver: Driver) {
    const { bytes } = this.#writer;
    this.#mostInARow = driver === "thread" ? 0 : MOST_IN_A_ROW;
    this.native = new (loadNative().Port)(
      bytes,
      this.inbox.bytes,
      (filled) => {
        this.#inARow = 0;
        this.#read(filled);
      },
      driver === "thread",
      isNode(),
    );
  }

  /** The number of a service and method. Throws a TypeError if one of the names is none. */
  route(service: string, method: string): number {
    const known = this.routes.find(service, method);
    if (known !== undefined) return known;
    const route = this.routes.add(service, method);
    this.#reserve(stringSize(service) + stringSize(method));
    const writer = this.#writer;
    writer.begin(Command.Route, 0, route, 0, 0);
    writer.string(service);
    writer.string(method);
    writer.end();
    this.schedule();
    return route;
  }

  /** Puts a call into the batch. Returns its id, for {@link cancel}. */
  call(
    connection: number,
    route: number,
    fields: CallFields,
    payload: Payload,
    pending: PendingCall,
  ): number {
    const flags = fields.cancellable ? FLAG_CANCELLABLE : 0;
    return this.#start(Command.Call, flags, connection, route, fields, payload, pending);
  }

  /** Opens a stream, as {@link call} makes a call. `kind` is its flags. */
  open(
    connection: number,
    route: number,
    kind: number,
    fields: CallFields,
    payload: Payload,
    pending: PendingStream,
  ): number {
    return this.#start(Command.Open, kind, connection, route, fields, payload, pending);
  }

  #start(
    command: number,
    flags: number,
    connection: number,
    route: number,
    fields: CallFields,
    payload: Payload,
    pending: PendingCall | PendingStream,
  ): number {
    const id = this.inbox.calls.add(pending);
    if (id === undefined) throw new TtrpcError("a million calls are under way", Code.ResourceExhausted);
    try {
      this.#writeCall(command, flags, connection, route, fields, payload, id);
    } catch (error) {
      this.inbox.calls.free(id);
      throw error;
    }
    this.schedule();
    return id;
  }

  /** Sends a message of a stream; returns how long it is. The caller keeps within its window. */
  send(served: boolean, id: number, payload: Payload): number {
    this.#reserve(knownSize(payload));
    this.#writer.begin(Command.Send, served ? FLAG_SERVED : 0, 0, 0, id);
    const size = this.#endWith(payload);
    this.schedule();
    return size;
  }

  /** Sends no more on a stream of this side. */
  halfClose(id: number): void {
    this.#reserve(0);
    this.#writer.begin(Command.HalfClose, 0, 0, 0, id);
    this.#writer.end();
    this.schedule();
  }

  /** A reader took messages. Rust is told with the next batch. */
  noteTaken(queue: MessageQueue<unknown>): void {
    this.#taken.push(queue);
    this.schedule();
  }

  #reportTaken(): void {
    if (this.#taken.length === 0) return;
    const queues = this.#taken;
    this.#taken = [];
    for (const queue of queues) {
      const { served, id, messages, bytes } = queue.takeReport();
      this.#reserve(8);
      const writer = this.#writer;
      writer.begin(Command.Taken, served ? FLAG_SERVED : 0, 0, 0, id);
      writer.u32(messages);
      writer.u32(bytes);
      writer.end();
    }
  }

  /** Makes a call in place: nothing else of this thread runs until its outcome is there. */
  callBlocking(
    connection: number,
    route: number,
    fields: CallFields,
    payload: Payload,
    pending: PendingCall,
  ): void {
    this.#writeCall(Command.Call, 0, connection, route, fields, payload, 0);
    this.inbox.settle(this.native.callBlocking(this.#writer.take()), pending);
    // Events of other connections, if there are any, wait until the caller is done.
    this.schedule();
  }

  /**
   * Gives up a call or a stream. Its pending is not called any more. `left`: the reader of a stream left, and its
   * requests end in order; otherwise the peer is told that they are not all.
   */
  cancel(id: number, left = false): void {
    this.inbox.calls.free(id);
    this.#reserve(0);
    this.#writer.begin(Command.Cancel, left ? FLAG_LEFT : 0, 0, 0, id);
    this.#writer.end();
    this.schedule();
  }

  /**
   * Answers a request. An error that cannot cross is replaced by one that says so; a payload that cannot is thrown for,
   * and nothing is answered.
   */
  reply(request: number, payload: Payload | undefined, error: TtrpcError | undefined): void {
    const size = error === undefined ? knownSize(payload) : errorSize(error);
    if (error !== undefined && size > MESSAGE_LIMIT) {
      this.reply(request, undefined, oversize(size));
      return;
    }
    this.#reserve(12 + size);
    const writer = this.#writer;
    writer.begin(Command.Reply, 0, 0, 0, request);
    writer.u32(error === undefined ? 0 : codeOf(error));
    writer.string(error?.message ?? "");
    writer.u32(error?.details.length ?? 0);
    for (const { typeUrl, value } of error?.details ?? []) {
      writer.string(typeUrl);
      writer.field(value);
    }
    this.#endWith(payload ?? NOTHING);
    this.schedule();
  }

  /** Hands the batch over, and takes what waits, when the running code is done. */
  schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    if (this.#inARow++ < this.#mostInARow) {
      process.nextTick(this.#flush);
      return;
    }
    // What a batch brings may be asked for the next one at once, for ever: by a stream whose messages the socket takes, or
    // where another thread is as fast as this one. The event loop has other things to do too.
    this.#inARow = 0;
    inNextTurn(this.#flush);
    // The thread can begin with it while JavaScript is busy.
    if (this.#mostInARow === 0) process.nextTick(this.#leave);
  }

  /** Hands the batch over now. What comes of it is dealt with later. */
  flush(): void {
    this.native.submit(this.#writer.take(), false);
    this.schedule();
  }

  readonly #leave = (): void => {
    this.#reportTaken();
    this.native.submit(this.#writer.take(), false);
  };

  readonly #flush = (): void => {
    this.#scheduled = false;
    this.#reportTaken();
    this.#read(this.native.submit(this.#writer.take(), true));
  };

  /** Reads events that crossed; comes for the rest soon. */
  #read(filled: number): void {
    if (filled >= MORE) this.schedule();
    const size = filled % MORE;
    if (size > 0) this.inbox.read(size);
  }

  /** Makes room for a record with a body of up to `size` bytes. */
  #reserve(size: number): void {
    if (this.#writer.encoding) {
      const text = "a getter of a message made a call while the message was being encoded";
      throw new TtrpcError(text, Code.FailedPrecondition);
    }
    if (this.#writer.fits(size)) return;
    this.flush();
    if (!this.#writer.fits(size)) throw oversize(size);
  }

  #writeCall(
    command: number,
    flags: number,
    connection: number,
    route: number,
    fields: CallFields,
    payload: Payload,
    id: number,
  ): void {
    const { timeoutNs, metadata } = fields;
    let size = 12 + knownSize(payload);
    for (const [key, value] of metadata) size += stringSize(key) + stringSize(value);
    this.#reserve(size);
    const writer = this.#writer;
    writer.begin(command, flags, route, connection, id);
    writer.f64(timeoutNs);
    writer.u32(metadata.length);
    for (const [key, value] of metadata) {
      writer.string(key);
      writer.string(value);
    }
    this.#endWith(payload);
  }

  /** Ends a record with a payload; returns how long that is. */
  #endWith(payload: Payload): number {
    const writer = this.#writer;
    let size: number;
    if (payload instanceof OutgoingMessage) {
      size = writer.message(payload);
      if (size < 0) {
        // How long it is shows only when it is written, so this is where a batch is found to be full.
        const begun = writer.begun();
        this.flush();
        this.#reserve(begun.length);
        writer.resume(begun);
        size = writer.message(payload);
        if (size < 0) throw oversize(payload.toBytes().length);
      }
    } else {
      size = payload.length;
      if (size >= WHOLE) {
        this.native.lend(payload);
        writer.whole(size);
      } else {
        writer.raw(payload);
      }
    }
    if (size > MESSAGE_LIMIT) throw oversize(size);
    writer.end();
    return size;
  }
}

const NOTHING = new Uint8Array(0);

/**
 * Each may carry as much as streams send ahead, 1 MiB of one of them. A thread that turns the runtime goes on meanwhile, so
 * a batch in each turn of the event loop is enough for it.
 */
const MOST_IN_A_ROW = 4;

const opened: Partial<Record<Driver, Port>> = {};

/** The port of this JavaScript thread with a driver, opened at first use. */
export function port(driver: Driver): Port {
  return (opened[driver] ??= new Port(driver));
}

/** The ports that are open. */
export function openPorts(): Port[] {
  return Object.values(opened);
}
