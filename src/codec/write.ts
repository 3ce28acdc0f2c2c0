import { TextEncoder } from "node:util";
import { Buffer } from "node:buffer";
import { isBytes, isDetached, isOfEveryObject, lengthOf } from "../value-kinds.js";
import type { DescEnum } from "@bufbuild/protobuf";
import { ScalarType } from "./scalar-type.js";
import { BAIL, FULL } from "./compiled-signals.js";
import { isInteger } from "./longs.js";

/**
 * The functions that compiled encoders write with. Each takes the bytes and where to write, and returns where it
 * stopped.
 *
 * Small values are written without checking the room: a write past the end of a Uint8Array does nothing, and the
 * position past the end shows the overflow. Operations that would throw there, or take long, check first.
 */

const encoder = new TextEncoder();
const words = new Uint32Array(2);
const unsigned = new BigUint64Array(words.buffer);
const doubles = new Float64Array(words.buffer);
const floats = new Float32Array(words.buffer);

/** Up to this length, a loop over the characters is faster than calling the encoder, which is quicker since Node 22. */
const SHORT_TEXT = Number.parseInt(process.versions.node, 10) < 22 ? 28 : 12;

/** Writes a varint. Unrolled, because a loop takes half as long again. */
export function uint32(bytes: Uint8Array, at: number, value: number): number {
  if (value < 0x80) {
    bytes[at] = value;
    return at + 1;
  }
  // A store keeps the lowest 8 bits.
  bytes[at] = value | 128;
  if (value < 0x4000) {
    bytes[at + 1] = value >>> 7;
    return at + 2;
  }
  bytes[at + 1] = (value >>> 7) | 128;
  if (value < 0x20_0000) {
    bytes[at + 2] = value >>> 14;
    return at + 3;
  }
  bytes[at + 2] = (value >>> 14) | 128;
  if (value < 0x1000_0000) {
    bytes[at + 3] = value >>> 21;
    return at + 4;
  }
  bytes[at + 3] = (value >>> 21) | 128;
  bytes[at + 4] = value >>> 28;
  return at + 5;
}

export function int32(bytes: Uint8Array, at: number, value: number): number {
  return value >= 0 ? uint32(bytes, at, value) : varint64(bytes, at, value >>> 0, 0xffffffff);
}

function varint64(bytes: Uint8Array, at: number, low: number, high: number): number {
  if (high === 0) return uint32(bytes, at, low);
  at = four(bytes, at, low);
  const rest = ((low >>> 28) | (high << 4)) >>> 0;
  if (high < 0x1000_0000) return uint32(bytes, at, rest);
  return uint32(bytes, four(bytes, at, rest), high >>> 24);
}

/** Writes the lowest 28 bits, as the first four bytes of a longer varint. */
function four(bytes: Uint8Array, at: number, value: number): number {
  bytes[at] = value | 128;
  bytes[at + 1] = (value >>> 7) | 128;
  bytes[at + 2] = (value >>> 14) | 128;
  bytes[at + 3] = (value >>> 21) | 128;
  return at + 4;
}

/** Splits a value into two words. Throws BAIL if it does not fit its type. */
function split(value: bigint, isSigned: boolean): void {
  if ((isSigned ? BigInt.asIntN(64, value) : BigInt.asUintN(64, value)) !== value) throw BAIL;
  unsigned[0] = value;
}

export function int64(bytes: Uint8Array, at: number, value: bigint): number {
  split(value, true);
  return varint64(bytes, at, words[0]!, words[1]!);
}

export function uint64(bytes: Uint8Array, at: number, value: bigint): number {
  split(value, false);
  return varint64(bytes, at, words[0]!, words[1]!);
}

export function sint64(bytes: Uint8Array, at: number, value: bigint): number {
  split(value, true);
  const low = words[0]!;
  const high = words[1]!;
  const sign = -(high >>> 31);
  return varint64(bytes, at, ((low << 1) ^ sign) >>> 0, (((high << 1) | (low >>> 31)) ^ sign) >>> 0);
}

/**
 * Writes a field that is left out when it is 0, with its tag of one or two bytes. Half of the time goes into reading
 * the BigInt, so it is read only once. A value that is not a BigInt throws while it is split.
 */
