import { setTimeout as sleep } from "node:timers/promises";
import type { Address } from "../address.js";
import { Code } from "../code.js";
import { TtrpcError } from "../error.js";
import { port } from "../port/port.js";
import type { BatchReader } from "../port/reader.js";
import { Server } from "../server.js";
import { type ContainerdEvent, readEvent, refuseEvent } from "./event.js";
import { EventReader, type EventSource, eventsOf, type Taker } from "./event-reader.js";
import { Fifo } from "./fifo.js";
import { type EventOwner, HeldEvent, type Passing } from "./held-event.js";
import { checkLimits } from "./limits.js";
import { keptCopy } from "../slab.js";
import { type EventCounts, type EventSinkOptions, type SinkPlan, sinkPlan } from "./sink-options.js";

/** Where events go before the consumer may have them. */
export interface Onward {
  /** Passes an event on, and then calls {@link EventSink.passed}, never while a batch is read. */
  pass(held: HeldEvent, passing: Passing): void;
  /** The caller gave an event up. */
  cancel(held: HeldEvent): void;
  /** Resolves when every event has its outcome. */
  close(graceMs: number): Promise<void>;
}

const NO_LIMIT = 2 ** 32 - 1;
const DEFAULT_GRACE_MS = 5000;

/**
 * A server of containerd's ttrpc service of events, and the events that came: iterate over it, or over
 * {@link EventSink.batches}. Made by {@link listenEvents}. Several loops share the events, each of which goes to one.
 */
