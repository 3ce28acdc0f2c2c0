/** Bytes of one slab. It is small, because a view keeps its whole slab alive. */
const SLAB_SIZE = 16 << 10;

let slab = new Uint8Array(SLAB_SIZE);
let used = 0;

/**
 * Cuts bytes from a larger array, to be kept. Allocating and collecting a separate array costs more than everything
 * else that is done with a message of this size.
 */
export function keptBytes(size: number): Uint8Array {
  if (size > SLAB_SIZE / 4) return new Uint8Array(size);
  if (used + size > SLAB_SIZE) {
    slab = new Uint8Array(SLAB_SIZE);
    used = 0;
  }
  return slab.subarray(used, (used += size));
}

/** Copies the part of `bytes` from `at` to `end`. */
export function keptCopy(bytes: Uint8Array, at: number, end: number): Uint8Array {
  const copy = keptBytes(end - at);
  copy.set(bytes.subarray(at, end));
  return copy;
}
