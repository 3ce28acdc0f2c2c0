import { TextDecoder } from "node:util";
import { Buffer } from "node:buffer";
import { BAIL, refuse } from "./compiled-signals.js";
import { Scope } from "./compiled-scope.js";
import { BYTES_WEIGHT, UNKNOWN_WEIGHT, weigh } from "./weight.js";
import { BIT32, BIT64, LENGTH, VARINT } from "./wire-types.js";
import type { UnknownField } from "./write.js";

/**
 * The functions that compiled decoders read with. A function that reads a value of variable size leaves the position
 * after it in {@link cursor}. No user code runs while a message is read, so one cursor is enough.
 *
 * Varints are read without checking the end: a decoder that finds itself past its end has read too far, and discards
 * the message.
 */
export const cursor = {
  at: 0,
  /** Whether bytes fields get a copy rather than a view of the input. */
  copy: true,
  /** Whether the message has views of the input. */
  viewed: false,
};

const words = new Uint32Array(2);
const signed = new BigInt64Array(words.buffer);
const unsigned = new BigUint64Array(words.buffer);
const doubles = new Float64Array(words.buffer);
const floats = new Float32Array(words.buffer);

const NO_BYTES = new Uint8Array(0);

const LONG_VARINT = "a varint has more than 10 bytes";

/** A value is longer than what it is in: the message, or all bytes. The words are those of protobuf-es. */
export const TOO_SHORT = "premature EOF";

/** Reads a varint of up to 64 bits and takes its lowest 32. */
export function uint32(bytes: Uint8Array, at: number): number {
  let byte = bytes[at++]!;
  let value = byte & 127;
  if (byte > 127) {
    byte = bytes[at++]!;
    value |= (byte & 127) << 7;
    if (byte > 127) {
      byte = bytes[at++]!;
      value |= (byte & 127) << 14;
      if (byte > 127) {
        byte = bytes[at++]!;
        value |= (byte & 127) << 21;
        if (byte > 127) {
          byte = bytes[at++]!;
          value |= byte << 28;
          for (let count = 5; byte > 127; count++) {
            if (count === 10) refuse(LONG_VARINT);
            byte = bytes[at++]!;
          }
        }
      }
    }
  }
  cursor.at = at;
  return value >>> 0;
}

/** Reads a tag or a length. Neither has more than 32 bits, nor more bytes than these need: other decoders refuse both. */
export function size32(bytes: Uint8Array, at: number): number {
  const value = uint32(bytes, at);
  const size = cursor.at - at;
  if (size > 5 || (size === 5 && bytes[cursor.at - 1]! > 15))
    refuse("a tag or a length has more than 32 bits");
  return value;
}

function varint64(bytes: Uint8Array, at: number): void {
  let low = 0;
  let high = 0;
  for (let shift = 0; shift < 28; shift += 7) {
    const byte = bytes[at++]!;
    low |= (byte & 127) << shift;
    if (byte < 128) return keep(low, high, at);
  }
  const middle = bytes[at++]!;
  low |= middle << 28;
  high = (middle & 127) >> 4;
  if (middle < 128) return keep(low, high, at);
  for (let shift = 3; shift < 32; shift += 7) {
    const byte = bytes[at++]!;
    high |= (byte & 127) << shift;
    if (byte < 128) return keep(low, high, at);
  }
  refuse(LONG_VARINT);
}

function keep(low: number, high: number, at: number): void {
  words[0] = low;
  words[1] = high;
  cursor.at = at;
}

export function int64(bytes: Uint8Array, at: number): bigint {
  varint64(bytes, at);
  return signed[0]!;
}

export function uint64(bytes: Uint8Array, at: number): bigint {
  varint64(bytes, at);
  return unsigned[0]!;
}

export function sint64(bytes: Uint8Array, at: number): bigint {
  varint64(bytes, at);
  const low = words[0]!;
  const high = words[1]!;
  const sign = -(low & 1);
  words[0] = ((low >>> 1) | (high << 31)) ^ sign;
  words[1] = (high >>> 1) ^ sign;
  return signed[0]!;
}

/** Reads a boolean of more than one byte. */
export function longBool(bytes: Uint8Array, at: number): boolean {
  varint64(bytes, at);
  return words[0] !== 0 || words[1] !== 0;
}

export function sfixed32(bytes: Uint8Array, at: number): number {
  return bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
}

export function fixed32(bytes: Uint8Array, at: number): number {
  return sfixed32(bytes, at) >>> 0;
}

function twoWords(bytes: Uint8Array, at: number): void {
  words[0] = sfixed32(bytes, at);
  words[1] = sfixed32(bytes, at + 4);
}

export function fixed64(bytes: Uint8Array, at: number): bigint {
  twoWords(bytes, at);
  return unsigned[0]!;
}

export function sfixed64(bytes: Uint8Array, at: number): bigint {
  twoWords(bytes, at);
  return signed[0]!;
}

export function double(bytes: Uint8Array, at: number): number {
  twoWords(bytes, at);
  return doubles[0]!;
}

export function float(bytes: Uint8Array, at: number): number {
  words[0] = sfixed32(bytes, at);
  return floats[0]!;
}

/** Reads a length, and returns the end of what it measures. */
export function lengthEnd(bytes: Uint8Array, at: number, end: number): number {
  const length = size32(bytes, at);
  const stop = cursor.at + length;
  if (stop > end) refuse(TOO_SHORT);
  return stop;
}

