import { setImmediate } from "node:timers";
import { Code } from "../code.js";
import { TtrpcError } from "../error.js";
import type { Bridge } from "../native/bridge.js";
import type { EventSource, Taker } from "./event-reader.js";
import { Fifo } from "./fifo.js";
import type { EventOwner, HeldEvent, Passing } from "./held-event.js";
import type { EventCounts, SinkPlan } from "./sink-options.js";
import { Takers } from "./takers.js";

/** Where events are sent before the consumer may have them. */
export interface Onward {
  /** Passes an event on, and then calls {@link EventQueue.passed}, never while a batch is read. */
  pass(held: HeldEvent, passing: Passing): void;
  /** The caller gave an event up. */
  cancel(held: HeldEvent): void;
  /** Resolves when every event has its outcome. */
  close(graceMs: number): Promise<void>;
}

/** The events of a server, from their arrival until the consumer is done with them. */
export class EventQueue implements EventSource<HeldEvent>, EventOwner {
  readonly bridge: Bridge;
  /** The outcomes of the events so far. */
  readonly counts: { -readonly [Name in keyof EventCounts]: EventCounts[Name] } = {
    received: 0,
    taken: 0,
    filtered: 0,
    dropped: 0,
    refused: 0,
    expired: 0,
    queued: 0,
    queuedBytes: 0,
  };
  readonly #plan: SinkPlan;
  readonly #onward: Onward | undefined;
  /** Events that have a place, in the order of their arrival. */
  readonly #queue = new Fifo<HeldEvent>(isThere);
  /** Events that wait for a place. */
  readonly #outside = new Fifo<HeldEvent>(isThere);
  readonly #takers = new Takers<HeldEvent>(
    (max) => this.#takeUpTo(max),
    () => this.#stopped && this.#queue.first() === undefined,
  );
  /** Taken; acknowledged when the turn is over. */
  #taken: HeldEvent[] = [];
  /** Taken; acknowledged when the consumer is done with them. */
  #inHand = 0;
  #handsFree: (() => void) | undefined;
  #stopped = false;

  constructor(bridge: Bridge, plan: SinkPlan, onward: Onward | undefined) {
    this.bridge = bridge;
    this.#plan = plan;
    this.#onward = onward;
  }

  /** Whether it accepts no more events. */
  get stopped(): boolean {
    return this.#stopped;
  }

  /** Finds a place for an event that arrived. Call {@link deliver} afterwards. */
  place(held: HeldEvent): void {
    // Its deadline may have passed in the batch that brought it.
    if (held.state === "gone") return;
    held.started();
    const { whenFull } = this.#plan;
    if (this.#stopped) this.#refuse(held, closedError());
    else if (!held.wanted && held.passing === undefined) {
      this.counts.filtered++;
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
    const { queued, queuedBytes } = this.counts;
    const { maxQueuedEvents, maxQueuedBytes } = this.#plan;
    // An event larger than the whole queue fits only when the queue is empty.
    return queued < maxQueuedEvents && (queued === 0 || queuedBytes + size <= maxQueuedBytes);
  }

  #admit(held: HeldEvent): void {
    this.#enter(held);
    this.#queue.push(held);
    if (held.passing === undefined || this.#onward === undefined) this.#ready(held);
    else this.#onward.pass(held, held.passing);
  }

  #ready(held: HeldEvent): void {
    held.state = "ready";
    if (this.#plan.acknowledge === "arrived") held.answer();
  }

  /** An event that was passed on has its outcome. */
  passed(held: HeldEvent, error: TtrpcError | undefined, reply: Uint8Array): void {
    if (error !== undefined) {
      this.#refuse(held, error);
      return;
    }
    held.reply = reply;
    if (held.state === "gone") held.answer();
    else if (held.wanted) {
      this.#ready(held);
      this.#takers.deliverSoon();
    } else {
      this.counts.filtered++;
      this.#lose(held);
      held.answer();
    }
  }

  #refuse(held: HeldEvent, error: TtrpcError): void {
    if (held.state !== "gone") this.counts.refused++;
    this.#lose(held);
    held.answer(error);
  }

  /** The consumer will not get it. */
  #lose(held: HeldEvent): void {
    if (held.state === "gone") return;
    held.state = "gone";
    held.letGo();
    if (held.place === "outside") this.#outside.died();
    if (held.place !== "queue") return;
    this.#leave(held);
    this.#queue.died();
    this.#fill();
  }

  #enter(held: HeldEvent): void {
    held.place = "queue";
    this.counts.queued++;
    this.counts.queuedBytes += held.size;
  }

  #leave(held: HeldEvent): void {
    held.place = "out";
    this.counts.queued--;
    this.counts.queuedBytes -= held.size;
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
    this.counts.dropped++;
    const passed = oldest.state === "ready";
    this.#lose(oldest);
    // An event in flight to containerd is answered by containerd.
    if (passed) oldest.answer();
    return true;
  }

  aborted(held: HeldEvent, deadline: boolean): void {
    if (held.state === "gone" || (held.place === "out" && held.state === "ready")) return;
    // A publisher whose deadline passed sends the event again. An event whose publisher has gone is kept, if there is
    // room, because nobody will send it again.
    if (!deadline && (held.place !== "outside" || this.#outside.length <= this.#plan.maxQueuedEvents)) return;
    this.counts.expired++;
    this.#onward?.cancel(held);
    this.#lose(held);
  }

  /** Gives the ready events to the readers that wait. */
  deliver(): void {
    this.#takers.deliver();
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
    this.counts.taken += events.length;
    const { acknowledge } = this.#plan;
    if (acknowledge === "done") this.#inHand += events.length;
    else if (acknowledge === "taken") {
      // After the consumer, which runs on promises, and after the end of the process if it throws.
      if (this.#taken.length === 0) setImmediate(() => this.#acknowledgeTaken());
      for (const held of events) this.#taken.push(held);
    }
    this.#fill();
    return events;
  }

  #acknowledgeTaken(): void {
    const taken = this.#taken;
    this.#taken = [];
    for (const held of taken) held.answer();
  }

  get keeps(): boolean {
    return this.#plan.acknowledge === "done";
  }

  takeNow(max: number): HeldEvent[] {
    return this.#takers.takeNow(max);
  }

  take(taker: Taker<HeldEvent>): void {
    this.#takers.add(taker);
  }

  forget(taker: Taker<HeldEvent>): void {
    this.#takers.forget(taker);
  }

  done(events: readonly HeldEvent[]): void {
    this.#inHand -= events.length;
    for (const held of events) held.answer();
    this.#handsFree?.();
  }

  putBack(events: readonly HeldEvent[]): void {
    this.#inHand -= events.length;
    this.counts.taken -= events.length;
    // What nobody would send again is kept for the next loop, even if there will be no other events.
    const kept = this.#stopped ? events.filter(({ waits }) => !waits) : events;
    if (this.#stopped) for (const held of events) if (held.waits) this.#refuse(held, closedError());
    for (const held of kept) this.#enter(held);
    this.#queue.unshift(kept);
    this.#takers.deliverSoon();
    this.#handsFree?.();
  }

  /** Accepts no more events, and refuses those that have no place. */
  stop(): void {
    this.#stopped = true;
    for (const held of this.#outside.clear()) if (isThere(held)) this.#refuse(held, closedError());
  }

  /** Refuses the unacknowledged events, and ends the loops. Resolves when the consumer is done with the events it holds. */
  end(): Promise<void> {
    for (const held of this.#queue.clear()) {
      if (!isThere(held)) continue;
      if (held.waits) this.#refuse(held, closedError());
      else this.#queue.push(held);
    }
    this.deliver();
    this.#acknowledgeTaken();
    return new Promise((resolve) => {
      this.#handsFree = () => this.#inHand === 0 && resolve();
      this.#handsFree();
    });
  }
}

function isThere({ state }: HeldEvent): boolean {
  return state !== "gone";
}

/** The error for an event that arrives at a closed server. */
export function closedError(): TtrpcError {
  return new TtrpcError("the server of events is closed", Code.Unavailable);
}
