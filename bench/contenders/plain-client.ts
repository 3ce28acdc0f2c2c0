/**
 * The client to beat: ttrpc's unary calls in plain JavaScript over node:net, written with care. Frames of a tick leave
 * in one write; a request is encoded by hand, a reply is read in place and its payload copied out.
 */

import { connect, type Socket } from "node:net";

const HEADER = 10;

/** A unary client over node:net. */
export class PlainClient {
  readonly #socket: Socket;
  readonly #waiting = new Map<number, { resolve(payload: Uint8Array): void; reject(error: Error): void }>();
  #buffer = Buffer.allocUnsafe(1 << 16);
  #used = 0;
  #rest: Buffer | undefined;
  #nextId = 1;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on("data", (chunk) => this.#read(chunk));
    socket.on("close", () => {
      for (const { reject } of this.#waiting.values()) reject(new Error("closed"));
      this.#waiting.clear();
    });
  }

  /** Connects to a unix socket. */
  static connect(path: string): Promise<PlainClient> {
    return new Promise((resolve, reject) => {
      const socket = connect(path, () => resolve(new PlainClient(socket)));
      socket.once("error", reject);
    });
  }

  /** Makes a call. `prefix` comes from {@link requestPrefix}. */
  unary(prefix: Buffer, payload: Uint8Array): Promise<Uint8Array> {
    const id = this.#nextId;
    this.#nextId += 2;
    const sizeOfSize = varintSize(payload.length);
    const length = prefix.length + (payload.length > 0 ? 1 + sizeOfSize + payload.length : 0);
    this.#reserve(HEADER + length);
    const buffer = this.#buffer;
    let at = this.#used;
    buffer.writeUInt32BE(length, at);
    buffer.writeUInt32BE(id, at + 4);
    buffer[at + 8] = 1;
    buffer[at + 9] = 0;
    at += HEADER;
    buffer.set(prefix, at);
    at += prefix.length;
    if (payload.length > 0) {
      buffer[at++] = 0x1a;
      at = writeVarint(buffer, at, payload.length);
      buffer.set(payload, at);
      at += payload.length;
    }
    this.#used = at;
    return new Promise((resolve, reject) => this.#waiting.set(id, { resolve, reject }));
  }

  /** Closes the connection. */
  close(): void {
    this.#socket.destroy();
  }

  #reserve(size: number): void {
    if (this.#used === 0) process.nextTick(() => this.#flush());
    if (this.#used + size <= this.#buffer.length) return;
    const grown = Buffer.allocUnsafe(Math.max(this.#buffer.length * 2, this.#used + size));
    grown.set(this.#buffer.subarray(0, this.#used));
    this.#buffer = grown;
  }

  #flush(): void {
    // The socket may keep the bytes, so the next tick writes into others.
    const full = this.#buffer.subarray(0, this.#used);
    this.#buffer = Buffer.allocUnsafe(this.#buffer.length);
    this.#used = 0;
    this.#socket.write(full);
  }

  #read(chunk: Buffer): void {
    const data = this.#rest === undefined ? chunk : Buffer.concat([this.#rest, chunk]);
    let at = 0;
    while (data.length - at >= HEADER) {
      const length = data.readUInt32BE(at);
      if (data.length - at < HEADER + length) break;
      this.#response(data.readUInt32BE(at + 4), data, at + HEADER, at + HEADER + length);
      at += HEADER + length;
    }
    this.#rest = at < data.length ? data.subarray(at) : undefined;
  }

  #response(id: number, data: Buffer, start: number, end: number): void {
    const call = this.#waiting.get(id);
    if (call === undefined) return;
    this.#waiting.delete(id);
    let at = start;
    let payload: Uint8Array = new Uint8Array(0);
    let failed = false;
    while (at < end) {
      const tag = data[at++];
      let size = 0;
      for (let shift = 0; ; shift += 7) {
        const byte = data[at++] ?? 0;
        size |= (byte & 0x7f) << shift;
        if (byte < 0x80) break;
      }
      if (tag === 0x0a) failed = size > 0;
      else if (tag === 0x12) payload = Uint8Array.prototype.slice.call(data, at, at + size);
      at += size;
    }
    if (failed) call.reject(new Error("status"));
    else call.resolve(payload);
  }
}

/** The encoded service and method of a request. */
export function requestPrefix(service: string, method: string): Buffer {
  const field = (tag: number, text: string) =>
    Buffer.concat([Buffer.from([tag, text.length]), Buffer.from(text)]);
  return Buffer.concat([field(0x0a, service), field(0x12, method)]);
}

function varintSize(value: number): number {
  let size = 1;
  for (let rest = value >>> 7; rest > 0; rest >>>= 7) size++;
  return size;
}

function writeVarint(buffer: Buffer, start: number, value: number): number {
  let at = start;
  let rest = value;
  for (; rest > 0x7f; rest >>>= 7) buffer[at++] = (rest & 0x7f) | 0x80;
  buffer[at++] = rest;
  return at;
}
