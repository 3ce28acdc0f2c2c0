import { Buffer } from "node:buffer";
import { readSync } from "node:fs";
import type { Socket } from "node:net";
import { socketOf } from "../native/socket.js";

/** No pipe of the kernel's holds more: sixteen pages, of which the largest have 64 KiB. */
const LARGEST_PIPE = 1 << 20;

/** Reads what a process prints into a pipe, and keeps the first bytes of it. */
export class OutputReader {
  readonly #fd: number;
  readonly #socket: Socket;
  readonly #kept: Buffer[] = [];
  #room: number;
  truncated = false;

  /** Owns the reading end `fd`. */
  constructor(fd: number, limit: number) {
    this.#fd = fd;
    this.#room = limit;
    this.#socket = socketOf(fd, { readable: true, writable: false });
    // A pipe that cannot be read has nothing more to give.
    this.#socket.on("error", () => undefined);
    this.#socket.on("data", (bytes: Buffer) => this.#keep(bytes));
  }

  #keep(bytes: Buffer): void {
    const kept = bytes.subarray(0, this.#room);
    if (kept.length < bytes.length) this.truncated = true;
    this.#room -= kept.length;
    if (kept.length > 0) this.#kept.push(kept);
  }

  /**
   * Takes what is left, once the process has ended, and returns what was kept. Everything that it printed is in the pipe
   * by then. Others may still write to it, so no more is taken than the pipe can have held.
   */
  finish(): Uint8Array {
    const part = Buffer.allocUnsafe(64 << 10);
    for (let left = LARGEST_PIPE; left > 0 && !this.#socket.destroyed;) {
      let length = 0;
      try {
        length = readSync(this.#fd, part, 0, Math.min(part.length, left), null);
      } catch {
        // EAGAIN: the pipe is empty.
      }
      if (length === 0) break;
      this.#keep(Buffer.from(part.subarray(0, length)));
      left -= length;
    }
    return Buffer.concat(this.#kept);
  }

  close(): void {
    this.#socket.destroy();
  }
}
