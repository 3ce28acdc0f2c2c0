import type { DescMessage, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import { keptCopy } from "./slab.js";
import { decode, decodeFrom, encode, encodeInto } from "./codec.js";

/** What a record carries to the other side: bytes, or a message that is encoded where the record is written. */
export type Payload = Uint8Array | OutgoingMessage;

/** A message that is still to be encoded. */
export class OutgoingMessage {
  readonly #desc: DescMessage;
  readonly #message: MessageInitShape<DescMessage>;
  readonly #refuse: ((cause: unknown) => Error) | undefined;

  /** @param refuse - Makes the error of a message that is wrong, if it is not to be the codec's own. */
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

/** The bytes of a payload as they are now, for one that is not written at once: its owner may change what it gave. */
export function bytesOf(payload: Payload): Uint8Array {
  return payload instanceof OutgoingMessage ? payload.toBytes() : keptCopy(payload, 0, payload.length);
}

/** The payload with its message encoded, so that a wrong one shows at once. */
export function encoded(payload: Payload): Uint8Array {
  return payload instanceof OutgoingMessage ? payload.toBytes() : payload;
}

/**
 * Makes a value of the part of `bytes` from `at` to `end`, which may be overwritten afterwards. `owned` says that `bytes`
 * is all of it and the value's to keep.
 */
export type Decode<T> = (bytes: Uint8Array, at: number, end: number, owned: boolean) => T;

/** The payload as it is. */
export const rawPayload: Decode<Uint8Array> = (bytes, at, end, owned) =>
  owned ? bytes : keptCopy(bytes, at, end);

/** Decodes messages of a type. */
export function messageDecoder<Desc extends DescMessage>(desc: Desc): Decode<MessageShape<Desc>> {
  return (bytes, at, end, owned) => (owned ? decode(desc, bytes) : decodeFrom(desc, bytes, at, end));
}
