import { Buffer } from "node:buffer";
import { Duplex } from "node:stream";
import { Code } from "../code.js";
import { TtrpcError } from "../error.js";
import { MESSAGE_LIMIT } from "../native/records.js";

/** What a connection asks of its mux. */
interface Owner {
  /** Sends frames together. */
  send(frames: readonly Buffer[], done: (error?: Error | null) => void): void;
  /** The connection has room again. */
  read(): void;
  /** The connection was closed. */
  destroyed(): void;
}

/** A ttrpc message's header: the length of what follows, the stream, type and flags. */
export const TTRPC_HEADER = 10;
/** The size of the buffer that Go's ttrpc reads a header into: the frame with the header must fit. */
const FIRST_FRAME = 4096;

/**
 * One connection of a mux. Written bytes are gathered into ttrpc messages, since frames of a message must end where
 * Go's reader ends a read: the first one fits its buffer of 4096 bytes, and it reads the rest of a message at once.
 */
export class MuxConnection extends Duplex {
  readonly #owner: Owner;
  #parts: Buffer[] = [];
  #size = 0;

  constructor(owner: Owner) {
    super();
    this.#owner = owner;
    // The mux says how it ended. A connection that nobody has taken yet must not end the process.
    this.on("error", () => undefined);
  }

  override _read(): void {
    this.#owner.read();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.#parts.push(chunk);
    this.#size += chunk.length;
    if (this.#size < TTRPC_HEADER) return done();
    let [bytes = chunk] = this.#parts;
    if (bytes.length < TTRPC_HEADER) bytes = this.#join();
    // Joined only when the first message is whole, so that its bytes are copied once.
    if (this.#size >= endOf(bytes)) bytes = this.#join();
    else if (endOf(bytes) <= TTRPC_HEADER + MESSAGE_LIMIT) return done();
    const frames: Buffer[] = [];
    while (bytes.length >= TTRPC_HEADER && bytes.length >= endOf(bytes)) {
      const end = endOf(bytes);
      frames.push(bytes.subarray(0, Math.min(end, FIRST_FRAME)));
      if (end > FIRST_FRAME) frames.push(bytes.subarray(FIRST_FRAME, end));
      bytes = bytes.subarray(end);
    }
    if (bytes.length >= TTRPC_HEADER && endOf(bytes) > TTRPC_HEADER + MESSAGE_LIMIT) {
      const text = `a message of ${endOf(bytes) - TTRPC_HEADER} bytes is longer than ttrpc's`;
      return done(new TtrpcError(text, Code.ResourceExhausted));
    }
    this.#parts = bytes.length === 0 ? [] : [bytes];
    this.#size = bytes.length;
    if (frames.length === 0) done();
    else this.#owner.send(frames, done);
  }

  #join(): Buffer {
    const joined = this.#parts.length === 1 ? (this.#parts[0] as Buffer) : Buffer.concat(this.#parts);
    this.#parts = [joined];
    return joined;
  }

  override _final(done: (error?: Error | null) => void): void {
    done();
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#owner.destroyed();
    done(error);
  }
}

/** Where the message that begins here ends. */
function endOf(bytes: Buffer): number {
  return TTRPC_HEADER + bytes.readUInt32BE(0);
}
