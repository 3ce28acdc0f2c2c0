// Not the global one, which tests put their own in place of.
import { setImmediate as inNextTurn } from "node:timers";
import { OutgoingMessage, type Payload } from "../codec/payload.js";
import { loadNative, type NativePort } from "./addon.js";
import { checkedDetails, textOf, transportError, TtrpcError } from "../error.js";
import { Code } from "../code.js";
import { Inbox } from "./inbox.js";
import type { MessageQueue, Stream } from "../stream/message-queue.js";
import {
  BATCH_SIZE,
  Command,
  FLAG_CANCELLABLE,
  FLAG_LEFT,
  FLAG_SERVED,
  MESSAGE_LIMIT,
  MORE,
  RECORD_HEADER,
  WHOLE,
} from "./records.js";
import type { ActiveRequest, CallFields, PendingCall, PendingStream } from "./types.js";
import { type Driver, isNode } from "./driver.js";
import { fieldsSize, knownSize, namesSize, oversize, refusedCall } from "./size.js";
import { statusOf } from "./status.js";
import { Routes } from "./routes.js";
import { generationsPerSlot, type Named } from "./slots.js";
import { BatchWriter } from "./batch-writer.js";

/**
 * A port of this environment to the addon, one for each driver that is used. Commands of one tick gather in one buffer and
 * cross in one call; events come back in one buffer and one callback.
 */
export class Port {
  readonly #writer = new BatchWriter(BATCH_SIZE);
  readonly inbox = new Inbox(
    () => this.native.takeWhole(),
    (request) => this.letGo(request),
  );
  readonly native: NativePort;
  readonly routes = new Routes();
  /** Commands that came while a message was being encoded. */
  #deferred: (() => void)[] = [];
  #taken: MessageQueue<unknown>[] = [];
  #scheduled = false;
  #leaving = false;
  /** Batches handed over since the event loop last had its turn, as far as is known. */
  #inARow = 0;
  readonly #mostInARow: number;

  constructor(driver: Driver) {
    const { bytes } = this.#writer;
    this.#mostInARow = driver === "thread" ? 0 : MOST_IN_A_ROW;
    try {
      this.native = new (loadNative().Port)(
        bytes,
        this.inbox.bytes,
        (filled) => {
          this.#inARow = 0;
          this.#read(filled);
        },
        generationsPerSlot(),
        driver === "thread",
        isNode(),
      );
    } catch (error) {
      const [, errno] = /\(os error (\d+)\)$/.exec(textOf(error)) ?? [];
      if (errno === undefined) throw error;
      throw transportError(`cannot start driver "${driver}"`, Number(errno));
    }
  }

  /** The number of a service and method. Throws a TypeError if one of the names is none. */
  route(service: string, method: string): number {
    const known = this.routes.find(service, method);
    if (known !== undefined) return known;
    const route = this.routes.next(service, method);
    this.#reserve(namesSize(service, method));
    const writer = this.#writer;
    writer.begin(Command.Route, 0, route, 0, NOBODY);
    writer.string(service);
    writer.string(method);
    writer.end();
    // Only now: a number that Rust has not heard of must not be known here.
    this.routes.add(service, method, route);
    this.schedule();
    return route;
  }

  /** Puts a call into the batch, and names it. */
  call(connection: number, route: number, fields: CallFields, payload: Payload, pending: PendingCall): void {
    const flags = fields.cancellable ? FLAG_CANCELLABLE : 0;
    this.#start(Command.Call, flags, connection, route, fields, payload, pending);
  }

  /** Opens a stream, as {@link call} makes a call. `kind` is its flags. */
  open(
    connection: number,
    route: number,
    kind: number,
    fields: CallFields,
    payload: Payload,
    pending: PendingStream,
  ): void {
    this.#start(Command.Open, kind, connection, route, fields, payload, pending);
  }

