/** The types of ttrpc's frames. */
export const FrameType = { Request: 1, Response: 2, Data: 3 } as const;

/** The flags of ttrpc's frames. */
export const Flag = { RemoteClosed: 1, RemoteOpen: 2, NoData: 4 } as const;

/** A frame that was found. */
export interface Frame {
  readonly streamId: number;
  readonly type: number;
  readonly flags: number;
  /** How many bytes its body has. */
  readonly size: number;
  /** Undefined if the body is larger than a message may be. */
  readonly body: Buffer | undefined;
}

const HEADER = 10;
/** ttrpc's limit for a body. Peers refuse a larger one, and nothing of it is kept. */
const LARGEST_BODY = 4 * 1024 * 1024;

/** Finds the frames in the bytes of one direction. It keeps at most one frame. */
export class FrameScanner {
  readonly #header = Buffer.alloc(HEADER);
  #headerSize = 0;
  #body: Buffer | undefined;
  #bodySize = 0;
  #missing = 0;
  #lost = false;

  /** Whether the bytes turned out not to be ttrpc, so that nothing more is found. */
  get lost(): boolean {
    return this.#lost;
  }

  /** Stops looking for frames. */
  giveUp(): void {
    this.#lost = true;
    this.#body = undefined;
  }

  /** The frames that end in these bytes. */
  push(chunk: Buffer): Frame[] {
    const frames: Frame[] = [];
    let at = 0;
    while (!this.#lost) {
      if (this.#headerSize < HEADER) {
        const copied = chunk.copy(this.#header, this.#headerSize, at);
        at += copied;
        this.#headerSize += copied;
        // A ttrpc frame is shorter than 16 MiB, so its first byte is 0. That of text or TLS is not.
        if (this.#headerSize > 0 && this.#header[0] !== 0) this.#lost = true;
        if (this.#headerSize < HEADER || this.#lost) break;
        this.#bodySize = this.#missing = this.#header.readUInt32BE(0);
        this.#body = this.#bodySize <= LARGEST_BODY ? Buffer.allocUnsafe(this.#bodySize) : undefined;
      }
      const taken = Math.min(this.#missing, chunk.length - at);
      if (taken > 0) this.#body?.set(chunk.subarray(at, at + taken), this.#bodySize - this.#missing);
      at += taken;
      this.#missing -= taken;
      if (this.#missing > 0) break;
      frames.push({
        streamId: this.#header.readUInt32BE(4),
        type: this.#header.readUInt8(8),
        flags: this.#header.readUInt8(9),
        size: this.#bodySize,
        body: this.#body,
      });
      this.#headerSize = 0;
      this.#body = undefined;
    }
    return frames;
  }
}
