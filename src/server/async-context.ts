import { AsyncLocalStorage } from "node:async_hooks";
import { iteratorOf } from "../stream/outgoing.js";

/**
 * Makes the code of a handler's iterable run in the async context in which this is called. A generator's code runs when
 * its messages are asked for, which is long after the interceptors have returned: without this, an AsyncLocalStorage that
 * they entered would not hold for it. Anything that is not iterable is returned as it is; the server refuses it.
 */
export function inThisContext(responses: unknown): unknown {
  let iterator: AsyncIterator<unknown> | Iterator<unknown>;
  try {
    iterator = iteratorOf(responses as AsyncIterable<unknown>, "what the handler returns");
  } catch {
    return responses;
  }
  const run = AsyncLocalStorage.snapshot();
  return {
    next: () => run(() => iterator.next()),
    return: (value?: unknown) => run(() => iterator.return?.(value) ?? { value, done: true }),
    [Symbol.asyncIterator]() {
      return this;
    },
  };
}
