import type { Payload } from "../codec/payload.js";
import { isRevoked, textOf } from "../value-kinds.js";

/** The messages that a caller or handler streams, and how each becomes a payload. */
export interface Outgoing {
  readonly iterator: AsyncIterator<unknown> | Iterator<unknown>;
  readonly encode: (message: unknown) => Payload;
}

/** The iterator of messages. Throws a TypeError that names them if they cannot be iterated. */
export function iteratorOf<T>(
  messages: AsyncIterable<T> | Iterable<T>,
  what: string,
): AsyncIterator<T> | Iterator<T> {
  if (typeof messages === "object" && messages !== null && !isRevoked(messages)) {
    const iterate = methodOf(messages, Symbol.asyncIterator) ?? methodOf(messages, Symbol.iterator);
    const iterator: unknown = iterate?.call(messages);
    if (typeof (iterator as { next?: unknown } | null | undefined)?.next === "function") {
      return iterator as AsyncIterator<T> | Iterator<T>;
    }
  }
  throw new TypeError(`${what} must be an AsyncIterable`);
}

function methodOf(messages: object, name: symbol): (() => unknown) | undefined {
  const method: unknown = Reflect.get(messages, name);
  return typeof method === "function" ? (method as () => unknown) : undefined;
}

/** Checks what an iterator returned. Throws a TypeError if it is not an iterator result. */
export function checkedResult(result: unknown, what: string): IteratorResult<unknown, unknown> {
  if (typeof result === "object" && result !== null) return result as IteratorResult<unknown, unknown>;
  throw new TypeError(`the iterator of ${what} gave ${textOf(result)}, which is not an iterator result`);
}

/**
 * Calls an iterator's `return`, in a microtask of its own: it is user code, and a batch may be being read. Resolves when
 * it has settled, and never rejects, because by then the call has its outcome.
 */
export async function leave(iterator: AsyncIterator<unknown> | Iterator<unknown> | undefined): Promise<void> {
  await Promise.resolve();
  try {
    await iterator?.return?.();
  } catch {
    // Nobody is left who could want the error.
  }
}
