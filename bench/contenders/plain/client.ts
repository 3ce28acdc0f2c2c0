/** The client to beat: ttrpc in plain JavaScript over node:net, written with care. */

import { connect, type Socket } from "node:net";
import { Frames } from "./frames.js";
import { MessageQueue } from "./message-queue.js";
import {
  DATA,
  NO_DATA,
  parseResponse,
  REMOTE_CLOSED,
  REMOTE_OPEN,
  REQUEST,
  REQUEST_PAYLOAD,
  RESPONSE,
} from "./wire.js";

const NOTHING = new Uint8Array(0);

interface Call {
  resolve(payload: Uint8Array): void;
  reject(error: Error): void;
}

/** A client of one connection. A method is given as the prefix that `requestPrefix` makes of its names. */
export class PlainClient {
  readonly #socket: Socket;
  readonly #frames: Frames;
  readonly #calls = new Map<number, Call>();
  readonly #streams = new Map<number, MessageQueue>();
  #nextId = 1;

  private constructor(socket: Socket) {
    this.#socket = socket;
    this.#frames = new Frames(socket, this.#onFrame);
    socket.on("error", () => undefined);
    socket.on("close", () => {
      const error = new Error("closed");
      for (const { reject } of this.#calls.values()) reject(error);
      for (const queue of this.#streams.values()) queue.end(error);
      this.#calls.clear();
      this.#streams.clear();
    });
  }

  /** Connects to a unix socket. */
  static connect(path: string): Promise<PlainClient> {
    return new Promise((resolve, reject) => {
      const socket = connect(path, () => resolve(new PlainClient(socket.off("error", reject))));
      socket.on("error", reject);
    });
  }

  unary(prefix: Buffer, payload: Uint8Array): Promise<Uint8Array> {
    const id = this.#open(prefix, 0, payload);
    return new Promise((resolve, reject) => this.#calls.set(id, { resolve, reject }));
  }

  serverStreaming(prefix: Buffer, payload: Uint8Array): AsyncIterableIterator<Uint8Array> {
    return this.#receive(this.#open(prefix, REMOTE_CLOSED, payload));
  }

  async clientStreaming(prefix: Buffer, requests: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
    const id = this.#open(prefix, REMOTE_OPEN | NO_DATA, NOTHING);
    const response = new Promise<Uint8Array>((resolve, reject) => this.#calls.set(id, { resolve, reject }));
    this.#sendAll(id, requests).catch((error: Error) => this.#calls.get(id)?.reject(error));
    return response;
  }

  bidiStreaming(prefix: Buffer, requests: AsyncIterable<Uint8Array>): AsyncIterableIterator<Uint8Array> {
    const id = this.#open(prefix, REMOTE_OPEN | NO_DATA, NOTHING);
    const replies = this.#receive(id);
    this.#sendAll(id, requests).catch((error: Error) => replies.end(error));
    return replies;
  }

  /** Closes the connection. */
  close(): void {
    this.#socket.destroy();
  }

  #open(prefix: Buffer, flags: number, payload: Uint8Array): number {
    const id = this.#nextId;
    this.#nextId += 2;
    this.#frames.send(id, REQUEST, flags, prefix, REQUEST_PAYLOAD, payload);
    return id;
  }

  #receive(id: number): MessageQueue {
    const queue = new MessageQueue(this.#socket);
    this.#streams.set(id, queue);
    return queue;
  }

  async #sendAll(id: number, messages: AsyncIterable<Uint8Array>): Promise<void> {
    for await (const message of messages) {
      this.#frames.send(id, DATA, 0, undefined, 0, message);
      const room = this.#frames.room();
      if (room !== undefined) await room;
    }
    this.#frames.send(id, DATA, REMOTE_CLOSED | NO_DATA, undefined, 0, NOTHING);
  }

  readonly #onFrame = (
    id: number,
    type: number,
    flags: number,
    data: Buffer,
    start: number,
    end: number,
  ): void => {
    if (type === RESPONSE) {
      const call = this.#calls.get(id);
      if (call !== undefined) {
        this.#calls.delete(id);
        try {
          call.resolve(parseResponse(data, start, end));
        } catch (error) {
          call.reject(error as Error);
        }
        return;
      }
    }
    const stream = this.#streams.get(id);
    if (stream === undefined) return;
    try {
      if (type === RESPONSE) parseResponse(data, start, end);
      else if ((flags & NO_DATA) === 0) stream.push(data.subarray(start, end));
      if (type !== RESPONSE && (flags & REMOTE_CLOSED) === 0) return;
      stream.end();
    } catch (error) {
      stream.end(error as Error);
    }
    this.#streams.delete(id);
  };
}
