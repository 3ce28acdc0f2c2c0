import type { Payload } from "../codec/payload.js";
import { native, type NativePort } from "../native.js";
import { transportError, TtrpcError } from "../error.js";
import { Code } from "../code.js";
import { BatchReader } from "./reader.js";
import type { MessageQueue } from "../stream/message-queue.js";
import {
  BATCH_SIZE,
  Command,
  Event,
  FLAG_CANCELLABLE,
  FLAG_LEFT,
  FLAG_SERVED,
  MESSAGE_LIMIT,
} from "./records.js";
import type {
  ActiveRequest,
  CallFields,
  ConnectionSink,
  ListenerSink,
  MethodSink,
  PendingCall,
  PendingStream,
} from "./types.js";
import { codeOf, errorSize, knownSize, oversize } from "./size.js";
import { BatchWriter, stringSize } from "./writer.js";

const ROUTE_LIMIT = 0xffff;

/**
 * The port of this environment to the addon. Commands of one tick gather in one buffer and cross in one call; events
 * come back in one buffer and one callback.
 *
 * While a batch is read, no code of the user runs: promises are settled (their reactions run later) and everything
 * else is put off until the buffer is free. So a user's code may call back into the port at any time.
 */
export class Port {
  readonly #writer = new BatchWriter(BATCH_SIZE);
  readonly #reader = new BatchReader(BATCH_SIZE);
  readonly native: NativePort;
  readonly #calls = new Map<number, PendingCall | PendingStream>();
  readonly #routes = new Map<string, Map<string, number>>();
  readonly #methods: (MethodSink | undefined)[] = [];
  readonly #freeMethods: number[] = [];
  readonly connections = new Map<number, ConnectionSink>();
  readonly listeners = new Map<number, ListenerSink>();
  /** Requests that need an answer. */
  readonly requests = new Map<number, ActiveRequest>();
  #taken: MessageQueue<unknown>[] = [];
  readonly #after: (() => void)[] = [];
  #routeCount = 0;
  #callId = 0;
  #scheduled = false;

  constructor() {
    this.native = new native.Port(this.#writer.bytes, this.#reader.bytes, (size) => this.#read(size));
  }

  /** The number of a service and method. Numbers are never given back: a program names a bounded set of methods. */
  route(service: string, method: string): number {
    let methods = this.#routes.get(service);
    if (methods === undefined) this.#routes.set(service, (methods = new Map()));
    let route = methods.get(method);
    if (route === undefined) {
      if (this.#routeCount > ROUTE_LIMIT) {
        throw new TtrpcError(`more than ${ROUTE_LIMIT} methods were called`, Code.ResourceExhausted);
      }
      route = this.#routeCount++;
      methods.set(method, route);
      this.#reserve(stringSize(service) + stringSize(method));
      const writer = this.#writer;
      writer.begin(Command.Route, 0, route, 0, 0);
      writer.string(service);
      writer.string(method);
      writer.end();
      this.schedule();
    }
    return route;
  }

  /** The service and method that a number stands for. */
  routeName(route: number): { service: string; method: string } {
    for (const [service, methods] of this.#routes) {
      for (const [method, number] of methods) if (number === route) return { service, method };
    }
    return { service: "", method: "" };
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
    const id = this.#writeCall(Command.Call, flags, connection, route, fields, payload);
    this.#calls.set(id, pending);
    this.schedule();
    return id;
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
    const id = this.#writeCall(Command.Open, kind, connection, route, fields, payload);
    this.#calls.set(id, pending);
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
    this.#writeCall(Command.Call, 0, connection, route, fields, payload);
    const reader = this.#reader;
    const used = this.#writer.used;
    this.#writer.used = 0;
    const size = this.native.callBlocking(used);
    reader.rewind();
    reader.next(size);
    this.#settle(pending);
    // Events of other connections, if there are any, wait until the caller is done.
    this.schedule();
  }

  /**
   * Gives up a call or a stream. Its pending is not called any more. `left`: the reader of a stream left, and its
   * requests end in order; otherwise the peer is told that they are not all.
   */
  cancel(id: number, left = false): void {
    this.#calls.delete(id);
    this.#reserve(0);
    this.#writer.begin(Command.Cancel, left ? FLAG_LEFT : 0, 0, 0, id);
    this.#writer.end();
    this.schedule();
  }

  /** Gives a method a number for its requests. */
  addMethod(sink: MethodSink): number {
    const route = this.#freeMethods.pop() ?? this.#methods.length;
    if (route > ROUTE_LIMIT)
      throw new TtrpcError(`more than ${ROUTE_LIMIT} methods are served`, Code.ResourceExhausted);
    this.#methods[route] = sink;
    return route;
  }

  removeMethod(route: number): void {
    this.#methods[route] = undefined;
    this.#freeMethods.push(route);
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
    process.nextTick(this.#flush);
  }

  /** Hands the batch over now. What comes back is dealt with when the running code is done. */
  flush(): void {
    const size = this.#submit();
    if (size > 0) this.#read(size, true);
    this.schedule();
  }

  readonly #flush = (): void => {
    this.#scheduled = false;
    this.#reportTaken();
    let size = this.#submit();
    while (size > 0) {
      this.#read(size);
      size = this.native.take();
    }
  };

  #submit(): number {
    const used = this.#writer.used;
    this.#writer.used = 0;
    return this.native.submit(used);
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
  ): number {
    const { timeoutNs, metadata } = fields;
    let size = 12 + knownSize(payload);
    for (const [key, value] of metadata) size += stringSize(key) + stringSize(value);
    this.#reserve(size);
    const id = (this.#callId = (this.#callId + 1) >>> 0 || 1);
    const writer = this.#writer;
    writer.begin(command, flags, route, connection, id);
    writer.f64(timeoutNs);
    writer.u32(metadata.length);
    for (const [key, value] of metadata) {
      writer.string(key);
      writer.string(value);
    }
    this.#endWith(payload);
    return id;
  }

  /** Ends a record with a payload; returns how long that is. */
  #endWith(payload: Payload): number {
    const writer = this.#writer;
    let size: number;
    if (payload instanceof Uint8Array) {
      writer.raw(payload);
      size = payload.length;
    } else {
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
    }
    if (size > MESSAGE_LIMIT) throw oversize(size);
    writer.end();
    return size;
  }

