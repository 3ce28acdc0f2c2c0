import type { Decode } from "../codec/payload.js";
import type { BatchReader } from "../native/batch-reader.js";
import type { Named } from "../native/slots.js";

/** A stream by its name: one that this side serves, or one that it opened. */
export interface Stream extends Named {
  readonly served: boolean;
}

/** What a reader of a stream means to its owner. */
export interface QueueOwner extends Stream {
  /** Messages of `queue` were taken, which Rust is to be told. */
  taken(queue: MessageQueue<unknown>): void;
  /** The reader wants no more. Called at most once, and not after the stream has ended and was read to its end. */
  abandoned(): void;
  /** Does something that must not be done while a batch is read; see the bridge's method. */
  defer(action: () => void): void;
}

interface Waiting<T> {
  resolve(result: IteratorResult<T, undefined>): void;
  reject(error: unknown): void;
}

/** Bytes taken before Rust is told while more is waiting. When nothing waits it is told at once. */
const TAKEN_BATCH = 64 * 1024;

/**
 * The messages of a stream that arrived, for one reader. What waits here is bounded by Rust, which does not read a
 * connection on which too much was not taken.
 */
export class MessageQueue<T> implements AsyncIterableIterator<T> {
  readonly #owner: QueueOwner;
  readonly #decode: Decode<T>;
  #messages: Uint8Array[] = [];
  #head = 0;
  #waiting: Waiting<T>[] = [];
  #ended = false;
  #error: unknown;
  #takenMessages = 0;
  #takenBytes = 0;
  #noted = false;

  constructor(owner: QueueOwner, decode: Decode<T>) {
    this.#owner = owner;
    this.#decode = decode;
  }

  /** Adds a message, at which `reader` stands. It is decoded when somebody wants it, which is at once if one waits. */
  push(reader: BatchReader): void {
    if (this.#ended) {
      // Nobody wants it, but it counts until it is taken.
      this.#take(reader.rest);
      return;
    }
    const waiting = this.#waiting.shift();
    if (waiting === undefined) {
      this.#messages.push(reader.payload());
      return;
    }
    this.#take(reader.rest);
    try {
      waiting.resolve({ value: reader.read(this.#decode), done: false });
    } catch (error) {
      this.#giveUp();
      waiting.reject(error);
    }
  }

  /** No more comes; with an error, the reader gets it behind the messages that wait. */
  end(error?: unknown): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#error = error;
    for (const waiting of this.#waiting.splice(0)) this.#finish(waiting);
  }

  /** Drops what waits, and ends with an error. */
  fail(error: unknown): void {
    const dropped = this.#messages.slice(this.#head);
    this.#messages = [];
    this.#head = 0;
    for (const message of dropped) this.#take(message.length);
    // A reader that did not get all must not take the end for that of the whole.
    if (dropped.length > 0) this.#error = error;
    this.end(error);
  }

  next(): Promise<IteratorResult<T, undefined>> {
    const message = this.#messages[this.#head];
    if (message !== undefined) {
      this.#advance();
      this.#take(message.length);
      try {
        return Promise.resolve({ value: this.#decode(message, 0, message.length, true), done: false });
      } catch (error) {
        this.#giveUp();
        return Promise.reject(error);
      }
    }
    return new Promise((resolve, reject) => {
      const waiting = { resolve, reject };
      if (this.#ended) this.#finish(waiting);
      else this.#waiting.push(waiting);
    });
  }

  /** Ends the stream before its end: the `break` of a `for await`. */
  return(): Promise<IteratorResult<T, undefined>> {
    const unread = this.#messages.length > this.#head;
    const abandoned = !this.#ended || unread;
    this.fail(undefined);
    this.#error = undefined;
    if (abandoned) this.#owner.abandoned();
    return Promise.resolve({ value: undefined, done: true });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  /** What was taken since the last call, for Rust. */
  takeReport(): { stream: Stream; messages: number; bytes: number } {
    const report = { stream: this.#owner, messages: this.#takenMessages, bytes: this.#takenBytes };
    this.#takenMessages = 0;
    this.#takenBytes = 0;
    this.#noted = false;
    return report;
  }

  #advance(): void {
    this.#head++;
    if (this.#head === this.#messages.length) {
      this.#messages = [];
      this.#head = 0;
    } else if (this.#head === 1024) {
      this.#messages = this.#messages.slice(this.#head);
      this.#head = 0;
    }
  }

  #take(bytes: number): void {
    this.#takenMessages++;
    this.#takenBytes += bytes;
    if (!this.#noted && (this.#messages.length === 0 || this.#takenBytes >= TAKEN_BATCH)) {
      this.#noted = true;
      this.#owner.taken(this);
    }
  }

  /** A message does not decode: what follows is not to be trusted either. */
  #giveUp(): void {
    const abandoned = !this.#ended;
    this.fail(undefined);
    if (abandoned) this.#owner.defer(() => this.#owner.abandoned());
  }

  #finish(waiting: Waiting<T>): void {
    const error = this.#error;
    // An iterator throws once and is done from then on.
    this.#error = undefined;
    if (error === undefined) waiting.resolve({ value: undefined, done: true });
    else waiting.reject(error);
  }
}