export class EventSink implements AsyncIterable<ContainerdEvent>, EventOwner {
  /** The address that is bound; for `tcp://ip:0` it has the port. */
  readonly address: string;
  readonly #plan: SinkPlan;
  readonly #server: Server;
  readonly #onward: Onward | undefined;
  readonly #counts = {
    received: 0,
    taken: 0,
    filtered: 0,
    dropped: 0,
    refused: 0,
    expired: 0,
    queued: 0,
    queuedBytes: 0,
  };
  /** Events that have a place, in the order of their arrival. */
  readonly #queue = new Fifo<HeldEvent>(isThere);
  /** Events that wait for a place. */
  readonly #outside = new Fifo<HeldEvent>(isThere);
  readonly #takers = new Set<Taker>();
  /** What came in the batch that is read. */
  #arrived: HeldEvent[] = [];
  #refused: { call: number; error: TtrpcError }[] = [];
  #scheduled = false;
  /** Taken, to be acknowledged when the turn is over. */
  #taken: HeldEvent[] = [];
  /** Taken, to be acknowledged when the consumer is done with them. */
  #inHand = 0;
  #handsFree: (() => void) | undefined;
  #closing: Promise<void> | undefined;
  #stopped = false;

  /** @internal */
  constructor(address: Address, plan: SinkPlan, onward?: Onward) {
    this.#plan = plan;
    this.#onward = onward;
    const { requireSameUser, whenFull, maxQueuedEvents, maxQueuedBytes } = plan;
    // An event that waits is a request that waits, so what bounds requests bounds those that wait for a place, too.
    const holdBack = whenFull === "wait";
    const limits = holdBack
      ? { maxConcurrentCalls: maxQueuedEvents, maxQueuedBytes }
      : { maxConcurrentCalls: NO_LIMIT, maxQueuedBytes: NO_LIMIT };
    this.#server = new Server({ requireSameUser, ...limits }, holdBack);
    this.#server.addSink("containerd.services.events.ttrpc.v1.Events", "Forward", (reader) => {
      this.#receive(reader);
      return undefined;
    });
    this.address = this.#server.listenNow(address, plan.listen);
  }

  /** What became of the events so far. */
  get counts(): EventCounts {
    return { ...this.#counts };
  }

  /** The events one by one. */
  [Symbol.asyncIterator](): AsyncIterableIterator<ContainerdEvent> {
    return new EventReader(this.#source, 1, ([held]) => held?.event as ContainerdEvent);
  }

  /**
   * The events in arrays: all that wait, up to `maxEvents`, which is 1 000 if left out, and at least one.
   *
   * ```ts
   * for await (const batch of events.batches()) insertAll(batch);
   * ```
   */
  batches({ maxEvents = 1000 }: { maxEvents?: number } = {}): AsyncIterableIterator<ContainerdEvent[]> {
    checkLimits({ maxEvents });
    return new EventReader(this.#source, maxEvents, eventsOf);
  }

  /**
   * Stops listening, and refuses with `Unavailable` the events that were not acknowledged: their publishers still have
   * them. Those that were acknowledged can still be taken; then loops end.
   *
   * With `acknowledge: "done"` it waits up to `graceMs` milliseconds, 5 000 if left out, for the consumer to be done with
   * what it has, so a loop calls it without awaiting it. A second call returns the same promise.
   */
  close({ graceMs = DEFAULT_GRACE_MS }: { graceMs?: number } = {}): Promise<void> {
    if (typeof graceMs !== "number" || !(graceMs >= 0)) {
      const text = `graceMs must be a number of milliseconds, 0 or more, not ${String(graceMs)}`;
      return Promise.reject(new TypeError(text));
    }
    return (this.#closing ??= this.#close(graceMs));
  }

  /** Closes the sink, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(graceMs: number): Promise<void> {
    this.#stopped = true;
    const until = performance.now() + graceMs;
    const refuse = (held: HeldEvent) => this.#refuse(held, closedError());
    for (const held of this.#outside.clear()) if (isThere(held)) refuse(held);
    await this.#onward?.close(graceMs);
    for (const held of this.#queue.clear()) {
      if (!isThere(held)) continue;
      if (held.waits) refuse(held);
      else this.#queue.push(held);
    }
    this.#deliver();
    this.#acknowledgeTaken();
    const ended = new AbortController();
    const grace = sleep(Math.max(until - performance.now(), 0), undefined, { signal: ended.signal });
    await Promise.race([
      grace.catch(() => undefined),
      new Promise<void>((resolve) => {
        this.#handsFree = () => this.#inHand === 0 && resolve();
        this.#handsFree();
      }),
    ]);
    ended.abort();
    await this.#server.close({ graceMs: Math.max(until - performance.now(), 0) });
  }

  /** Takes a request out of a batch. */
  #receive(reader: BatchReader): void {
    const counts = this.#counts;
    counts.received++;
    const { call, connection } = reader;
    const timeoutNs = reader.f64();
    const metadata = this.#onward === undefined ? reader.skipPairs() : reader.pairs();
    const size = reader.rest;
    try {
      if (this.#stopped) throw closedError();
      const payload = reader.read(keptCopy);
      const event = readEvent(payload, this.#plan.typeOf);
      let passing: Passing | undefined;
      // What is passed on is judged by who gets it.
      if (metadata === undefined) refuseEvent(event);
      else {
        const expiresAt = timeoutNs === 0 ? Number.POSITIVE_INFINITY : performance.now() + timeoutNs / 1e6;
        passing = { payload, metadata, connection, expiresAt };
      }
      this.#arrived.push(new HeldEvent(this, call, event, size, this.#plan.wants(event), passing));
    } catch (error) {
      counts.refused++;
      this.#refused.push({ call, error: TtrpcError.from(error) });
    }
    this.#schedule();
  }

  /** What the batch brought is dealt with when it has been read. */
  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    process.nextTick(() => {
      this.#scheduled = false;
      for (const { call, error } of this.#refused.splice(0)) port("loop").reply(call, undefined, error);
      const arrived = this.#arrived;
      this.#arrived = [];
      for (const held of arrived) this.#place(held);
      this.#deliver();
    });
  }

  #place(held: HeldEvent): void {
    const { whenFull } = this.#plan;
    if (this.#stopped) this.#refuse(held, closedError());
    else if (!held.wanted && held.passing === undefined) {
      this.#counts.filtered++;
      held.state = "gone";
      held.answer();
    } else if (this.#outside.length === 0 && this.#hasRoomFor(held)) this.#admit(held);
    else if (whenFull === "wait") {
      held.place = "outside";
      this.#outside.push(held);
    } else if (whenFull === "dropOldest") {
      while (!this.#hasRoomFor(held) && this.#dropOldest());
      this.#admit(held);
    } else this.#refuse(held, new TtrpcError("the queue of events is full", Code.ResourceExhausted));
  }

  #hasRoomFor({ size }: HeldEvent): boolean {
    const { queued, queuedBytes } = this.#counts;
    const { maxQueuedEvents, maxQueuedBytes } = this.#plan;
    // One that is larger than all the room can only pass alone.
    return queued < maxQueuedEvents && (queued === 0 || queuedBytes + size <= maxQueuedBytes);
  }

  #admit(held: HeldEvent): void {
    held.place = "queue";
    this.#counts.queued++;
    this.#counts.queuedBytes += held.size;
    this.#queue.push(held);
    if (held.passing === undefined || this.#onward === undefined) this.#ready(held);
    else this.#onward.pass(held, held.passing);
  }

  #ready(held: HeldEvent): void {
    held.state = "ready";
    if (this.#plan.acknowledge === "arrived") held.answer();
  }

  /**
   * An event that was passed on has its outcome.
   *
   * @internal
   */
  passed(held: HeldEvent, error: TtrpcError | undefined, reply: Uint8Array): void {
    if (error !== undefined) {
      this.#refuse(held, error);
      return;
    }
    held.reply = reply;
    if (held.state === "gone") held.answer();
    else if (held.wanted) {
      this.#ready(held);
      this.#schedule();
    } else {
      this.#counts.filtered++;
      this.#lose(held);
      held.answer();
    }
  }

  #refuse(held: HeldEvent, error: TtrpcError): void {
    if (held.state !== "gone") this.#counts.refused++;
    this.#lose(held);
    held.answer(error);
  }

  /** The consumer will not get it. */
  #lose(held: HeldEvent): void {
    if (held.state === "gone") return;
    held.state = "gone";
    if (held.place === "outside") this.#outside.died();
    if (held.place !== "queue") return;
    this.#leave(held);
    this.#queue.died();
    this.#fill();
  }

  #leave(held: HeldEvent): void {
    held.place = "out";
    this.#counts.queued--;
    this.#counts.queuedBytes -= held.size;
  }

  /** Gives places to those that wait for one. */
  #fill(): void {
    for (let held = this.#outside.first(); held !== undefined; held = this.#outside.first()) {
      if (!this.#hasRoomFor(held)) return;
      this.#outside.shift();
      this.#admit(held);
    }
  }

  #dropOldest(): boolean {
    const oldest = this.#queue.first();
    if (oldest === undefined) return false;
    this.#counts.dropped++;
    const passed = oldest.state === "ready";
    this.#lose(oldest);
    // One that is on its way to containerd is answered by it.
    if (passed) oldest.answer();
    return true;
  }

  /** @internal */
  aborted(held: HeldEvent, deadline: boolean): void {
    if (held.state === "gone" || (held.place === "out" && held.state === "ready")) return;
    // A publisher whose deadline passed sends the event again. One that is gone does not: what it sent is kept, as far
    // as there is room.
    if (!deadline && (held.place !== "outside" || this.#outside.length <= this.#plan.maxQueuedEvents)) return;
    this.#counts.expired++;
    this.#onward?.cancel(held);
    this.#lose(held);
  }

  /** Gives what is ready to those that wait for it. */
  #deliver(): void {
    for (const taker of this.#takers) {
      const events = this.#takeUpTo(taker.max);
      const over = events.length === 0 && this.#stopped && this.#queue.first() === undefined;
      if (events.length === 0 && !over) return;
      this.#takers.delete(taker);
      taker.give(over ? undefined : events);
    }
  }

  #takeUpTo(max: number): HeldEvent[] {
    const events: HeldEvent[] = [];
    while (events.length < max) {
      const held = this.#queue.first();
      if (held?.state !== "ready") break;
      this.#queue.shift();
      this.#leave(held);
      events.push(held);
    }
    if (events.length === 0) return events;
    this.#counts.taken += events.length;
    const { acknowledge } = this.#plan;
    if (acknowledge === "done") this.#inHand += events.length;
    else if (acknowledge === "taken") {
      // Behind the consumer, which runs on promises, and behind the end of the process if it throws.
      if (this.#taken.length === 0) setImmediate(() => this.#acknowledgeTaken());
      this.#taken.push(...events);
    }
    this.#fill();
    return events;
  }

  #acknowledgeTaken(): void {
    const taken = this.#taken;
    this.#taken = [];
    for (const held of taken) held.answer();
  }

  readonly #source: EventSource = {
    take: (taker) => {
      this.#takers.add(taker);
      this.#deliver();
    },
    forget: (taker) => {
      this.#takers.delete(taker);
    },
    done: (events) => {
      this.#inHand -= events.length;
      for (const held of events) held.answer();
      this.#handsFree?.();
    },
    putBack: (events) => {
      this.#inHand -= events.length;
      this.#counts.taken -= events.length;
      if (this.#stopped) {
        for (const held of events) this.#refuse(held, closedError());
        this.#handsFree?.();
        return;
      }
      for (const held of events) {
        held.place = "queue";
        this.#counts.queued++;
        this.#counts.queuedBytes += held.size;
      }
      this.#queue.unshift(events);
      this.#handsFree?.();
      this.#schedule();
    },
    keeps: () => this.#plan.acknowledge === "done",
  };
}

function isThere({ state }: HeldEvent): boolean {
  return state !== "gone";
}

function closedError(): TtrpcError {
  return new TtrpcError("the server of events is closed", Code.Unavailable);
}

/**
 * Serves containerd's ttrpc service of events, so that shims, or containerd's place, can be given its address as
 * `TTRPC_ADDRESS`.
 *
 * ```ts
 * const events = listenEvents("unix:///run/my-events.sock", { topics: ["/tasks/"], reclaimStale: true });
 * for await (const { namespace, topic, message } of events) {
 *   if (isMessage(message, TaskExitSchema)) console.log(namespace, message.containerId, message.exitStatus);
 * }
 * ```
 *
 * It listens when this returns. Events of one connection come in the order in which they were sent. What containerd
 * would refuse (no envelope, no namespace, a topic that is none, no timestamp) is refused with `InvalidArgument`.
 *
 * Throws a TypeError that names what is wrong, and a {@link TtrpcError} of code `Unavailable` if the address cannot be
 * bound.
 */
export function listenEvents(address: Address, options: EventSinkOptions = {}): EventSink {
  return new EventSink(address, sinkPlan(options, "taken"));
}
