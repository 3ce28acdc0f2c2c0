import { Buffer } from "node:buffer";
import { constants } from "node:os";
import { readSync } from "node:fs";

const INPUT_LIMIT = 10 << 20;

/** How long to wait before stdin is read again that has nothing now and does not block. */
const RETRY_MS = 5;

/** All of stdin, which is a pipe that containerd closes, or /dev/null. Throws the system's error. */
export function readStdin(): Buffer {
  const chunks: Buffer[] = [];
  for (let size = 0; ;) {
    const chunk = Buffer.alloc(64 << 10);
    const length = readNow(chunk);
    if (length === 0) return Buffer.concat(chunks);
    if (length === undefined) {
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, RETRY_MS);
      continue;
    }
    size += length;
    if (size > INPUT_LIMIT) throw new Error(`stdin holds more than ${INPUT_LIMIT} bytes`);
    chunks.push(chunk.subarray(0, length));
  }
}

/** Undefined if there is nothing yet: whether stdin blocks was decided by whoever has it, too. */
function readNow(into: Buffer): number | undefined {
  try {
    return readSync(0, into);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).errno !== -constants.errno.EAGAIN) throw error;
    return undefined;
  }
}
