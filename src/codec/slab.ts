/** Bytes of one slab. A view that is kept keeps its slab, so it is small. */
const SLAB_SIZE = 16 << 10;

let slab = new Uint8Array(SLAB_SIZE);
let used = 0;

/**
 * Bytes to be kept, cut from a larger array: of an array of its own, making and collecting costs more than all else that
 * is done with a message of this size.
 */
export function keptBytes(size: number): Uint8Array {
  if (size > SLAB_SIZE / 4) return new Uint8Array(size);
  if (used + size > SLAB_SIZE) {
    slab = new Uint8Array(SLAB_SIZE);
    used = 0;
  }
  return slab.subarray(used, (used += size));
}

/** A copy of the part of `bytes` from `at` to `end`. */
export function keptCopy(bytes: Uint8Array, at: number, end: number): Uint8Array {
  const copy = keptBytes(end - at);
  copy.set(bytes.subarray(at, end));
  return copy;
}
