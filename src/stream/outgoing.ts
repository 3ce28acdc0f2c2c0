import type { Payload } from "../codec/payload.js";
import { isRevoked, textOf } from "../values.js";

/** What a caller or handler gives for a stream of messages, and how a payload is made of each. */
export interface Outgoing {
  readonly iterator: AsyncIterator<unknown> | Iterator<unknown>;
  readonly encode: (message: unknown) => Payload;
}

/** The iterator of messages. Throws a TypeError that says what they are if they cannot be iterated. */
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

/** What an iterator gave. Throws a TypeError if it is not what iterators give. */
export function checkedResult(result: unknown, what: string): IteratorResult<unknown, unknown> {
  if (typeof result === "object" && result !== null) return result as IteratorResult<unknown, unknown>;
  throw new TypeError(`the iterator of ${what} gave ${textOf(result)}, which is no iterator result`);
}
