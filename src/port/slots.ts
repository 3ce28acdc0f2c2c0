/** An id is the index of a slot and, above it, how often the slot was used before: late news of an earlier user has another. */
const INDEX_BITS = 20;
const INDEX_MASK = (1 << INDEX_BITS) - 1;
/** Ids stay below 2^31, which V8 keeps without an object of its own. */
const ID_MASK = 2 ** 31 - 1;

/**
 * What is under way, by its id. Not a Map: one whose entries come and go by the thousand is copied all the time, and each
 * copy that V8 has moved to its old generation keeps all later ones, and what they hold, until the next full collection.
 */
export class Slots<T> {
  /** Nothing has the id 0. */
  readonly #values: (T | undefined)[] = [undefined];
  readonly #ids: number[] = [0];
  readonly #free: number[] = [];

  /** Gives `value` an id; undefined if a million values have one. */
  add(value: T): number | undefined {
    const index = this.#free.pop() ?? this.#values.length;
    if (index > INDEX_MASK) return undefined;
    const id = this.#ids[index] ?? index;
    this.set(id, value);
    return id;
  }

  /** Puts `value` where somebody else has given it the id. */
  set(id: number, value: T): void {
    const index = id & INDEX_MASK;
    while (this.#values.length <= index) {
      this.#ids.push(0);
      this.#values.push(undefined);
    }
    this.#ids[index] = id;
    this.#values[index] = value;
  }

  get(id: number): T | undefined {
    const index = id & INDEX_MASK;
    return this.#ids[index] === id ? this.#values[index] : undefined;
  }

  /** Takes a value out, whose id is then nobody's. Returns whether there was one. */
  delete(id: number): boolean {
    const index = id & INDEX_MASK;
    if (this.#ids[index] !== id || this.#values[index] === undefined) return false;
    this.#values[index] = undefined;
    return true;
  }

  /** As `delete`, of one that `add` gave the id: the slot may be used again. */
  free(id: number): boolean {
    if (!this.delete(id)) return false;
    const index = id & INDEX_MASK;
    this.#ids[index] = (id + (1 << INDEX_BITS)) & ID_MASK;
    this.#free.push(index);
    return true;
  }

  *values(): Iterable<T> {
    for (const value of this.#values) if (value !== undefined) yield value;
  }
}