/** Reads the bytes from `at` to `end`. */
export function blob(bytes: Uint8Array, at: number, end: number): Uint8Array {
  if (at === end) return NO_BYTES;
  weigh(BYTES_WEIGHT);
  return part(bytes, at, end);
}

/** The bytes from `at` to `end`, for the message to keep. */
function part(bytes: Uint8Array, at: number, end: number): Uint8Array {
  if (cursor.copy) return bytes.slice(at, end);
  cursor.viewed = true;
  return bytes.subarray(at, end);
}

const lax = new TextDecoder("utf-8", { ignoreBOM: true });
const strict = new TextDecoder("utf-8", { ignoreBOM: true, fatal: true });

/** Up to this length, reading the characters in JavaScript is faster than calling native code. */
const SHORT_TEXT = 24;

type Slice = (this: Uint8Array, at: number, end: number) => string;

// Node's own decoder, which Buffer's toString calls: it needs neither the view nor the checks of TextDecoder.
const { utf8Slice = undefined } = Buffer.prototype as unknown as { utf8Slice?: Slice };

/** Reads a text. If it is not valid UTF-8, the result is that of protobuf-es's decoder. */
export function text(bytes: Uint8Array, at: number, end: number, isStrict: boolean): string {
  if (utf8Slice !== undefined) {
    const value = utf8Slice.call(bytes, at, end);
    if (!value.includes("\ufffd")) return value;
  }
  const encoded = bytes.subarray(at, end);
  if (!isStrict) return lax.decode(encoded);
  try {
    return strict.decode(encoded);
  } catch {
    return refuse("a text is not UTF-8");
  }
}

let compiled: typeof text | undefined;

/**
 * Compiles the function that reads a text, once. It has a case for each short length, so that one call of
 * String.fromCharCode makes the string from all its characters, without intermediate strings.
 */
export function compiledText(): typeof text {
  return (compiled ??= compileText());
}

function compileText(): typeof text {
  const cases = Array.from({ length: SHORT_TEXT }, (_, index) => {
    const names = Array.from({ length: index + 1 }, (__, place) => `c${place}`);
    const reads = names.map((name, place) => `${name} = bytes[at + ${place}]`);
    return `case ${index + 1}: {
      const ${reads.join(", ")};
      return (${names.join(" | ")}) > 127 ? undefined : make(${names.join(", ")});
    }`;
  });
  const scope = new Scope();
  return scope.run(`const make = String.fromCharCode, anyText = ${scope.name(text)};
    function shortText(bytes, at, length) {
      switch (length) { case 0: return ""; ${cases.join("\n")} }
    }
    return function text(bytes, at, end, isStrict) {
      const length = end - at;
      if (length <= ${SHORT_TEXT}) {
        const short = shortText(bytes, at, length);
        if (short !== undefined) return short;
      }
      return anyText(bytes, at, end, isStrict);
    }`);
}

interface Unknowns {
  $unknown?: UnknownField[];
}

/** Keeps an unknown field; returns where it ends. */
export function unknownField(
  message: Unknowns,
  bytes: Uint8Array,
  at: number,
  end: number,
  tag: number,
  known: ReadonlySet<number>,
): number {
  const no = tag >>> 3;
  // A known field with another wire type is rare, so it is left to the interpreter.
  if (no === 0 || known.has(no)) throw BAIL;
  const next = skipValue(bytes, at, end, tag & 7);
  keepUnknown(message, no, tag & 7, bytes, at, next);
  return next;
}

/** Skips a value; returns where it ends. Groups are rare, so they are left to the interpreter. */
export function skipValue(bytes: Uint8Array, at: number, end: number, wireType: number): number {
  let next = at;
  switch (wireType) {
    case VARINT:
      while (next < end && bytes[next]! > 127) next++;
      next++;
      if (next - at > 10) refuse(LONG_VARINT);
      break;
    case BIT64:
      next += 8;
      break;
    case LENGTH: {
      const length = size32(bytes, at);
      next = cursor.at + length;
      break;
    }
    case BIT32:
      next += 4;
      break;
    default:
      refuse("a group ends that did not begin");
  }
  if (next > end) refuse(TOO_SHORT);
  return next;
}

/** Keeps the bytes from `at` to `end` as an unknown field. */
export function keepUnknown(
  message: Unknowns,
  no: number,
  wireType: number,
  bytes: Uint8Array,
  at: number,
  end: number,
): void {
  weigh(UNKNOWN_WEIGHT);
  (message.$unknown ??= []).push({ no, wireType, data: part(bytes, at, end) });
}

/** Keeps a number that is not a value of a closed enum as an unknown field. */
export function unknownEnum(message: Unknowns, no: number, value: number, wireType = VARINT): void {
  weigh(UNKNOWN_WEIGHT);
  const data: number[] = [];
  let rest = BigInt.asUintN(64, BigInt(value));
  for (; rest > 127n; rest >>= 7n) data.push(Number(rest & 127n) | 128);
  data.push(Number(rest));
  (message.$unknown ??= []).push({ no, wireType, data: new Uint8Array(data) });
}

/** Sets an entry of a map. "__proto__" is an ordinary key. */
export function setEntry(record: Record<string, unknown>, key: string, value: unknown): void {
  if (key === "__proto__") {
    Object.defineProperty(record, key, { value, writable: true, enumerable: true, configurable: true });
  } else {
    record[key] = value;
  }
}
