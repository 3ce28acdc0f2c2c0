/** A queue that takes from the front in constant time, and keeps neither what was taken nor, for long, what is dead. */
export class Fifo<T> {
  readonly #isLive: (item: T) => boolean;
  #items: (T | undefined)[] = [];
  #head = 0;
  #dead = 0;

  /** @param isLive - Whether an item still counts. {@link died} reports one that no longer does. */
  constructor(isLive: (item: T) => boolean = () => true) {
    this.#isLive = isLive;
  }

  /** The number of items, including dead ones that are still held. */
  get length(): number {
    return this.#items.length - this.#head;
  }

  /** The item at a place, counted from the front. */
  at(index: number): T | undefined {
    return this.#items[this.#head + index];
  }

  /** The first that is alive. */
  first(): T | undefined {
    for (let item = this.at(0); item !== undefined; item = this.at(0)) {
      if (this.#isLive(item)) return item;
      this.#dead--;
      this.shift();
    }
    return undefined;
  }

  push(item: T): void {
    this.#items.push(item);
  }

  /** Puts items before the first, in their order. */
  unshift(items: readonly T[]): void {
    this.#items = [...items, ...this.#items.slice(this.#head)];
    this.#head = 0;
  }

  /** Puts an item before the first; cheap behind a {@link shift}. */
  unshiftOne(item: T): void {
    if (this.#head > 0) this.#items[--this.#head] = item;
    else this.unshift([item]);
  }

  /** Removes the last. */
  pop(): T | undefined {
    return this.length === 0 ? undefined : this.#items.pop();
  }

  shift(): T | undefined {
    const item = this.at(0);
    if (item === undefined) return undefined;
    this.#items[this.#head++] = undefined;
    // Moving the rest costs no more than was taken since the last time.
    if (this.#head > 64 && this.#head * 2 > this.#items.length) {
      this.#items.splice(0, this.#head);
      this.#head = 0;
    }
    return item;
  }

  /** Reports that an item in the queue is dead. */
  died(): void {
    this.#dead++;
    if (this.#dead > 64 && this.#dead * 2 > this.length) this.sweep();
  }

  /** Removes every dead item. */
  sweep(): void {
    this.#items = this.clear().filter(this.#isLive);
  }

  /** Removes and returns every item. */
  clear(): T[] {
    const items = this.#items.slice(this.#head) as T[];
    this.#items = [];
    this.#head = 0;
    this.#dead = 0;
    return items;
  }
}
