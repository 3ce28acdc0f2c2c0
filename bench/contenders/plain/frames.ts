/** Frames over node:net. The frames of a tick leave in one write, and arriving frames are read in place. */

import type { Socket } from "node:net";
import { HEADER, varintSize, writeVarint } from "./wire.js";

/** A payload of at least this many bytes is written in place rather than copied. */
const LARGE = 16 << 10;
/** The most bytes to gather before they are written within the tick. */
const GATHERED = 64 << 10;
/** The bytes that may wait for the socket before senders must wait. */
const HIGH_WATER = 1 << 20;

/** Handles a frame; its body is `data` from `start` to `end`. */
export type OnFrame = (
  id: number,
  type: number,
  flags: number,
  data: Buffer,
  start: number,
  end: number,
) => void;

/** Frames in both directions. */
export class Frames {
  readonly #socket: Socket;
  readonly #onFrame: OnFrame;
  #buffer = Buffer.allocUnsafe(2 * GATHERED);
  /** How much of the buffer is filled, and how much of that is not among the parts yet. */
  #used = 0;
  #taken = 0;
  #parts: Uint8Array[] = [];
  #partsSize = 0;
  #scheduled = false;
  #drained: Promise<void> | undefined;
  #rest: Buffer[] = [];
  #restSize = 0;
  #needed = HEADER;

  constructor(socket: Socket, onFrame: OnFrame) {
    this.#socket = socket;
    this.#onFrame = onFrame;
    socket.on("data", (chunk) => this.#read(chunk));
  }

  /** Sends a frame whose body is `prefix` and then the payload, after `tag` unless that is 0. */
  send(
    id: number,
    type: number,
    flags: number,
    prefix: Buffer | undefined,
    tag: number,
    payload: Uint8Array,
  ): void {
    const size = payload.length;
    const tagged = tag !== 0 && size > 0;
    const front = (prefix === undefined ? 0 : prefix.length) + (tagged ? 1 + varintSize(size) : 0);
    const large = size >= LARGE;
    this.#reserve(HEADER + front + (large ? 0 : size));
    const buffer = this.#buffer;
    let at = this.#used;
    writeUint32(buffer, at, front + size);
    writeUint32(buffer, at + 4, id);
    buffer[at + 8] = type;
    buffer[at + 9] = flags;
    at += HEADER;
    if (prefix !== undefined) {
      buffer.set(prefix, at);
      at += prefix.length;
    }
    if (tagged) {
      buffer[at++] = tag;
      at = writeVarint(buffer, at, size);
    }
    if (size > 0 && !large) {
      buffer.set(payload, at);
      at += size;
    }
    this.#used = at;
    if (large) {
      this.#takePart();
      this.#parts.push(payload);
      this.#partsSize += size;
    }
    if (at + this.#partsSize >= GATHERED) this.#flush();
    else if (!this.#scheduled) {
      this.#scheduled = true;
      process.nextTick(this.#tick);
    }
  }

  /** Undefined if there is room; otherwise a promise that resolves when there is. */
  room(): Promise<void> | undefined {
    if (this.#socket.writableLength < HIGH_WATER) return undefined;
    return (this.#drained ??= new Promise((resolve) => {
      const done = () => {
        this.#socket.off("drain", done).off("close", done);
        this.#drained = undefined;
        resolve();
      };
      this.#socket.on("drain", done).on("close", done);
    }));
  }

  readonly #tick = (): void => {
    this.#scheduled = false;
    if (this.#used > 0) this.#flush();
  };

  #reserve(size: number): void {
    if (this.#used + size <= this.#buffer.length) return;
    this.#flush();
    if (size > this.#buffer.length) this.#buffer = Buffer.allocUnsafe(size);
  }

  #takePart(): void {
    if (this.#used === this.#taken) return;
    this.#parts.push(this.#buffer.subarray(this.#taken, this.#used));
    this.#taken = this.#used;
  }

  #flush(): void {
    const socket = this.#socket;
    if (this.#parts.length === 0) socket.write(this.#buffer.subarray(0, this.#used));
    else {
      this.#takePart();
      socket.cork();
      for (const part of this.#parts) socket.write(part);
      socket.uncork();
      this.#parts = [];
      this.#partsSize = 0;
    }
    // The buffer still holds what the kernel did not take at once.
    if (socket.writableLength > 0) this.#buffer = Buffer.allocUnsafe(2 * GATHERED);
    this.#used = 0;
    this.#taken = 0;
  }

  #read(chunk: Buffer): void {
    let data = chunk;
    if (this.#restSize > 0) {
      this.#rest.push(chunk);
      this.#restSize += chunk.length;
      // A large frame is assembled only once.
      if (this.#restSize < this.#needed) return;
      data = Buffer.concat(this.#rest, this.#restSize);
      this.#rest = [];
      this.#restSize = 0;
    }
    let at = 0;
    this.#needed = HEADER;
    while (data.length - at >= HEADER) {
      const length = readUint32(data, at);
      const end = at + HEADER + length;
      if (end > data.length) {
        this.#needed = HEADER + length;
        break;
      }
      this.#onFrame(readUint32(data, at + 4), data[at + 8]!, data[at + 9]!, data, at + HEADER, end);
      at = end;
    }
    if (at < data.length) {
      const rest = data.subarray(at);
      this.#rest.push(rest);
      this.#restSize = rest.length;
    }
  }
}

function writeUint32(buffer: Buffer, at: number, value: number): void {
  buffer[at] = value >>> 24;
  buffer[at + 1] = value >>> 16;
  buffer[at + 2] = value >>> 8;
  buffer[at + 3] = value;
}

function readUint32(data: Buffer, at: number): number {
  return ((data[at]! << 24) | (data[at + 1]! << 16) | (data[at + 2]! << 8) | data[at + 3]!) >>> 0;
}
