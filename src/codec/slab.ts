/** Bytes of one slab. It is small, because an array that is cut from it keeps all of it alive. */
const SLAB_SIZE = 16 << 10;

/** The same for what waits in one queue: a queue may keep two of them for a single byte. */
const QUEUE_SLAB_SIZE = 4 << 10;

/**
 * While this many owners, such as requests, keep what they got for longer than a moment, the next ones get arrays of
 * their own. So peers cannot make small payloads keep more than 16 MiB of slabs alive.
 */
export const SLAB_OWNERS = 1024;

/**
 * Cuts arrays from larger ones. Allocating and collecting a separate array costs more than everything else that is done
 * with a message of this size.
 */
class Slab {
  readonly #most: number;
  #next: number;
  #slab = new Uint8Array(0);
  #used = 0;

  /**
   * @param first - Bytes of the first slab, or of its first array, if that is larger.
   * @param most - Bytes of the last ones; each has twice the bytes of the one before.
   */
  constructor(first: number, most: number) {
    this.#next = first;
    this.#most = most;
  }

  /** Copies the part of `bytes` from `at` to `end`. */
  copy(bytes: Uint8Array, at: number, end: number): Uint8Array {
    const size = end - at;
    if (size > this.#most / 4) return ownCopy(bytes, at, end);
    // A program that transfers the memory of an array to another thread empties the whole slab.
    if (this.#used + size > this.#slab.length) {
      const next = Math.max(this.#next, size);
      this.#slab = new Uint8Array(next);
      this.#next = Math.min(2 * next, this.#most);
      this.#used = 0;
    }
    const copy = this.#slab.subarray(this.#used, (this.#used += size));
    copy.set(bytes.subarray(at, end));
    return copy;
  }
}

/** Copies the part of `bytes` from `at` to `end` into memory of its own. */
export function ownCopy(bytes: Uint8Array, at: number, end: number): Uint8Array {
  const copy = new Uint8Array(end - at);
  copy.set(bytes.subarray(at, end));
  return copy;
}

const shared = new Slab(SLAB_SIZE, SLAB_SIZE);

/** Copies the part of `bytes` from `at` to `end`, for one who waits for it or is one of a few that keep such copies. */
export function keptCopy(bytes: Uint8Array, at: number, end: number): Uint8Array {
  return shared.copy(bytes, at, end);
}

/** How to copy what is kept as long as `owners` others. */
export function copyFor(owners: number): typeof keptCopy {
  return owners < SLAB_OWNERS ? keptCopy : ownCopy;
}

/**
 * The copies that wait in one queue, most of which leave in the order in which they came. No other copy keeps their slabs
 * alive, and they keep none of others.
 */
export class QueueSlab extends Slab {
  constructor() {
    super(0, QUEUE_SLAB_SIZE);
  }
}
