import { bytes, deferred, text } from "./outcome.js";

/** All items of an iterable, in order. */
export async function collect<T>(iterable: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of iterable) all.push(item);
  return all;
}

/** Messages with these texts. */
export async function* several(...messages: string[]): AsyncGenerator<Uint8Array> {
  for (const message of messages) yield bytes(message);
}

/** The texts of all messages of a stream, in order. */
export async function collectTexts(stream: AsyncIterable<Uint8Array>): Promise<string[]> {
  return (await collect(stream)).map(text);
}

/** The first item of an iterable, which is left open. */
export async function firstOf<T>(iterable: AsyncIterable<T>): Promise<{ first: T; rest: AsyncIterator<T> }> {
  const rest = iterable[Symbol.asyncIterator]();
  const { value, done } = await rest.next();
  if (done === true) throw new Error("the stream has ended before its first message");
  return { first: value, rest };
}

/** `count` items. */
export async function* times<T>(count: number, item: (index: number) => T): AsyncGenerator<T> {
  for (let index = 0; index < count; index++) yield item(index);
}

/** An iterable that records how it is read. It has no end unless it is given a `count`. */
export class Source<T> implements AsyncIterable<T> {
  /** How many items were taken. */
  taken = 0;
  /** Resolves when the reader has left or has reached the end. */
  readonly left: Promise<void>;
  readonly #item: (index: number) => T | Promise<T>;
  readonly #count: number;
  readonly #leave: () => void;

  constructor(item: (index: number) => T | Promise<T>, count = Infinity) {
    const { promise, resolve } = deferred();
    this.left = promise;
    this.#leave = resolve;
    this.#item = item;
    this.#count = count;
  }

  [Symbol.asyncIterator](): AsyncIterator<T> {
    const over = (): IteratorResult<T> => {
      this.#leave();
      return { value: undefined, done: true };
    };
    return {
      next: async () => {
        if (this.taken >= this.#count) return over();
        return { value: await this.#item(this.taken++), done: false };
      },
      return: async () => over(),
    };
  }
}

/** Calls `tick` until a number has not changed for a while, and resolves to it. */
export async function standstill(count: () => number, tick: () => Promise<unknown>): Promise<number> {
  const TICKS = 200;
  let last = count();
  for (let still = 0; still < TICKS; still++) {
    await tick();
    const now = count();
    if (now !== last) [last, still] = [now, 0];
  }
  return last;
}