  /** Reads the events in the inbound buffer, then does what they call for, at once or in a later tick. */
  #read(size: number, later = false): void {
    const reader = this.#reader;
    reader.rewind();
    while (reader.next(size)) this.#event(reader);
    if (this.#after.length === 0) return;
    const after = this.#after.splice(0);
    const run = () => {
      for (const action of after) action();
    };
    if (later) process.nextTick(run);
    else run();
  }

  #event(reader: BatchReader): void {
    const { connection, call } = reader;
    switch (reader.operation) {
      case Event.Response:
      case Event.Status:
      case Event.Failed: {
        const pending = this.#calls.get(call);
        if (pending === undefined) return;
        this.#calls.delete(call);
        this.#settle(pending);
        return;
      }
      case Event.Request: {
        const active = this.#methods[reader.route]?.(reader);
        if (active === undefined) return;
        this.requests.set(call, active);
        this.#after.push(() => active.run());
        return;
      }
      case Event.Message:
        this.#stream(reader)?.message(reader);
        return;
      case Event.Sent:
        this.#stream(reader)?.sent(reader.u32(), reader.u32());
        return;
      case Event.End: {
        this.#stream(reader)?.end();
        if (reader.flags !== FLAG_SERVED) this.#calls.delete(call);
        return;
      }
      case Event.Aborted: {
        const deadline = reader.flags === 1;
        this.#after.push(() => this.requests.get(call)?.abort(deadline));
        return;
      }
      case Event.Connected:
        this.#after.push(() => this.connections.get(connection)?.connected?.());
        return;
      case Event.Closed: {
        const why = reader.closed();
        this.#after.push(() => {
          const sink = this.connections.get(connection);
          this.connections.delete(connection);
          sink?.closed(why);
        });
        return;
      }
      case Event.Accepted: {
        const peer =
          reader.flags === 1 ? { pid: reader.i32(), uid: reader.u32(), gid: reader.u32() } : undefined;
        // At once: a request of it may be next in the batch.
        this.listeners.get(call)?.accepted(connection, peer);
        return;
      }
      case Event.AcceptFailed: {
        const error = transportError("cannot accept a connection", reader.i32(), reader.string());
        this.#after.push(() => this.listeners.get(call)?.acceptFailed(error));
      }
    }
  }

  #stream({ flags, call }: BatchReader): PendingStream | ActiveRequest | undefined {
    return flags === FLAG_SERVED
      ? this.requests.get(call)
      : (this.#calls.get(call) as PendingStream | undefined);
  }

  #settle(pending: PendingCall): void {
    const reader = this.#reader;
    if (reader.operation === Event.Response) pending.succeed(reader);
    else pending.fail(reader.operation === Event.Status ? reader.status() : reader.failure());
  }
}

const NOTHING = new Uint8Array(0);

let instance: Port | undefined;

/** The port of this thread, opened at first use. */
export function port(): Port {
  return (instance ??= new Port());
}
