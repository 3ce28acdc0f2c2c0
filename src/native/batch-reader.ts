import { TextDecoder } from "node:util";
import type { Any } from "@bufbuild/protobuf/wkt";
import type { Decode } from "../codec/payload.js";
import { keptCopy, ownCopy, type Slab } from "../codec/slab.js";
import { Code } from "../code.js";
import { callError, detail, type TtrpcError, transportCause, transportError } from "../error.js";
import { addMetadata, type Metadata } from "../metadata.js";
import type { ConnectionClosed } from "../connection-types.js";
import { CLOSE_KINDS, FLAG_WHOLE, RECORD_HEADER } from "./records.js";
import type { IncomingRequest } from "./types.js";

// A leading U+FEFF is part of a value, and not a mark of its encoding.
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

/** Reads records from the inbound buffer. The views that it returns are valid until the next record is read. */
export class BatchReader {
  readonly bytes: Uint8Array;
  readonly #view: DataView;
  #next = 0;
  #at = 0;

  readonly #takeWhole: () => Uint8Array;
  /** The record's payload, if it crossed whole, outside the record. */
  #whole: Uint8Array | undefined;

  /** The last failure of a call of this batch whose connection had ended; the calls after it share the cause. */
  #failed: { key: string; message: string; cause: Error } | undefined;

  /** @param takeWhole - Returns the next payload that crossed whole. */
  constructor(size: number, takeWhole: () => Uint8Array) {
    this.#takeWhole = takeWhole;
    this.bytes = new Uint8Array(size);
    this.#view = new DataView(this.bytes.buffer);
  }

  /** Whether so many requests are held that payloads get memory of their own. */
  isCrowded = false;

  operation = 0;
  flags = 0;
  route = 0;
  connection = 0;
  /** The slot of the call, or the number of a listener. */
  slot = 0;
  generation = 0;

  /** Moves to the first record. */
  rewind(): void {
    this.#next = 0;
    this.#failed = undefined;
  }

  /** Moves to the next record. Returns false if none starts before `size`. */
  next(size: number): boolean {
    const at = this.#next;
    if (at >= size) {
      this.#whole = undefined;
      return false;
    }
    const view = this.#view;
    this.#next = at + view.getUint32(at, true);
    const word = view.getUint32(at + 4, true);
    this.operation = word & 0xff;
    this.flags = (word >>> 8) & 0xff;
    this.#whole = undefined;
    if ((this.flags & FLAG_WHOLE) !== 0) {
      this.flags &= ~FLAG_WHOLE;
      this.#whole = this.#takeWhole();
    }
    this.route = word >>> 16;
    this.connection = view.getUint32(at + 8, true);
    this.slot = view.getUint32(at + 12, true);
    this.generation = view.getUint32(at + 16, true);
    this.#at = at + RECORD_HEADER;
    return true;
  }

  u8(): number {
    return this.#view.getUint8(this.#at++);
  }

  i32(): number {
    const value = this.#view.getInt32(this.#at, true);
    this.#at += 4;
    return value;
  }

  u32(): number {
    const value = this.#view.getUint32(this.#at, true);
    this.#at += 4;
    return value;
  }

  f64(): number {
    const value = this.#view.getFloat64(this.#at, true);
    this.#at += 8;
    return value;
  }

  field(): Uint8Array {
    const size = this.u32();
    const value = this.bytes.subarray(this.#at, this.#at + size);
    this.#at += size;
    return value;
  }

  string(): string {
    return decoder.decode(this.field());
  }

  /** The number of bytes left in the record. */
  get rest(): number {
    return this.#whole?.length ?? this.#next - this.#at;
  }

  /** Decodes the rest of the record. */
  read<T>(decode: Decode<T>): T {
    const whole = this.#whole ?? (this.isCrowded ? ownCopy(this.bytes, this.#at, this.#next) : undefined);
    if (whole !== undefined) return decode(whole, 0, whole.length, true);
    return decode(this.bytes, this.#at, this.#next, false);
  }

  /** The rest of the record, outside of the batch. */
  payload(): Uint8Array {
    return this.#whole ?? keptCopy(this.bytes, this.#at, this.#next);
  }

  /** The same, for a queue in which `waiting` bytes wait, and whose slab holds nothing else. */
  queuedPayload(slab: Slab, waiting: number): Uint8Array {
    return this.#whole ?? slab.copy(this.bytes, this.#at, this.#next, waiting);
  }

  /** Reads the fields of a request, up to its payload. */
  request(): IncomingRequest {
    return {
      slot: this.slot,
      generation: this.generation,
      connection: this.connection,
      timeoutMs: this.f64() / 1e6,
      metadata: this.metadata(),
    };
  }

  /** Reads metadata as it was sent. */
  pairs(): [key: string, value: string][] {
    const pairs: [string, string][] = [];
    for (let count = this.u32(); count > 0; count--) pairs.push([this.string(), this.string()]);
    return pairs;
  }

  /** Skips metadata. */
  skipPairs(): void {
    for (let count = this.u32() * 2; count > 0; count--) {
      const size = this.u32();
      this.#at += size;
    }
  }

  /** Reads metadata for a handler: lower-case keys, values in the order in which they were sent. */
  metadata(): Metadata {
    const metadata: Metadata = {};
    for (let count = this.u32(); count > 0; count--) {
      const key = this.string().toLowerCase();
      addMetadata(metadata, key, this.string());
    }
    return metadata;
  }

  status(): TtrpcError {
    const code = this.i32();
    const message = this.string();
    const details: Any[] = [];
    for (let count = this.u32(); count > 0; count--) {
      const typeUrl = this.string();
      details.push(detail(typeUrl, this.field().slice()));
    }
    return callError(message, code, { details });
  }

  /** Reads why a call failed on this side. */
  failure(): TtrpcError {
    const code = this.i32();
    const said = this.string();
    if (this.flags === 0) return callError(said, code);
    const { reason, errno, text } = this.#why();
    const inOrder = reason === "local" || reason === "remote";
    const what = inOrder ? "the connection was closed before the reply arrived" : "the connection failed";
    const key = `${errno} ${what} ${text}`;
    if (this.#failed?.key !== key) {
      const [message, cause] = inOrder ? transportCause(what, 0, "") : transportCause(what, errno, text);
      this.#failed = { key, message, cause };
    }
    const { message, cause } = this.#failed;
    return callError(message, Code.Unavailable, { cause });
  }

  closed(): ConnectionClosed {
    const { reason, errno, text } = this.#why();
    if (reason === "local" || reason === "remote") return { reason };
    return { reason, error: transportError("the connection failed", errno, text) };
  }

  #why(): { reason: ConnectionClosed["reason"]; errno: number; text: string } {
    return { reason: CLOSE_KINDS[this.u8()] ?? "error", errno: this.i32(), text: this.string() };
  }
}
