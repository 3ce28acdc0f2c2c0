import { Code } from "../code.js";
import { throwLater, TtrpcError } from "../error.js";
import type { ContainerdEvent } from "./event.js";
import type { EventSource, Taker } from "./event-reader.js";
import { Fifo } from "./fifo.js";
import type { EventGap, SubscriptionCounts, SubscriptionPlan } from "./subscribe-options.js";
import { Takers } from "./takers.js";
import type { Unpacked } from "./unpacking.js";

/** An event that waits for the consumer. */
export interface QueuedEvent extends Unpacked {
  readonly size: number;
  /** When it happened, by {@link happenedAt}. */
  readonly happened: number;
}

type Entry = QueuedEvent | { readonly gap: EventGap };

/**
 * The events of a subscription, and the gaps between them, until the consumer takes them. Two gaps are never next to
 * each other, so the limit on events is also one on gaps.
 */
export class SubscriptionQueue implements EventSource<QueuedEvent> {
  /** An event that was given to the consumer is forgotten: nobody could send it again. */
  readonly keeps = false;
  /** Why there will be no more events, if that is a failure. */
  failure: TtrpcError | undefined;
  /** The outcomes of the events so far. */
  readonly counts: { -readonly [Name in keyof SubscriptionCounts]: SubscriptionCounts[Name] } = {
    received: 0,
    taken: 0,
    dropped: 0,
    invalid: 0,
    lost: 0,
    queued: 0,
    queuedBytes: 0,
  };
  #reached = 0;
  readonly #plan: SubscriptionPlan;
  readonly #queue = new Fifo<Entry>();
  readonly #takers = new Takers<QueuedEvent>(
    (max) => this.#takeUpTo(max),
    () => this.#ended && this.#queue.length === 0,
  );
  #ended = false;
  #roomWaiter: (() => void) | undefined;

  constructor(plan: SubscriptionPlan) {
    this.#plan = plan;
  }

  /**
   * When the last event that came had happened, or the subscription began: nothing that happened before is missing. It
   * is never later than now: if the clock is set back, what happens until it has caught up must count as missing, too.
   */
  get reached(): number {
    return (this.#reached = Math.min(this.#reached, Date.now()));
  }

  set reached(ms: number) {
    this.#reached = ms;
  }

  /** Adds an event. Resolves when the next may come; returns undefined if that is at once. */
  push({ event, isHeavy }: Unpacked, size: number): Promise<void> | undefined {
    if (this.#ended) return undefined;
    const { whenFull } = this.#plan;
    this.counts.received++;
    const happened = happenedAt(event, Date.now());
    this.#reached = Math.max(this.reached, happened);
    if (whenFull === "dropOldest") while (!this.#hasRoomFor(size)) this.#dropOldest();
    else if (whenFull === "fail" && !this.#hasRoomFor(size)) {
      this.counts.dropped++;
      this.end(new TtrpcError("the queue of events is full", Code.ResourceExhausted));
      return undefined;
    }
    this.#queue.push({ event, isHeavy, size, happened });
    this.counts.queued++;
    this.counts.queuedBytes += size;
    this.#takers.deliverSoon();
    if (whenFull !== "wait" || this.#hasRoomFor(0)) return undefined;
    return new Promise((resolve) => (this.#roomWaiter = resolve));
  }

  /** Marks a place where events may be missing: behind all that came so far. */
  markGap(gap: EventGap): void {
    if (this.#ended) return;
    const last = this.#queue.at(this.#queue.length - 1);
    if (last !== undefined && "gap" in last) {
      const merged = joined(last.gap, gap);
      this.#queue.pop();
      this.#queue.push({ gap: merged });
    } else this.#queue.push({ gap });
    this.#takers.deliverSoon();
  }

  /** Lets the loops end once they have taken what waits; with a failure, they throw it. */
  end(failure?: TtrpcError): void {
    if (this.#ended) return;
    this.#ended = true;
    this.failure = failure;
    this.#roomWaiter?.();
    this.#takers.deliverSoon();
  }

  #hasRoomFor(size: number): boolean {
    const { queued, queuedBytes } = this.counts;
    const { maxQueuedEvents, maxQueuedBytes } = this.#plan;
    // An event larger than the whole queue fits only when the queue is empty.
    return queued === 0 || (queued < maxQueuedEvents && queuedBytes + size <= maxQueuedBytes);
  }

  #dropOldest(): void {
    const first = this.#queue.shift();
    if (first === undefined) return;
    const oldest = "gap" in first ? (this.#queue.shift() as QueuedEvent) : first;
    let gap: EventGap = { since: new Date(oldest.happened), dropped: 1, error: undefined };
    if ("gap" in first) gap = joined(first.gap, gap);
    const next = this.#queue.at(0);
    if (next !== undefined && "gap" in next) {
      gap = joined(gap, next.gap);
      this.#queue.shift();
    }
    this.#queue.unshiftOne({ gap });
    this.counts.dropped++;
    this.#leave(oldest);
  }

  #leave({ size }: QueuedEvent): void {
    this.counts.queued--;
    this.counts.queuedBytes -= size;
  }

  takeNow(max: number): QueuedEvent[] {
    return this.#takers.takeNow(max);
  }

  take(taker: Taker<QueuedEvent>): void {
    this.#takers.add(taker);
  }

  forget(taker: Taker<QueuedEvent>): void {
    this.#takers.forget(taker);
  }

  done(): void {}
  putBack(): void {}

  #takeUpTo(max: number): QueuedEvent[] {
    const events: QueuedEvent[] = [];
    while (events.length < max) {
      const entry = this.#queue.at(0);
      if (entry === undefined) break;
      if ("gap" in entry) {
        // Events before a gap and behind it are not in one batch.
        if (events.length > 0) break;
        this.#queue.shift();
        this.#report(entry.gap);
        continue;
      }
      this.#queue.shift();
      this.#leave(entry);
      events.push(entry);
    }
    this.counts.taken += events.length;
    if (this.#roomWaiter !== undefined && this.#hasRoomFor(0)) {
      this.#roomWaiter();
      this.#roomWaiter = undefined;
    }
    return events;
  }

  #report(gap: EventGap): void {
    try {
      this.#plan.onGap?.(gap);
    } catch (error) {
      throwLater(error);
    }
  }
}

/**
 * When an event happened: it may have come long after, to a process that was busy or stopped. An event without a time,
 * or with one in the future, counts as of `now`.
 */
function happenedAt({ timestamp: { seconds, nanos } }: ContainerdEvent, now: number): number {
  const ms = Number(seconds) * 1000 + Math.floor(nanos / 1e6);
  return ms > 0 && ms < now ? ms : now;
}

/** One gap for two with nothing between them. The second may have begun before, if events came late or a clock was set back. */
function joined(first: EventGap, second: EventGap): EventGap {
  return {
    since: first.since < second.since ? first.since : second.since,
    dropped: first.dropped + second.dropped,
    error: first.error ?? second.error,
  };
}