export function int64Field(bytes: Uint8Array, at: number, value: bigint, tag: number): number {
  split(value, true);
  return varint64Field(bytes, at, words[0]!, words[1]!, tag);
}

export function uint64Field(bytes: Uint8Array, at: number, value: bigint, tag: number): number {
  split(value, false);
  return varint64Field(bytes, at, words[0]!, words[1]!, tag);
}

function varint64Field(bytes: Uint8Array, at: number, low: number, high: number, tag: number): number {
  if ((low | high) === 0) return at;
  bytes[at++] = tag;
  if (tag > 255) bytes[at++] = tag >>> 8;
  return varint64(bytes, at, low, high);
}

export function fixed32(bytes: Uint8Array, at: number, value: number): number {
  bytes[at] = value;
  bytes[at + 1] = value >>> 8;
  bytes[at + 2] = value >>> 16;
  bytes[at + 3] = value >>> 24;
  return at + 4;
}

function twoWords(bytes: Uint8Array, at: number): number {
  return fixed32(bytes, fixed32(bytes, at, words[0]!), words[1]!);
}

export function fixed64(bytes: Uint8Array, at: number, value: bigint): number {
  split(value, false);
  return twoWords(bytes, at);
}

export function sfixed64(bytes: Uint8Array, at: number, value: bigint): number {
  split(value, true);
  return twoWords(bytes, at);
}

export function double(bytes: Uint8Array, at: number, value: number): number {
  doubles[0] = value;
  return twoWords(bytes, at);
}

export function float(bytes: Uint8Array, at: number, value: number): number {
  floats[0] = value;
  // A finite value that becomes infinite was out of range.
  if (floats[0] - floats[0] !== 0 && value - value === 0) throw BAIL;
  return fixed32(bytes, at, words[0]!);
}

/** Whether there are bytes to write. Throws BAIL if they have lost their buffer, and so have no length any more. */
export function hasBytes(value: Uint8Array): boolean {
  if (lengthOf(value) > 0) return true;
  if (isDetached(value)) throw BAIL;
  return false;
}

/** Writes bytes, with their length. */
export function blob(bytes: Uint8Array, at: number, value: Uint8Array): number {
  return raw(bytes, uint32(bytes, at, lengthOf(value)), value);
}

/** Writes bytes as they are. */
export function raw(bytes: Uint8Array, at: number, value: Uint8Array): number {
  const end = at + lengthOf(value);
  if (end > bytes.length) throw FULL;
  bytes.set(value, at);
  return end;
}

/** Writes a text, with its length. */
export function text(bytes: Uint8Array, at: number, value: string): number {
  const end = shortAscii(bytes, at + 1, value);
  if (end < 0) return longText(bytes, at, value);
  bytes[at] = value.length;
  return end;
}

/**
 * Writes a short ASCII text, for which a loop is fastest; returns where it ends, or -1 if the text is not short and
 * ASCII.
 */
export function shortAscii(bytes: Uint8Array, at: number, value: string): number {
  const { length } = value;
  if (length > SHORT_TEXT) return -1;
  let next = at;
  for (let index = 0; index < length; index++) {
    const code = value.charCodeAt(index);
    if (code > 127) return -1;
    bytes[next++] = code;
  }
  return next;
}

type Utf8Write = (this: Uint8Array, text: string, at: number, length: number) => number;

// Node's own encoder, which Buffer's write calls: it needs neither the view nor the result object of TextEncoder.
const { utf8Write = undefined } = Buffer.prototype as unknown as { utf8Write?: Utf8Write };

function longText(bytes: Uint8Array, at: number, value: string): number {
  const { length } = value;
  // Most texts are ASCII, so the size of the length prefix is guessed on that assumption.
  const start = at + varintSize(length);
  let written: number;
  if (utf8Write !== undefined && start + length * 3 <= bytes.length) {
    written = utf8Write.call(bytes, value, start, length * 3);
    // No byte was added, so the text has no lone surrogate: it would take three bytes.
    if (written === length) {
      uint32(bytes, at, length);
      return start + length;
    }
  } else {
    if (start + length > bytes.length) throw FULL;
    const result = encoder.encodeInto(value, bytes.subarray(start));
    if (result.read !== length) throw value.isWellFormed() ? FULL : BAIL;
    ({ written } = result);
  }
  // The encoder replaces a lone surrogate silently. A text whose length did not grow is ASCII, so it has none.
  if (written !== length && !value.isWellFormed()) throw BAIL;
  return close(bytes, at, start, start + written);
}