  #start(
    command: number,
    flags: number,
    connection: number,
    route: number,
    fields: CallFields,
    payload: Payload,
    pending: PendingCall | PendingStream,
  ): void {
    const { calls } = this.inbox;
    if (!calls.add(pending)) throw new TtrpcError("a million calls are under way", Code.ResourceExhausted);
    try {
      this.#writeCall(command, flags, connection, route, fields, payload, pending);
    } catch (error) {
      calls.delete(pending);
      throw error;
    }
    this.schedule();
  }

  /** Sends a message of a stream; returns how long it is. The caller keeps within its window. */
  send(stream: Stream, payload: Payload): number {
    this.#reserve(knownSize(payload));
    this.#writer.begin(Command.Send, stream.served ? FLAG_SERVED : 0, 0, 0, stream);
    const size = this.#endWith(payload);
    this.schedule();
    return size;
  }

  /** Sends no more on a stream of this side. */
  halfClose(stream: Stream): void {
    this.#command(Command.HalfClose, 0, stream);
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
      const { stream, messages, bytes } = queue.takeReport();
      this.#reserve(8);
      const writer = this.#writer;
      writer.begin(Command.Taken, stream.served ? FLAG_SERVED : 0, 0, 0, stream);
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
    this.#writeCall(Command.Call, 0, connection, route, fields, payload, NOBODY);
    let size = this.native.callBlocking(this.#writer.take());
    // Between two waits this thread can be ended.
    while (size === 0) size = this.native.waitBlocking();
    this.inbox.settle(size, pending);
    // Events of other connections, if there are any, wait until the caller is done.
    this.schedule();
  }

  /**
   * Gives up a call or a stream, if it is still under way. It hears nothing any more. `left`: the reader of a stream left,
   * and its requests end in order; otherwise the peer is told that they are not all.
   */
  cancel(call: PendingCall | PendingStream, left = false): void {
    if (this.inbox.calls.delete(call)) this.#command(Command.Cancel, left ? FLAG_LEFT : 0, call);
  }

  /** Writes a command without a body, behind the message that is being encoded, if one is. */
  #command(operation: number, flags: number, call: Readonly<Named>): void {
    if (this.#writer.encoding) {
      this.#deferred.push(() => this.#command(operation, flags, call));
      return;
    }
    this.#reserve(0);
    this.#writer.begin(operation, flags, 0, 0, call);
    this.#writer.end();
    this.schedule();
  }

  /**
   * Answers a request, if it still needs an answer. An error that is too large is cut; for a payload that is, an error is
   * thrown, and nothing is answered.
   */
  reply(request: ActiveRequest, payload: Payload | undefined, error: TtrpcError | undefined): void {
    const { requests } = this.inbox;
    if (!requests.has(request)) return;
    if (error !== undefined && error.details.length > 0) checkedDetails(error.details);
    const status = error && statusOf(error);
    this.#reserve(status?.size ?? 12 + knownSize(payload));
    const writer = this.#writer;
    writer.begin(Command.Reply, 0, 0, 0, request);
    writer.u32(status?.code ?? 0);
    writer.string(status?.message ?? "");
    writer.u32(status?.details.length ?? 0);
    for (const { typeUrl, value } of status?.details ?? []) {
      writer.string(typeUrl);
      writer.field(value);
    }
    this.#endWith(payload ?? NOTHING);
    requests.delete(request);
    this.schedule();
  }

  /**
   * Nothing is held any more of a request that was aborted, whose handler may have run on: it counts no longer. To be called
   * once for each, and not for one that was answered.
   */
  letGo(request: Readonly<Named>): void {
    this.#command(Command.LetGo, 0, request);
  }

  /** Hands the batch over, and takes what waits, when the running code is done. */
  schedule(): void {
    // The thread can begin with what a tick wrote while JavaScript is busy, whenever it comes for events.
    if (this.#mostInARow === 0 && !this.#leaving) {
      this.#leaving = true;
      process.nextTick(this.#leave);
    }
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
  }

  /** Hands the batch over now, or behind the message that is being encoded. What comes of it is dealt with later. */
  flush(): void {
    if (this.#writer.encoding) {
      this.#deferred.push(() => this.flush());
      return;
    }
    this.native.submit(this.#writer.take(), false);
    this.schedule();
  }

  readonly #leave = (): void => {
    this.#leaving = false;
    this.#reportTaken();
    if (this.#writer.used > 0) this.native.submit(this.#writer.take(), false);
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
    call: Readonly<Named>,
  ): void {
    const { timeoutNs, metadata } = fields;
    const known = knownSize(payload);
    const size = fieldsSize(fields) + known;
    if (size > BATCH_SIZE - RECORD_HEADER) throw refusedCall(this.routes.nameOf(route), fields, known);
    this.#reserve(size);
    const writer = this.#writer;
    writer.begin(command, flags, route, connection, call);
    writer.f64(timeoutNs);
    writer.u32(metadata.length);
    for (const [key, value] of metadata) {
      writer.string(key);
      writer.string(value);
    }
    this.#endWith(payload);
  }

  /** Ends a record with a payload; returns how long that is. If it throws, there is no record. */
  #endWith(payload: Payload): number {
    try {
      return this.#writePayload(payload);
    } finally {
      if (this.#deferred.length > 0) for (const command of this.#deferred.splice(0)) command();
    }
  }

  #writePayload(payload: Payload): number {
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
      if (size > MESSAGE_LIMIT) throw oversize(size);
      if (size >= WHOLE) {
        // Nothing may fail from here on: what is lent belongs to the next record that says so.
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

/** The name of no call. */
const NOBODY: Named = { slot: 0, generation: 0 };

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
