import type { DescMessage, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import { Code } from "../code.js";
import { AnySchema, TimestampSchema } from "../descriptors/well-known.js";
import { textOf, TtrpcError } from "../error.js";
import { codecOf, interpreterOf } from "./compiled.js";
import { BAIL, fault, FULL } from "./compiled-signals.js";
import { slowEncode } from "./fallback.js";
import { make } from "./make.js";
import { cursor } from "./read.js";
import { TOO_HEAVY, tooHeavy, weighAnew } from "./weight.js";

/**
 * Encodes and decodes messages. Both follow the message's descriptor, and run functions compiled from it once a type is
 * used often. protobuf-es encodes the few messages that those leave out.
 *
 * Fields are written in the order of their numbers, unknown ones last. Map entries are written in the order in which
 * JavaScript lists an object's keys: keys that look like array indices in numeric order, then the others in the order
 * of insertion.
 */

/** Room for the largest message that ttrpc sends. Pages that are never used never become resident. */
const SCRATCH_SIZE = 5 << 20;

/**
 * Buffers in which messages are encoded before they are copied. There are two, because a getter of one message may
 * encode another.
 */
const scratch: Uint8Array[] = [];

/**
 * Encodes a plain object or a message into `bytes` at `at`. Returns where it ends, or -1 if there is not enough room.
 * Throws a TypeError that names the wrong field.
 */
export function encodeInto<Desc extends DescMessage>(
  desc: Desc,
  message: MessageInitShape<Desc>,
  bytes: Uint8Array,
  at: number,
): number {
  try {
    const end = codecOf(desc).write(bytes, at, message, 1);
    return end > bytes.length ? -1 : end;
  } catch (error) {
    if (error === FULL) return -1;
  }
  const encoded = slowEncode(desc, message);
  const end = at + encoded.length;
  if (end > bytes.length) return -1;
  bytes.set(encoded, at);
  return end;
}

/** Encodes a plain object or a message. Throws a TypeError that names the wrong field. */
export function encode<Desc extends DescMessage>(desc: Desc, message: MessageInitShape<Desc>): Uint8Array {
  return encodeWith(desc, message, (bytes, end) => bytes.slice(0, end));
}

/** Encodes as {@link encode} does, and passes the bytes to `use`. They may be overwritten once `use` has returned. */
export function encodeWith<Desc extends DescMessage, T>(
  desc: Desc,
  message: MessageInitShape<Desc>,
  use: (bytes: Uint8Array, end: number) => T,
): T {
  const first = scratch.pop() ?? new Uint8Array(SCRATCH_SIZE);
  try {
    let bytes = first;
    let end = encodeInto(desc, message, bytes, 0);
    while (end < 0) {
      bytes = new Uint8Array(bytes.length * 4);
      end = encodeInto(desc, message, bytes, 0);
    }
    return use(bytes, end);
  } finally {
    // After a wrong message, too: making a new buffer for each takes longer than all else.
    if (scratch.length < 2) scratch.push(first);
  }
}

/**
 * Decodes a message that may keep `bytes`: its bytes fields are views of them. Throws a TtrpcError with code `Internal`
 * if the bytes are not a message of the type, and `ResourceExhausted` if its fields would take more than 64 MiB.
 */
export function decode<Desc extends DescMessage>(desc: Desc, bytes: Uint8Array): MessageShape<Desc> {
  return decodePart(desc, bytes, 0, bytes.length, false);
}

/**
 * Decodes a message from the part of `bytes` from `at` to `end`, which may be overwritten afterwards. Throws
 * as {@link decode} does.
 */
export function decodeFrom<Desc extends DescMessage>(
  desc: Desc,
  bytes: Uint8Array,
  at: number,
  end: number,
): MessageShape<Desc> {
  return decodePart(desc, bytes, at, end, true);
}

function decodePart<Desc extends DescMessage>(
  desc: Desc,
  bytes: Uint8Array,
  at: number,
  end: number,
  copy: boolean,
): MessageShape<Desc> {
  cursor.copy = copy;
  cursor.viewed = false;
  weighAnew();
  try {
    const codec = codecOf(desc);
    return codec.read(bytes, at, end, new codec.Make(), 1, 0) as MessageShape<Desc>;
  } catch (error) {
    if (error === TOO_HEAVY) throw tooHeavy(desc);
    return interpret(desc, bytes.subarray(at, end));
  }
}

/**
 * Decodes what compiled code does not read, or says what is wrong with it: to the peer, too, which must learn nothing of
 * the bytes behind its message. So they are out of reach.
 */
function interpret<Desc extends DescMessage>(desc: Desc, bytes: Uint8Array): MessageShape<Desc> {
  weighAnew();
  try {
    return interpreterOf(desc).read(bytes, 0, bytes.length, make(desc), 1, 0) as MessageShape<Desc>;
  } catch (error) {
    if (error === TOO_HEAVY) throw tooHeavy(desc);
    const text = `cannot decode ${desc.typeName}: `;
    if (error === BAIL) throw new TtrpcError(text + fault.text, Code.Internal);
    throw new TtrpcError(text + textOf(error), Code.Internal, { cause: error });
  }
}

/**
 * V8 compiles functions at their first call. The readers and writers are called here so that no RPC pays for that.
 */
function callOnce(): void {
  const bytes = new Uint8Array(64);
  const any = { typeUrl: "a", value: new Uint8Array(1) };
  decodeFrom(AnySchema, bytes, 0, encodeInto(AnySchema, any, bytes, 0));
  decodeFrom(TimestampSchema, bytes, 0, encodeInto(TimestampSchema, { seconds: 1n, nanos: 1 }, bytes, 0));
}

callOnce();