/**
 * Writes at `at` the length of what lies between `start` and `end`, and shifts those bytes if the reserved room does
 * not match.
 */
export function close(bytes: Uint8Array, at: number, start: number, end: number): number {
  // Bytes past the end were never written, so they cannot be moved.
  if (end > bytes.length) throw FULL;
  const length = end - start;
  const moved = at + varintSize(length);
  if (moved !== start) bytes.copyWithin(moved, start, end);
  uint32(bytes, at, length);
  return moved + length;
}

function varintSize(value: number): number {
  return value < 0x80 ? 1 : value < 0x4000 ? 2 : value < 0x20_0000 ? 3 : value < 0x1000_0000 ? 4 : 5;
}

/** Whether it is a value of the enum. */
export function isValueOf(desc: DescEnum, value: unknown): boolean {
  return typeof value === "number" && Object.hasOwn(desc.value, value);
}

/** An unknown field, as protobuf-es keeps it. */
export interface UnknownField {
  readonly no: number;
  readonly wireType: number;
  readonly data: Uint8Array;
}

/** Whether a value can be written as an unknown field: it has a valid field number, a wire type and bytes. */
export function isUnknownField(value: unknown): value is UnknownField {
  if (typeof value !== "object" || value === null) return false;
  const { no, wireType, data } = value as Partial<UnknownField>;
  return (
    Number.isInteger(no) &&
    no! > 0 &&
    no! < 2 ** 29 &&
    Number.isInteger(wireType) &&
    wireType! >= 0 &&
    wireType! <= 5 &&
    isBytes(data) &&
    !isDetached(data)
  );
}

export function unknownFields(bytes: Uint8Array, at: number, fields: unknown): number {
  if (!Array.isArray(fields)) throw BAIL;
  for (const field of fields) {
    if (!isUnknownField(field)) throw BAIL;
    const { no, wireType, data } = field;
    at = raw(bytes, uint32(bytes, at, ((no << 3) | wireType) >>> 0), data);
  }
  return at;
}

/** Throws BAIL if the message has a name that its type does not. */
export function checkNames(message: object, known: ReadonlySet<string>): void {
  for (const name in message) {
    if (known.has(name) || name === "$typeName" || name === "$unknown") continue;
    if ((message as Record<string, unknown>)[name] !== undefined && !isOfEveryObject(message, name))
      throw BAIL;
  }
}

/** Throws BAIL unless it is a plain object. A Date, Map or Promise would pass for an empty message. */
export function checkPlain(value: object): void {
  if (Object.prototype.toString.call(value) !== "[object Object]") throw BAIL;
}

/** The integer that a map's key stands for. */
export function keyNumber(key: string): number {
  const value = Number(key);
  if (String(value) !== key) throw BAIL;
  return value;
}

/** The value that a map's key stands for. */
export function mapKey(type: ScalarType, key: string): string | number | bigint | boolean {
  switch (type) {
    case ScalarType.STRING:
      return key;
    case ScalarType.BOOL:
      if (key !== "true" && key !== "false") throw BAIL;
      return key === "true";
    case ScalarType.INT32:
    case ScalarType.UINT32:
    case ScalarType.SINT32:
    case ScalarType.FIXED32:
    case ScalarType.SFIXED32:
      return keyNumber(key);
    default:
      return keyBigInt(key);
  }
}

export function keyBigInt(key: string): bigint {
  if (!isInteger(key)) throw BAIL;
  return BigInt(key);
}

/** The bigint of a field with `jstype = JS_STRING`, which may be given as a string or as a bigint. */
export function longOf(value: unknown): bigint {
  if (typeof value === "bigint") return value;
  if (typeof value !== "string") throw BAIL;
  return keyBigInt(value);
}
