import { nextTick } from "../next-tick.js";
import type { Taker } from "./event-reader.js";

/** The readers that wait for a queue's events, in the order in which they asked. */
export class Takers<Item> {
  readonly #waiting = new Set<Taker<Item>>();
  readonly #takeUpTo: (max: number) => Item[];
  readonly #isOver: () => boolean;
  #delivering = false;

  /**
   * @param takeUpTo - Takes up to so many events out of the queue.
   * @param isOver - Whether the queue is empty and stays so.
   */
  constructor(takeUpTo: (max: number) => Item[], isOver: () => boolean) {
    this.#takeUpTo = takeUpTo;
    this.#isOver = isOver;
  }

  /** Takes up to `max` events at once; none if others wait, who come first. */
  takeNow(max: number): Item[] {
    return this.#waiting.size > 0 ? [] : this.#takeUpTo(max);
  }

  add(taker: Taker<Item>): void {
    this.#waiting.add(taker);
    this.deliver();
  }

  forget(taker: Taker<Item>): void {
    this.#waiting.delete(taker);
  }

  /** Gives the queue's events to those who wait; if there will be no more, tells them so. */
  deliver(): void {
    for (const taker of this.#waiting) {
      const events = this.#takeUpTo(taker.max);
      const over = events.length === 0 && this.#isOver();
      if (events.length === 0 && !over) return;
      this.#waiting.delete(taker);
      taker.give(over ? undefined : events);
    }
  }

  /** Delivers once, at the end of the tick, whatever comes until then. */
  deliverSoon(): void {
    if (this.#delivering) return;
    this.#delivering = true;
    nextTick(() => {
      this.#delivering = false;
      this.deliver();
    });
  }
}
