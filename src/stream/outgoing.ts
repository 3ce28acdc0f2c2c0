import type { Payload } from "../codec/payload.js";
import { Code } from "../code.js";
import { type CalledMethod, TtrpcError } from "../error.js";
import { isRevoked, kindOf, textOf } from "../value-kinds.js";

/** The messages that a caller or handler streams, and how each becomes a payload. */
export interface Outgoing {
  readonly iterator: AsyncIterator<unknown> | Iterator<unknown>;
  readonly encode: (message: unknown) => Payload;
}

/** Makes the error for what cannot be iterated. */
export type Refuse = (text: string) => Error;

/** For what a caller gave: a wrong argument. */
const wrongArgument: Refuse = (text) => new TypeError(text);

/** For what a handler, or an interceptor around it, gave: a fault of the server, which its caller learns as such. */
export const wrongResponses: Refuse = (text) => new TtrpcError(text, Code.Internal);

/** What errors call the responses of a method whose server streams. */
export function responsesOf({ service, method }: CalledMethod): string {
  return `what the handler of ${service}/${method} returns`;
}

/** The iterator of messages. Throws an error that names them if they cannot be iterated. */
export function iteratorOf<T>(
  messages: AsyncIterable<T> | Iterable<T>,
  what: string,
  refuse = wrongArgument,
): AsyncIterator<T> | Iterator<T> {
  if (typeof messages === "object" && messages !== null && !isRevoked(messages)) {
    if (isWebStream(messages)) return readerOf(messages);
    const iterate = methodOf(messages, Symbol.asyncIterator) ?? methodOf(messages, Symbol.iterator);
    const iterator: unknown = iterate?.call(messages);
    if (typeof (iterator as { next?: unknown } | null | undefined)?.next === "function") {
      const found = iterator as AsyncIterator<T> | Iterator<T>;
      return isNodeStream(messages) ? destroying(messages, found) : found;
    }
  }
  throw refuse(`${what} must be an AsyncIterable, not ${kindOf(messages)}`);
}

function methodOf(messages: object, name: symbol | string): (() => unknown) | undefined {
  const method: unknown = Reflect.get(messages, name);
  return typeof method === "function" ? (method as () => unknown) : undefined;
}

/** A Readable of any copy of Node's streams. */
interface NodeStream {
  on(event: "error", listener: () => void): unknown;
  destroy(): void;
}

function isNodeStream(messages: unknown): messages is NodeStream {
  return hasMethods(messages, ["pipe", "on", "destroy"]);
}

function isWebStream(messages: unknown): messages is ReadableStream {
  return hasMethods(messages, ["getReader", "cancel"]);
}

function hasMethods(messages: unknown, names: readonly string[]): boolean {
  if (typeof messages !== "object" || messages === null) return false;
  try {
    return names.every((name) => methodOf(messages, name) !== undefined);
  } catch {
    // An iterable that refuses to be asked for what it lacks is still one.
    return false;
  }
}

/** An iterator of a web stream, which it cancels when it is left. The stream's own does not while a message is awaited. */
function readerOf(stream: ReadableStream): AsyncIterator<never> {
  const reader = stream.getReader();
  return {
    async next() {
      let isOver = true;
      try {
        const result = await reader.read();
        isOver = result.done;
        return result as IteratorResult<never>;
      } finally {
        if (isOver) reader.releaseLock();
      }
    },
    async return() {
      await reader.cancel();
      reader.releaseLock();
      return { value: undefined, done: true };
    },
  };
}

/**
 * The iterator of a Node stream, which it destroys when it is left. The stream's own does so only after its first message,
 * and not while the next one is awaited, which may never come: the stream, and its descriptor, would stay open.
 */
function destroying<T>(stream: NodeStream, iterator: AsyncIterator<T> | Iterator<T>): AsyncIterator<T> {
  // The iterator reports an error, but only once it is asked. Until then it must not be uncaught.
  stream.on("error", () => undefined);
  return {
    next: () => iterator.next() as Promise<IteratorResult<T>>,
    async return() {
      stream.destroy();
      return (await iterator.return?.()) ?? { value: undefined, done: true };
    },
  };
}

/** Checks what an iterator returned. Throws an error that names the messages if it is not an iterator result. */
export function checkedResult(
  result: unknown,
  what: string,
  refuse = wrongArgument,
): IteratorResult<unknown, unknown> {
  if (typeof result === "object" && result !== null) return result as IteratorResult<unknown, unknown>;
  throw refuse(`the iterator of ${what} gave ${textOf(result)}, which is not an iterator result`);
}

/**
 * Calls an iterator's `return`, or ends a stream, in a microtask of its own: it is user code, and a batch may be being
 * read. Resolves when it has settled, and never rejects, because by then the call has its outcome.
 */
export async function leave(messages: unknown): Promise<void> {
  await Promise.resolve();
  try {
    if (isNodeStream(messages)) messages.destroy();
    else if (isWebStream(messages)) await messages.cancel();
    else await (messages as Partial<AsyncIterator<unknown>> | undefined)?.return?.();
  } catch {
    // Nobody is left who could want the error.
  }
}
