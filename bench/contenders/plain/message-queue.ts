import type { Socket } from "node:net";

/** The bytes that may wait in a queue before its socket is paused. */
const HIGH_WATER = 1 << 20;

const DONE = { done: true, value: undefined } as const;

/** The messages of a stream that have arrived, for a `for await`. */
export class MessageQueue implements AsyncIterableIterator<Uint8Array> {
  #items: Uint8Array[] = [];
  #next = 0;
  #bytes = 0;
  #end: { error?: Error } | undefined;
  #waiting: { resolve(result: IteratorResult<Uint8Array>): void; reject(error: Error): void } | undefined;

  constructor(readonly socket: Socket) {}

  push(message: Uint8Array): void {
    if (this.#waiting !== undefined) {
      const { resolve } = this.#waiting;
      this.#waiting = undefined;
      resolve({ done: false, value: message });
      return;
    }
    this.#items.push(message);
    this.#bytes += message.length;
    if (this.#bytes > HIGH_WATER) this.socket.pause();
  }

  end(error?: Error): void {
    if (this.#end !== undefined) return;
    this.#end = error === undefined ? {} : { error };
    const waiting = this.#waiting;
    this.#waiting = undefined;
    if (error === undefined) waiting?.resolve(DONE);
    else waiting?.reject(error);
  }

  next(): Promise<IteratorResult<Uint8Array>> {
    const value = this.#items[this.#next];
    if (value !== undefined) {
      this.#bytes -= value.length;
      if (++this.#next === this.#items.length) {
        this.#items = [];
        this.#next = 0;
        if (this.socket.isPaused()) this.socket.resume();
      }
      return Promise.resolve({ done: false, value });
    }
    if (this.#end !== undefined) {
      return this.#end.error === undefined ? Promise.resolve(DONE) : Promise.reject(this.#end.error);
    }
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject };
    });
  }

  async return(): Promise<IteratorResult<Uint8Array>> {
    this.#items = [];
    this.end();
    if (this.socket.isPaused()) this.socket.resume();
    return DONE;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}
