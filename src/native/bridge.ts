import { setImmediate } from "node:timers";
import { constants } from "node:os";
import type { Payload } from "../codec/payload.js";
import {
  type BindingAddress,
  type BindingListenOptions,
  type BindingOpened,
  loadNative,
  type NativePort,
  thrownErrno,
} from "./addon.js";
import { atExit } from "./at-exit.js";
import { callError, checkedDetails, transportError, type TtrpcError } from "../error.js";
import { Code } from "../code.js";
import { Inbox } from "./inbox.js";
import type { MessageQueue, Stream } from "../stream/message-queue.js";
import { BATCH_SIZE, Command, FLAG_CANCELLABLE, FLAG_LEFT, FLAG_SERVED, RECORD_HEADER } from "./records.js";
import type {
  ActiveRequest,
  ConnectionObserver,
  ListenerObserver,
  OutgoingCall,
  PendingCall,
  PendingStream,
  RequestReceiver,
} from "./types.js";
import { isNode } from "./driver.js";
import { fieldsSize, knownSize, namesSize, refusedCall, RESPONSE_ENVELOPE } from "./encoded-size.js";
import { statusOf } from "./status.js";
import { Routes } from "./routes.js";
import { generationsPerSlot, type Named } from "./slots.js";
import { Outbox } from "./outbox.js";
import type { Driver } from "../connection-types.js";

/**
 * The TypeScript facade to the addon, one for each JavaScript thread and driver. The commands of a tick gather in one
 * buffer and cross in one call; events come back in another buffer, with one callback.
 *
 * Every method that writes into the batch also schedules it; callers never have to.
 */
