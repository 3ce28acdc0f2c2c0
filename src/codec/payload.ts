import type { DescMessage, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import { keptCopy } from "./slab.js";
import { WHOLE } from "../native/records.js";
import { releasePayload } from "../release-payload.js";
import { decode, decodeFrom, encode, encodeInto } from "./codec.js";
import { cursor } from "./read.js";

/** The payload of a record: bytes, or a message that is encoded directly into the record. */
export type Payload = Uint8Array | OutgoingMessage;

/** A message that is not encoded yet. */
export class OutgoingMessage {
  readonly #desc: DescMessage;
  readonly #message: MessageInitShape<DescMessage>;
  readonly #refuse: ((cause: unknown) => Error) | undefined;

  /** @param refuse - Makes the error for a wrong message, in place of the codec's own. */
  constructor(desc: DescMessage, message: unknown, refuse?: (cause: unknown) => Error) {
    this.#desc = desc;
    this.#message = message as MessageInitShape<DescMessage>;
    this.#refuse = refuse;
  }

  /** Encodes it into `bytes` at `at`; returns where it ends, or -1 if there is not enough room. */
  writeTo(bytes: Uint8Array, at: number): number {
    try {
      return encodeInto(this.#desc, this.#message, bytes, at);
    } catch (cause) {
      throw this.#refuse?.(cause) ?? cause;
    }
  }

  toBytes(): Uint8Array {
    try {
      return encode(this.#desc, this.#message);
    } catch (cause) {
      throw this.#refuse?.(cause) ?? cause;
    }
  }
}

/** Copies a payload that waits to be written, since its owner may change it meanwhile. */
export function bytesOf(payload: Payload): Uint8Array {
  return payload instanceof OutgoingMessage ? payload.toBytes() : new Uint8Array(payload);
}

/** Encodes the payload's message, so that a wrong one fails at once. */
export function encoded(payload: Payload): Uint8Array {
  return payload instanceof OutgoingMessage ? payload.toBytes() : payload;
}

/**
 * Decodes the part of `bytes` from `at` to `end`, which may be overwritten afterwards. With `owned`, the part is all of
 * `bytes`, and the value may keep it.
 */
export type Decode<T> = (bytes: Uint8Array, at: number, end: number, owned: boolean) => T;

/** Decodes nothing: gives the payload's bytes. */
export const rawPayload: Decode<Uint8Array> = (bytes, at, end, owned) =>
  owned ? bytes : keptCopy(bytes, at, end);

/** Decodes messages of a type. Large payloads of which they keep nothing are released. */
export function messageDecoder<Desc extends DescMessage>(desc: Desc): Decode<MessageShape<Desc>> {
  return (bytes, at, end, owned) => {
    if (!owned) return decodeFrom(desc, bytes, at, end);
    const message = decode(desc, bytes);
    if (bytes.length >= WHOLE && !cursor.viewed) releasePayload(bytes);
    return message;
  };
}
