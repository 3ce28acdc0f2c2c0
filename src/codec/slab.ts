/** Bytes of one slab. It is small, because an array that is cut from it keeps all of it alive. */
const SLAB_SIZE = 16 << 10;

/**
 * While this many owners, such as requests, keep what they got for longer than a moment, the next ones get arrays of
 * their own. So peers cannot make small payloads keep more than 16 MiB of slabs alive.
 */
export const SLAB_OWNERS = 1024;

/**
 * Cuts arrays from larger ones. Allocating and collecting a separate array costs more than everything else that is done
 * with a message of this size.
 */
export class Slab {
  #slab = new Uint8Array(0);
  #used = 0;

  /** Copies the part of `bytes` from `at` to `end`. If a slab is begun, it has `next` bytes, up to 16 KiB. */
  copy(bytes: Uint8Array, at: number, end: number, next: number): Uint8Array {
    const size = end - at;
    if (size > SLAB_SIZE / 4) return ownCopy(bytes, at, end);
    // A program that transfers the memory of an array to another thread empties the whole slab.
    if (this.#used + size > this.#slab.length) {
      this.#slab = new Uint8Array(Math.max(Math.min(next, SLAB_SIZE), size));
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

const shared = new Slab();

/** Copies the part of `bytes` from `at` to `end`, for one who waits for it or is one of a few that keep such copies. */
export function keptCopy(bytes: Uint8Array, at: number, end: number): Uint8Array {
  return shared.copy(bytes, at, end, SLAB_SIZE);
}

/** How to copy what is kept while `owners` others keep what they got. */
export function copyFor(owners: number): typeof keptCopy {
  return owners < SLAB_OWNERS ? keptCopy : ownCopy;
}
