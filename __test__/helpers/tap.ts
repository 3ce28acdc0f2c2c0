import type { Socket } from "node:net";

/** All bytes that arrive on a socket. */
export class Tap {
  #bytes = Buffer.alloc(0);
  #wake: (() => void) | undefined;

  constructor(socket: Socket) {
    socket.on("data", (chunk: Buffer) => {
      this.#bytes = Buffer.concat([this.#bytes, chunk]);
      this.#wake?.();
    });
  }

  /** The next frame, byte for byte. */
  async frame(): Promise<Buffer> {
    await this.#has(4);
    const length = 10 + this.#bytes.readUInt32BE(0);
    await this.#has(length);
    const frame = this.#bytes.subarray(0, length);
    this.#bytes = this.#bytes.subarray(length);
    return frame;
  }

  /** The bytes that arrived and were not taken. */
  get rest(): Buffer {
    return this.#bytes;
  }

  async #has(length: number): Promise<void> {
    while (this.#bytes.length < length) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}
