/** A reader that waits for events. */
export interface Taker<Item> {
  /** The most events it takes. */
  readonly max: number;
  /** Called once; with undefined when there will be no more events. */
  give(events: Item[] | undefined): void;
}

/** Where a reader takes events. */
export interface EventSource<Item> {
  /** Why there will be no more events, if that is a failure. */
  readonly failure?: Error | undefined;
  /** Whether an event that was taken is acknowledged only when the reader is done with it. */
  readonly keeps: boolean;
  /** Takes up to `max` ready events, unless other readers wait. */
  takeNow(max: number): Item[];
  take(taker: Taker<Item>): void;
  forget(taker: Taker<Item>): void;
  done(events: readonly Item[]): void;
  putBack(events: readonly Item[]): void;
}

/** One loop over events. */
export class EventReader<T, Item> implements AsyncIterableIterator<T> {
  readonly #source: EventSource<Item>;
  readonly #max: number;
  readonly #valueOf: (events: readonly Item[]) => T;
  readonly #takers = new Set<Taker<Item>>();
  #inHand: Item[] = [];
  #left = false;

  constructor(source: EventSource<Item>, max: number, valueOf: (events: readonly Item[]) => T) {
    this.#source = source;
    this.#max = max;
    this.#valueOf = valueOf;
  }

  next(): Promise<IteratorResult<T>> {
    if (this.#left) return Promise.resolve({ value: undefined, done: true });
    if (this.#inHand.length > 0) this.#source.done(this.#inHand.splice(0));
    const ready = this.#source.takeNow(this.#max);
    if (ready.length > 0) return Promise.resolve(this.#give(ready));
    return new Promise((resolve, reject) => {
      const taker: Taker<Item> = {
        max: this.#max,
        give: (events) => {
          this.#takers.delete(taker);
          const failure = events === undefined && !this.#left ? this.#source.failure : undefined;
          if (failure !== undefined) reject(failure);
          else resolve(events === undefined ? { value: undefined, done: true } : this.#give(events));
        },
      };
      this.#takers.add(taker);
      this.#source.take(taker);
    });
  }

  #give(events: Item[]): IteratorResult<T> {
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