export class Bridge {
  readonly #native: NativePort;
  readonly #outbox: Outbox;
  readonly #inbox = new Inbox(
    () => this.#native.takeWhole(),
    (request) => this.#forget(request),
  );
  readonly #routes = new Routes();

  constructor(driver: Driver) {
    this.#outbox = new Outbox(driver, {
      submit: (size, take) => this.#native.submit(size, take),
      lend: (payload) => this.#native.lend(payload),
      read: (size) => this.#inbox.read(size),
    });
    const deliver = (filled: number) => this.#outbox.arrived(filled);
    // Jest and others ask what async hooks show them whether it keeps the process alive.
    deliver.hasRef = () => (this.#native as NativePort | undefined)?.holds() ?? false;
    try {
      this.#native = new (loadNative().Port)(
        this.#outbox.writer.bytes,
        this.#inbox.bytes,
        deliver,
        generationsPerSlot(),
        driver === "thread",
        isNode(),
      );
    } catch (error) {
      const errno = thrownErrno(error);
      if (errno === undefined) throw error;
      throw transportError(`cannot start driver "${driver}"`, errno);
    }
  }

  /**
   * Has commands given so far carried out. Node ends its process without waiting for other threads, so a reply that a
   * handler gave could otherwise be lost.
   */
  finish(): void {
    this.#outbox.leaveAtExit();
    this.#native.finish();
  }

  /** Gives back the memory of both buffers, unless one has a batch in it. Until they fill again, they hold none. */
  discardBuffers(): void {
    const { writer } = this.#outbox;
    if (writer.used > 0 || writer.encoding || !this.#inbox.isEmpty) return;
    for (const buffer of [writer.bytes, this.#inbox.bytes]) loadNative().discardPages(buffer);
  }

  /** Starts to connect. The observer of {@link observeConnection} hears the result. */
  connect(address: BindingAddress): BindingOpened {
    this.#outbox.schedule();
    return this.#native.connect(address);
  }

  /** Takes over a connected socket. */
  adopt(fd: number): BindingOpened {
    this.#outbox.schedule();
    return this.#native.adopt(fd, false);
  }

  /** Connects, or takes over a connected socket, for blocking calls. Blocks until it is open. */
  connectBlocking(address: BindingAddress | { readonly fd: number }, timeoutMs: number): BindingOpened {
    if ("fd" in address) return this.#native.adopt(address.fd, true);
    let opened = this.#native.connectBlocking(address, timeoutMs);
    // This thread can be terminated between two waits.
    while (opened.errno === EINPROGRESS) opened = this.#native.waitConnect();
    return opened;
  }

  /** Makes a socket pair: one end for a connection, the other for a Node Duplex. */
  pair(): ReturnType<NativePort["pair"]> {
    return this.#native.pair();
  }

  /** Sets the observer of a connection. */
  observeConnection(connection: number, observer: ConnectionObserver): void {
    this.#inbox.connections.set(connection, observer);
  }

  /** Closes a connection, either at once or after its replies have left. */
  close(connection: number, afterReplies = false): void {
    this.#native.close(connection, afterReplies);
    this.#outbox.schedule();
  }

  /** Sets whether a connection keeps the process alive. */
  hold(connection: number, hold: number): void {
    this.#native.hold(connection, hold);
  }

  /** Has a connection polled for answers before the thread sleeps: for some microseconds, or while that pays. */
  busyPoll(connection: number, us: number | undefined): void {
    this.#native.busyPoll(connection, us);
  }

  /** Whether a connection of blocking calls leads to a server on the same thread, which could never answer. */
  isServedHere(connection: number): boolean {
    return openBridges().some((other) => this.#native.isServedBy(connection, other.#native));
  }

  /** Listens on an address. The caller must observe the listener at once. */
  listen(address: BindingAddress, options: BindingListenOptions): BindingOpened {
    this.#outbox.schedule();
    return this.#native.listen(address, options);
  }

  /** Listens on a descriptor or, if it is connected, serves the one peer at its other end. */
  listenOn(fd: number, isConnected: boolean, options: BindingListenOptions): BindingOpened {
    this.#outbox.schedule();
    return this.#native.listenOn(fd, isConnected, options);
  }

  /** Sets the observer of a listener. */
  observeListener(listener: number, observer: ListenerObserver): void {
    this.#inbox.listeners.set(listener, observer);
  }

  /** Stops accepting. */
  closeListener(listener: number): void {
    this.#native.closeListener(listener);
    this.#outbox.schedule();
  }

  /** Gives a served method a route, for listeners to use. Its requests go to `receiver`. */
  serve(receiver: RequestReceiver): number {
    return this.#inbox.methods.add(receiver);
  }

  /** Releases a served method's route. No listener may use it any more. */
  unserve(route: number): void {
    this.#inbox.methods.remove(route);
  }

  /** The requests that still need an answer. */
  requests(): Iterable<ActiveRequest> {
    return this.#inbox.requests.values();
  }

  /**
   * Runs user code, or an action that may lead to it, as soon as it is safe: never while a batch is read, whose buffer
   * it could overwrite, and never within the call of `defer` itself.
   */
  defer(action: () => void): void {
    this.#inbox.defer(action);
  }

  /** The route of a service and method to call. Throws a TypeError if a name is invalid. */
  route(service: string, method: string): number {
    const known = this.#routes.find(service, method);
    if (known !== undefined) return known;
    const route = this.#routes.next(service, method);
    this.#outbox.reserve(namesSize(service, method));
    const { writer } = this.#outbox;
    writer.begin(Command.Route, 0, route, 0, NOBODY);
    writer.string(service);
    writer.string(method);
    writer.end();
    // Only now: a route must not be known here before Rust has been told.
    this.#routes.add(service, method, route);
    this.#outbox.schedule();
    return route;
  }

  /** The service and method of a route. */
  nameOf(route: number): { readonly service: string; readonly method: string } {
    return this.#routes.nameOf(route);
  }

  /** Writes a call into the batch, and gives it its name. */
  call(connection: number, call: OutgoingCall, pending: PendingCall): void {
    this.#begin(Command.Call, call.fields.cancellable ? FLAG_CANCELLABLE : 0, connection, call, pending);
  }

  /** Opens a stream, as {@link call} makes a call. `kind` holds its flags. */
  open(connection: number, call: OutgoingCall, kind: number, pending: PendingStream): void {
    this.#begin(Command.Open, kind, connection, call, pending);
  }

  /** Makes a blocking call: nothing else on this thread runs until it has its outcome. */
  callBlocking(connection: number, call: OutgoingCall, pending: PendingCall): void {
    this.#beginCall(Command.Call, 0, connection, call, NOBODY);
    let size = this.#native.callBlocking(this.#outbox.takeBlocking(call.payload));
    // This thread can be terminated between two waits.
    while (size === 0) size = this.#native.waitBlocking();
    this.#inbox.settle(size, pending);
    // Events of other connections wait until the caller is done.
    this.#outbox.schedule();
  }

  #begin(
    command: number,
    flags: number,
    connection: number,
    call: OutgoingCall,
    pending: PendingCall | PendingStream,
  ): void {
    const { calls } = this.#inbox;
    if (!calls.add(pending)) throw callError("a million calls are in flight", Code.ResourceExhausted);
    try {
      this.#beginCall(command, flags, connection, call, pending);
      this.#outbox.endWith(call.payload);
    } catch (error) {
      calls.delete(pending);
      throw error;
    }
    this.#outbox.schedule();
  }

  /** Writes the record of a call up to its payload. */
  #beginCall(
    command: number,
    flags: number,
    connection: number,
    { route, fields, payload }: OutgoingCall,
    name: Readonly<Named>,
  ): void {
    const { timeoutNs, metadata } = fields;
    const known = knownSize(payload);
    const size = fieldsSize(fields) + known;
    if (size > BATCH_SIZE - RECORD_HEADER) throw refusedCall(this.#routes.nameOf(route), fields, known);
    this.#outbox.reserve(size);
    const { writer } = this.#outbox;
    writer.begin(command, flags, route, connection, name);
    writer.f64(timeoutNs);
    writer.u32(metadata.length);
    for (const [key, value] of metadata) {
      writer.string(key);
      writer.string(value);
    }
  }

  /** Sends a message of a stream; returns its length in bytes. The caller must respect its window. */
  send(stream: Stream, payload: Payload): number {
    this.#outbox.reserve(knownSize(payload));
    this.#outbox.writer.begin(Command.Send, stream.served ? FLAG_SERVED : 0, 0, 0, stream);
    const size = this.#outbox.endWith(payload);
    this.#outbox.schedule();
    return size;
  }

  /** Reports, with the next batch, that messages of a stream were taken. */
  noteTaken(queue: MessageQueue<unknown>): void {
    this.#outbox.noteTaken(queue);
  }

  /**
   * Hands the batch over now, or once the message is written that is being encoded. The events that result are read later.
   */
  flush(): void {
    this.#outbox.flush();
  }

  /** Half-closes a stream that this side opened. */
  halfClose(stream: Stream): void {
    this.#outbox.command(Command.HalfClose, 0, stream);
  }

  /**
   * Cancels a call or a stream that is still in flight; it gets no further events. With `left`, the reader of a stream
   * left, and its requests end regularly; otherwise the peer is told that they are incomplete.
   */
  cancel(call: PendingCall | PendingStream, left = false): void {
    if (this.#inbox.calls.delete(call)) this.#outbox.command(Command.Cancel, left ? FLAG_LEFT : 0, call);
  }

  /**
   * Answers a request, if it still needs an answer. An error that is too large is truncated. A payload that is too
   * large throws, and nothing is answered.
   */
  reply(request: ActiveRequest, payload: Payload | undefined, error: TtrpcError | undefined): void {
    const { requests } = this.#inbox;
    if (!requests.has(request)) return;
    if (error !== undefined && error.details.length > 0) checkedDetails(error.details);
    const status = error && statusOf(error);
    this.#outbox.reserve(status?.size ?? 12 + knownSize(payload));
    const { writer } = this.#outbox;
    writer.begin(Command.Reply, 0, 0, 0, request);
    writer.u32(status?.code ?? 0);
    writer.string(status?.message ?? "");
    writer.u32(status?.details.length ?? 0);
    for (const { typeUrl, value } of status?.details ?? []) {
      writer.string(typeUrl);
      writer.field(value);
    }
    this.#outbox.endWith(payload ?? NOTHING, RESPONSE_ENVELOPE);
    requests.answered(request);
    this.#outbox.schedule();
  }

  /**
   * Tells Rust that nothing is held any more of an aborted request, whose handler may have kept running, so that it
   * stops counting. Call it once for each aborted request, and never for one that was answered.
   */
  letGo(request: Readonly<Named>): void {
    this.#inbox.requests.letGo();
    this.#forget(request);
  }

  #forget(request: Readonly<Named>): void {
    this.#outbox.command(Command.LetGo, 0, request);
  }
}

const { EINPROGRESS } = constants.errno;

const NOTHING = new Uint8Array(0);

/** A name that no call has. */
const NOBODY: Named = { slot: 0, generation: 0 };

const opened: Partial<Record<Driver, Bridge>> = {};

/** The bridge of this JavaScript thread for a driver, opened at first use. */
export function bridgeOf(driver: Driver): Bridge {
  return (opened[driver] ??= open(driver));
}

/**
 * Gives back memory that is kept for a next burst: garbage, the bridges' buffers, and what allocators keep free. It
 * blocks for some 20 ms with a heap of 5 MiB, and calls `done` in a later turn, when all is given back.
 */
export function giveBackMemory(done: () => void): void {
  loadNative().collectGarbage();
  for (const bridge of openBridges()) bridge.discardBuffers();
  // Node frees the memory behind collected buffers in an immediate of its own, before the second one set here.
  setImmediate(() => {
    setImmediate(() => {
      loadNative().trimMemory();
      done();
    });
  });
}

function open(driver: Driver): Bridge {
  atExit(finishAtExit);
  return new Bridge(driver);
}

function finishAtExit(): void {
  for (const bridge of openBridges()) {
    try {
      bridge.finish();
    } catch {
      // Nobody is left to be told, and the exit code is not this package's.
    }
  }
}

function openBridges(): Bridge[] {
  return Object.values(opened);
}
