import type { ContainerdEvent } from "./event.js";
import type { HeldEvent } from "./held-event.js";

/** A reader that waits for events. */
export interface Taker {
  /** The most events it takes. */
  readonly max: number;
  /** Called once; with undefined when there will be no more events. */
  give(events: HeldEvent[] | undefined): void;
}

/** Where a reader takes events. */
export interface EventSource {
  /** Whether an event that was taken is acknowledged only when the reader is done with it. */
  readonly keeps: boolean;
  /** Takes up to `max` ready events, unless other readers wait. */
  takeNow(max: number): HeldEvent[];
  take(taker: Taker): void;
  forget(taker: Taker): void;
  done(events: readonly HeldEvent[]): void;
  putBack(events: readonly HeldEvent[]): void;
}

/** One loop over events. */
export class EventReader<T> implements AsyncIterableIterator<T> {
  readonly #source: EventSource;
  readonly #max: number;
  readonly #valueOf: (events: readonly HeldEvent[]) => T;
  readonly #takers = new Set<Taker>();
  #inHand: HeldEvent[] = [];
  #left = false;

  constructor(source: EventSource, max: number, valueOf: (events: readonly HeldEvent[]) => T) {
    this.#source = source;
    this.#max = max;
    this.#valueOf = valueOf;
  }

  next(): Promise<IteratorResult<T>> {
    if (this.#left) return Promise.resolve({ value: undefined, done: true });
    if (this.#inHand.length > 0) this.#source.done(this.#inHand.splice(0));
    const ready = this.#source.takeNow(this.#max);
    if (ready.length > 0) return Promise.resolve(this.#give(ready));
    return new Promise((resolve) => {
      const taker: Taker = {
        max: this.#max,
        give: (events) => {
          this.#takers.delete(taker);
          resolve(events === undefined ? { value: undefined, done: true } : this.#give(events));
        },
      };
      this.#takers.add(taker);
      this.#source.take(taker);
    });
  }

  #give(events: HeldEvent[]): IteratorResult<T> {
    if (this.#source.keeps) this.#inHand = [...this.#inHand, ...events];
    return { value: this.#valueOf(events), done: false };
  }

  return(): Promise<IteratorResult<T>> {
    this.#left = true;
    for (const taker of this.#takers) {
      this.#source.forget(taker);
      taker.give(undefined);
    }
    if (this.#inHand.length > 0) this.#source.putBack(this.#inHand.splice(0));
    return Promise.resolve({ value: undefined, done: true });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}

/** The events themselves. */
export function eventsOf(held: readonly HeldEvent[]): ContainerdEvent[] {
  return held.map(({ event }) => event);
}
