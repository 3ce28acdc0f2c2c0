import { rejectLater } from "../client/call-site.js";
import type { Decode } from "../codec/payload.js";
import { Slab, SLAB_OWNERS } from "../codec/slab.js";
import { addFrames } from "../error.js";
import type { BatchReader } from "../native/batch-reader.js";
import type { Named } from "../native/slots.js";

/** A stream by its name. This side either serves it or opened it. */
export interface Stream extends Named {
  readonly served: boolean;
}

/** The owner of a queue, which hears what its reader does. */
export interface QueueOwner extends Stream {
  /** Messages of `queue` were taken; Rust must be told. */
  taken(queue: MessageQueue<unknown>): void;
  /**
   * The reader stopped early, because of an error if there is one. Called at most once, and never after the stream was read
   * to its end.
   */
  abandoned(error?: unknown): void;
  /** A message does not decode, so what follows cannot be trusted either. Returns the error that the reader gets. */
  undecoded(error: unknown): unknown;
}

interface Waiting<T> {
  resolve(result: IteratorResult<T, undefined> | Promise<never>): void;
  reject(error: unknown): void;
}

/** While more messages wait, Rust is told after this many bytes were taken. When none waits, it is told at once. */
const TAKEN_BATCH = 64 * 1024;

/**
 * The messages that wait in all queues. One that was forgotten with messages in it counts for good, which only makes
 * copies a little slower.
 */
let allWaiting = 0;

/**
 * The messages of a stream that have arrived, for one reader. Rust bounds the queue: it stops reading a connection on
 * which too many bytes were not taken.
 */
export class MessageQueue<T> implements AsyncIterableIterator<T> {
  readonly #owner: QueueOwner;
  readonly #decode: Decode<T>;
  /** The messages that wait, from `#head` on. Those before it were taken, and are not kept. */
  #messages: (Uint8Array | undefined)[] = [];
  #waitingBytes = 0;
  /** For the messages that wait while many do. It holds none of other queues. */
  #slab: Slab | undefined;
  #head = 0;
  #waiting: Waiting<T>[] = [];
  #ended = false;
  #error: unknown;
  #takenMessages = 0;
  #takenBytes = 0;
  #noted = false;
  /** Whether the reader has had the end or the error, or has left. */
  isOver = false;

  constructor(owner: QueueOwner, decode: Decode<T>) {
    this.#owner = owner;
    this.#decode = decode;
  }

  /** Adds the message at which `reader` stands. It is decoded when it is read, which is at once if a reader waits. */
  push(reader: BatchReader): void {
    if (this.#ended) {
      // Nobody will read it, but Rust counts it until it is taken.
      this.#take(reader.rest);
      return;
    }
    const waiting = this.#waiting.shift();
    if (waiting === undefined) {
      this.#messages.push(this.#copy(reader));
      this.#waitingBytes += reader.rest;
      allWaiting++;
      return;
    }
    this.#take(reader.rest);
    try {
      waiting.resolve({ value: reader.read(this.#decode), done: false });
    } catch (error) {
      rejectLater(waiting.resolve, waiting.reject, this.#undecoded(error));
    }
  }

  /** No more messages will come. The reader gets the error, if any, after the messages that wait. */
  end(error?: unknown): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#error = error;
    for (const waiting of this.#waiting.splice(0)) this.#finish(waiting);
  }

  /** Drops the messages that wait, and ends with an error. */
  fail(error: unknown): void {
    const dropped = this.#messages.slice(this.#head) as Uint8Array[];
    allWaiting -= dropped.length;
    this.#empty();
    for (const message of dropped) this.#take(message.length);
    // A reader that missed messages must not take this for the regular end.
    if (dropped.length > 0) this.#error = error;
    this.end(error);
  }

  next(): Promise<IteratorResult<T, undefined>> {
    const message = this.#messages[this.#head];
    if (message !== undefined) {
      this.#waitingBytes -= message.length;
      allWaiting--;
      this.#advance();
      this.#take(message.length);
      try {
        return Promise.resolve({ value: this.#decode(message, 0, message.length, true), done: false });
      } catch (reason) {
        const error = this.#undecoded(reason);
        addFrames(error, this.next);
        return Promise.reject(error);
      }
    }
    return new Promise((resolve, reject) => {
      const waiting = { resolve, reject };
      if (this.#ended) {
        // The reader is the caller: its frames are on the stack.
        addFrames(this.#error, this.next);
        this.#finish(waiting);
      } else this.#waiting.push(waiting);
    });
  }

  /** Stops reading early, as the `break` of a `for await` does. */
  return(): Promise<IteratorResult<T, undefined>> {
    this.#leave();
    return Promise.resolve({ value: undefined, done: true });
  }

  /** Stops reading early because the call has failed. */
  cut(error: unknown): void {
    this.#leave(error);
  }

  #leave(error?: unknown): void {
    const unread = this.#messages.length > this.#head;
    const abandoned = !this.#ended || unread;
    this.fail(undefined);
    this.#error = undefined;
    this.isOver = true;
    if (abandoned) this.#owner.abandoned(error);
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  /** Reports what was taken since the last call, for Rust. */
  takeReport(): { stream: Stream; messages: number; bytes: number } {
    const report = { stream: this.#owner, messages: this.#takenMessages, bytes: this.#takenBytes };
    this.#takenMessages = 0;
    this.#takenBytes = 0;
    this.#noted = false;
    return report;
  }

  #advance(): void {
    this.#messages[this.#head++] = undefined;
    if (this.#head === this.#messages.length) this.#empty();
    else if (this.#head === 1024) {
      this.#messages = this.#messages.slice(this.#head);
      this.#head = 0;
    }
  }

  /** Copies a message that has to wait. */
  #copy(reader: BatchReader): Uint8Array {
    if (allWaiting < SLAB_OWNERS) return reader.payload();
    return reader.queuedPayload((this.#slab ??= new Slab()), this.#waitingBytes);
  }

  #empty(): void {
    this.#messages = [];
    this.#head = 0;
    this.#waitingBytes = 0;
    this.#slab = undefined;
  }

  #take(bytes: number): void {
    this.#takenMessages++;
    this.#takenBytes += bytes;
    if (!this.#noted && (this.#messages.length === 0 || this.#takenBytes >= TAKEN_BATCH)) {
      this.#noted = true;
      this.#owner.taken(this);
    }
  }

  #undecoded(reason: unknown): unknown {
    this.fail(undefined);
    this.isOver = true;
    return this.#owner.undecoded(reason);
  }

  #finish(waiting: Waiting<T>): void {
    this.isOver = true;
    const error = this.#error;
    // An iterator throws once, and is done from then on.
    this.#error = undefined;
    if (error === undefined) waiting.resolve({ value: undefined, done: true });
    else rejectLater(waiting.resolve, waiting.reject, error);
  }
}
