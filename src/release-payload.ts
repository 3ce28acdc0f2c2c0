import { types } from "node:util";
import { loadNative } from "./native/addon.js";
import { isBytes, kindOf } from "./value-kinds.js";

/**
 * Frees the memory of a payload at once, when the program has finished with it.
 *
 * V8 frees it too, but not before some 32 MiB of payloads have come, so that each is written to memory that no cache holds.
 * A program that reads a stream of large messages gets up to twice as many a second if it releases each of them; see
 * docs/performance.md. Payloads of 8 KiB or more have memory of their own; for smaller ones, arrays of other origin, and the
 * copies that workers get, nothing happens.
 *
 * A bytes field of a large message is a part of the message's payload, so releasing one takes all bytes fields of that
 * message. All that were released have length 0 afterwards.
 *
 * Release only what nobody reads any more: an array that `fs.write` or a socket's `write` has not finished with, or that an
 * interceptor may send again, is still in use.
 *
 * @param payload - What a raw call or request gave, or a bytes field of a message.
 *
 * @throws {TypeError} If it is not a Uint8Array.
 *
 * @example
 * ```ts
 * let size = 0;
 * for await (const chunk of connection.serverStreaming("example.Disk", "Read", request)) {
 *   size += chunk.length;
 *   releasePayload(chunk);
 * }
 * ```
 */
export function releasePayload(payload: Uint8Array): void {
  if (!isBytes(payload)) throw new TypeError(`payload must be a Uint8Array, not ${kindOf(payload)}`);
  const { buffer } = payload;
  if (types.isArrayBuffer(buffer)) loadNative().releasePayload(buffer);
}
