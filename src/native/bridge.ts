import { constants } from "node:os";
import type { Payload } from "../codec/payload.js";
import {
  type BindingAddress,
  type BindingListenOptions,
  type BindingOpened,
  loadNative,
  type NativePort,
} from "./addon.js";
import { checkedDetails, textOf, transportError, TtrpcError } from "../error.js";
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
import { fieldsSize, knownSize, namesSize, refusedCall } from "./size.js";
import { statusOf } from "./status.js";
import { Routes } from "./routes.js";
import { generationsPerSlot, type Named } from "./slots.js";
import { Outbox } from "./outbox.js";
import type { Driver } from "../transport.js";

/**
 * The one way to the addon and back, for one JavaScript thread and one driver. The commands of a tick gather in a buffer
 * and cross together, in one call; events come back in one buffer, with one callback.
 *
 * Whatever a method here puts into the batch is sent by itself: nobody outside has to ask for that.
 */
export class Bridge {
  readonly #native: NativePort;
  readonly #outbox: Outbox;
  readonly #inbox = new Inbox(
    () => this.#native.takeWhole(),
    (request) => this.letGo(request),
  );
  readonly #routes = new Routes();

  constructor(driver: Driver) {
    this.#outbox = new Outbox(driver, {
      submit: (size, take) => this.#native.submit(size, take),
      lend: (payload) => this.#native.lend(payload),
      read: (size) => this.#inbox.read(size),
    });
    try {
      this.#native = new (loadNative().Port)(
        this.#outbox.bytes,
        this.#inbox.bytes,
        (filled) => this.#outbox.arrived(filled),
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

  /** Begins to connect. {@link observeConnection} tells how that goes on. */
  connect(address: BindingAddress): BindingOpened {
    this.#outbox.schedule();
    return this.#native.connect(address);
  }

  /** Takes over a connected socket. */
  adopt(fd: number): BindingOpened {
    this.#outbox.schedule();
    return this.#native.adopt(fd, false);
  }

  /** Connects, or takes over a connected socket, for blocking calls; waits for it. */
  connectBlocking(address: BindingAddress | { readonly fd: number }, timeoutMs: number): BindingOpened {
    if ("fd" in address) return this.#native.adopt(address.fd, true);
    let opened = this.#native.connectBlocking(address, timeoutMs);
    // Between two waits this thread can be ended.
    while (opened.errno === EINPROGRESS) opened = this.#native.waitConnect();
    return opened;
  }

  /** Two ends of a socket: one for a connection, the other for a Duplex of Node. */
  pair(): ReturnType<NativePort["pair"]> {
    return this.#native.pair();
  }

  /** Says who hears of a connection from now on. */
  observeConnection(connection: number, observer: ConnectionObserver): void {
    this.#inbox.connections.set(connection, observer);
  }

  /** Closes a connection, at once or when its replies have left. */
  close(connection: number, afterReplies = false): void {
    this.#native.close(connection, afterReplies);
    this.#outbox.schedule();
  }

  /** Says whether a connection keeps the process alive. */
  hold(connection: number, hold: number): void {
    this.#native.hold(connection, hold);
  }

  /** Whether a connection of blocking calls leads to a listener of this very thread, which could not answer it. */
  isServedHere(connection: number): boolean {
    return openBridges().some((other) => this.#native.isListenerOf(connection, other.#native));
  }

  /** Listens on an address. Whoever gets a listener observes it at once. */
  listen(address: BindingAddress, options: BindingListenOptions): BindingOpened {
    this.#outbox.schedule();
    return this.#native.listen(address, options);
  }

  /** Listens on a descriptor, or serves the one peer at its other end, which is accepted already. */
  listenOn(fd: number, isConnected: boolean, options: BindingListenOptions): BindingOpened {
    this.#outbox.schedule();
    return this.#native.listenOn(fd, isConnected, options);
  }

  /** Says who hears of a listener. */
  observeListener(listener: number, observer: ListenerObserver): void {
    this.#inbox.listeners.set(listener, observer);
  }

  /** Accepts no more. */
  closeListener(listener: number): void {
    this.#native.closeListener(listener);
    this.#outbox.schedule();
  }

  /** Gives a method that is served a number, for listeners to have; its requests go to `receiver`. */
  serve(receiver: RequestReceiver): number {
    return this.#inbox.methods.add(receiver);
  }

  /** Takes a method's number back. No listener may have it any more. */
  unserve(route: number): void {
    this.#inbox.methods.remove(route);
  }

  /** The requests that need an answer. */
  requests(): Iterable<ActiveRequest> {
    return this.#inbox.requests.values();
  }

  /**
   * Runs code of the user's, or what may lead to it, as soon as it may run: never while a batch is read, whose buffer it
   * could have overwritten, and never within the call that asks for it.
   */
  defer(action: () => void): void {
    this.#inbox.defer(action);
  }

  /** The number of a service and method that are called. Throws a TypeError if one of the names is none. */
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
    // Only now: a number that Rust has not heard of must not be known here.
    this.#routes.add(service, method, route);
    this.#outbox.schedule();
    return route;
  }

  /** The service and method that a number stands for. */
  nameOf(route: number): { readonly service: string; readonly method: string } {
    return this.#routes.nameOf(route);
  }

  /** Puts a call into the batch, and names it. */
  call(connection: number, call: OutgoingCall, pending: PendingCall): void {
    this.#begin(Command.Call, call.fields.cancellable ? FLAG_CANCELLABLE : 0, connection, call, pending);
  }

  /** Opens a stream, as {@link call} makes a call. `kind` is its flags. */
  open(connection: number, call: OutgoingCall, kind: number, pending: PendingStream): void {
    this.#begin(Command.Open, kind, connection, call, pending);
  }

  /** Makes a call in place: nothing else of this thread runs until its outcome is there. */
  callBlocking(connection: number, call: OutgoingCall, pending: PendingCall): void {
    this.#writeCall(Command.Call, 0, connection, call, NOBODY);
    let size = this.#native.callBlocking(this.#outbox.take());
    // Between two waits this thread can be ended.
    while (size === 0) size = this.#native.waitBlocking();
    this.#inbox.settle(size, pending);
    // Events of other connections, if there are any, wait until the caller is done.
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
    if (!calls.add(pending)) throw new TtrpcError("a million calls are under way", Code.ResourceExhausted);
    try {
      this.#writeCall(command, flags, connection, call, pending);
    } catch (error) {
      calls.delete(pending);
      throw error;
    }
    this.#outbox.schedule();
  }

  #writeCall(
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
    this.#outbox.endWith(payload);
  }

  /** Sends a message of a stream; returns how long it is. The caller keeps within its window. */
  send(stream: Stream, payload: Payload): number {
    this.#outbox.reserve(knownSize(payload));
    this.#outbox.writer.begin(Command.Send, stream.served ? FLAG_SERVED : 0, 0, 0, stream);
    const size = this.#outbox.endWith(payload);
    this.#outbox.schedule();
    return size;
  }

  /** Tells that messages of a stream were taken, with the next batch. */
  noteTaken(queue: MessageQueue<unknown>): void {
    this.#outbox.noteTaken(queue);
  }

  /** Hands the batch over now, or behind the message that is being encoded. What comes of it is dealt with later. */
  flush(): void {
    this.#outbox.flush();
  }

  /** Sends no more on a stream of this side. */
  halfClose(stream: Stream): void {
    this.#outbox.command(Command.HalfClose, 0, stream);
  }

  /**
   * Gives up a call or a stream, if it is still under way. It hears nothing any more. `left`: the reader of a stream left,
   * and its requests end in order; otherwise the peer is told that they are not all.
   */
  cancel(call: PendingCall | PendingStream, left = false): void {
    if (this.#inbox.calls.delete(call)) this.#outbox.command(Command.Cancel, left ? FLAG_LEFT : 0, call);
  }

  /**
   * Answers a request, if it still needs an answer. An error that is too large is cut; for a payload that is, an error is
   * thrown, and nothing is answered.
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
    this.#outbox.endWith(payload ?? NOTHING);
    requests.delete(request);
    this.#outbox.schedule();
  }

  /**
   * Nothing is held any more of a request that was aborted, whose handler may have run on: it counts no longer. To be called
   * once for each, and not for one that was answered.
   */
  letGo(request: Readonly<Named>): void {
    this.#outbox.command(Command.LetGo, 0, request);
  }
}

const { EINPROGRESS } = constants.errno;

const NOTHING = new Uint8Array(0);

/** The name of no call. */
const NOBODY: Named = { slot: 0, generation: 0 };

const opened: Partial<Record<Driver, Bridge>> = {};

/** The bridge of this JavaScript thread with a driver, opened at first use. */
export function bridgeOf(driver: Driver): Bridge {
  return (opened[driver] ??= new Bridge(driver));
}

function openBridges(): Bridge[] {
  return Object.values(opened);
}
