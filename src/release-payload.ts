import { types } from "node:util";
import { loadNative } from "./native/addon.js";
import { isBytes, kindOf } from "./value-kinds.js";

/**
 * Frees the memory of a payload at once, when the program has finished with it.
 *
 * V8 would free it, too, but only after some 32 MiB of payloads have arrived, so each payload is written to memory that
 * is in no processor cache. A program that reads a stream of large messages reads more messages a second if it releases
 * each one; docs/performance.md has figures. Payloads of 8 KiB or more have memory of their own. For smaller payloads,
 * and for arrays that did not come from a peer, nothing happens.
 *
 * A bytes field of a large message is a view of the message's payload, so releasing one releases all bytes fields of that
 * message. They have length 0 afterwards.
 *
 * Release only payloads that nothing reads any more: one that `fs.write` or a socket's `write` has not finished with, or
 * that an interceptor may send again, is still in use.
 *
 * @param payload - The bytes that a raw call or request gave, or a bytes field of a message.
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
