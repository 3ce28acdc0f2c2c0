import { TextEncoder } from "node:util";
import type { OutgoingMessage } from "../codec/payload.js";
import { shortAscii } from "../codec/write.js";
import { lengthOf } from "../value-kinds.js";
import { FLAG_WHOLE, RECORD_HEADER } from "./records.js";
import type { Named } from "./slots.js";

const encoder = new TextEncoder();

/**
 * Once this many bytes of payloads are lent, the batch leaves without waiting for more, so that the peer can start on
 * them.
 */
const LENT_LIMIT = 256 << 10;

/** Writes records into the outbound buffer. */
export class BatchWriter {
  readonly bytes: Uint8Array;
  /** Bytes of finished records. */
  used = 0;
  /** Bytes of payloads that were lent for these records. */
  lent = 0;
  /** Whether a message is being encoded. Its getters are user code, so nothing else may be written meanwhile. */
  encoding = false;
  readonly #view: DataView;
  #at = 0;

  constructor(size: number) {
    this.bytes = new Uint8Array(size);
    this.#view = new DataView(this.bytes.buffer);
  }

  /** Whether a record with a body of up to `size` bytes still fits. */
  fits(size: number): boolean {
    return this.lent < LENT_LIMIT && this.used + RECORD_HEADER + size <= this.bytes.length;
  }

  /** Takes all records out; returns their size in bytes. */
  take(): number {
    const { used } = this;
    this.used = 0;
    this.lent = 0;
    return used;
  }

  begin(operation: number, flags: number, route: number, connection: number, call: Readonly<Named>): void {
    const view = this.#view;
    const at = this.used;
    view.setUint32(at + 4, operation | (flags << 8) | (route << 16), true);
    view.setUint32(at + 8, connection, true);
    view.setUint32(at + 12, call.slot, true);
    view.setUint32(at + 16, call.generation, true);
    this.#at = at + RECORD_HEADER;
  }

  u32(value: number): void {
    this.#view.setUint32(this.#at, value, true);
    this.#at += 4;
  }

  f64(value: number): void {
    this.#view.setFloat64(this.#at, value, true);
    this.#at += 8;
  }

  string(value: string): void {
    const end = shortAscii(this.bytes, this.#at + 4, value);
    if (end >= 0) {
      this.u32(value.length);
      this.#at = end;
      return;
    }
    const { written } = encoder.encodeInto(value, this.bytes.subarray(this.#at + 4));
    this.#view.setUint32(this.#at, written, true);
    this.#at += 4 + written;
  }

  field(value: Uint8Array): void {
    this.u32(lengthOf(value));
    this.raw(value);
  }

  raw(value: Uint8Array): void {
    this.bytes.set(value, this.#at);
    this.#at += lengthOf(value);
  }

  /** Marks the record's payload, of `size` bytes, as one that crosses whole. */
  whole(size: number): void {
    const at = this.used + 5;
    this.#view.setUint8(at, this.#view.getUint8(at) | FLAG_WHOLE);
    this.lent += size;
  }

  /** Encodes a message; returns its length, or -1 if there is not enough room. */
  message(message: OutgoingMessage): number {
    const at = this.#at;
    this.encoding = true;
    try {
      const end = message.writeTo(this.bytes, at);
      if (end < 0) return -1;
      this.#at = end;
      return end - at;
    } finally {
      this.encoding = false;
    }
  }

  /** Copies the unfinished record. */
  begun(): Uint8Array {
    return this.bytes.slice(this.used, this.#at);
  }

  /** Resumes a record from the copy of its beginning. */
  resume(begun: Uint8Array): void {
    this.#at = this.used;
    this.raw(begun);
  }

  end(): void {
    this.#view.setUint32(this.used, this.#at - this.used, true);
    this.used = this.#at;
  }
}

/** The most bytes a string can take in a record, its length prefix included. */
export function stringSize(value: string): number {
  return 4 + value.length * 3;
}
