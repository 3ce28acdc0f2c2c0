import {
  create,
  type DescEnum,
  type DescField,
  type DescMessage,
  type Message,
  ScalarType,
} from "@bufbuild/protobuf";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import type { Random } from "./random.js";

type Init = Record<string, unknown>;

/** How the codec gets a value: as a message, or as a plain object, in which defaults may be left out. */
export type Shape = "message" | "plain";

/** The depth to which messages are nested. */
const MAX_DEPTH = 5;

const STRINGS = [
  "",
  "a",
  "0",
  "10",
  "2",
  "__proto__",
  "constructor",
  "toString",
  "hasOwnProperty",
  "\0",
  "\ufeffmark",
  '"\\/\b\f\n\r\t\u001f\u007f\u0080',
  "\u07ff\u0800\ud7ff\ue000\uffff\u{10000}\u{10ffff}",
  "\u2028\u2029",
  "grüße 日本 🎉",
  "type.googleapis.com/containerd.events.TaskExit",
];

const LENGTHS = [126, 127, 128, 300];
const LONG_LENGTHS = [16_383, 16_384, 20_000, 70_000];

/** The first and last code points of each length in UTF-8, without surrogates. */
const RANGES = [
  [0, 0x7f],
  [0x80, 0x7ff],
  [0x800, 0xd7ff],
  [0xe000, 0xffff],
  [0x10000, 0x10ffff],
] as const;

const DOUBLES = [
  0,
  -0,
  1,
  -1,
  0.1,
  Number.NaN,
  Number.POSITIVE_INFINITY,
  Number.NEGATIVE_INFINITY,
  2.2250738585072014e-308,
  5e-324,
  Number.MAX_VALUE,
  -Number.MAX_VALUE,
  2 ** 53,
];

const UINT32 = [0, 1, 127, 128, 16_383, 16_384, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1];
const INT32 = [0, 1, -1, 127, 128, 2 ** 31 - 1, -(2 ** 31)];
const UINT64 = [
  0n,
  1n,
  127n,
  128n,
  2n ** 32n - 1n,
  2n ** 32n,
  2n ** 53n,
  2n ** 53n + 1n,
  2n ** 63n,
  2n ** 64n - 1n,
];
const INT64 = [0n, 1n, -1n, 127n, 2n ** 32n, -(2n ** 32n), 2n ** 53n + 1n, 2n ** 63n - 1n, -(2n ** 63n)];

const UNKNOWN_NUMBERS = [15, 16, 100, 2047, 2048, 18_999, 20_000, 2 ** 29 - 1];
const UNKNOWN_WIRE_TYPES = [WireType.Varint, WireType.Bit64, WireType.LengthDelimited, WireType.Bit32];

/** Generates a value of a type. */
export function makeValue(desc: DescMessage, random: Random, shape: Shape): Message | Init {
  return message(desc, random, shape, 0);
}

function message(desc: DescMessage, random: Random, shape: Shape, depth: number): Message | Init {
  const init: Init = {};
  // So many of ten members are set.
  const density = random.pick([0, 3, 7, 10]);
  for (const member of desc.members) {
    if (random.below(10) >= density) continue;
    if (member.kind === "oneof") {
      const field = random.pick(member.fields);
      if (field.message !== undefined && depth === MAX_DEPTH) continue;
      init[member.localName] = { case: field.localName, value: element(field, random, shape, depth) };
    } else {
      init[member.localName] = content(member, random, shape, depth);
    }
  }
  if (shape === "plain") return init;
  const made = create(desc, init) as Message;
  if (random.onceIn(4)) {
    const unknown = unknownFields(desc, random);
    if (unknown.length > 0) made.$unknown = unknown;
  }
  return made;
}

function content(field: DescField, random: Random, shape: Shape, depth: number): unknown {
  if (shape === "plain" && random.onceIn(12)) return undefined;
  switch (field.fieldKind) {
    case "list":
      return Array.from({ length: count(random, depth) }, () => element(field, random, shape, depth));
    case "map": {
      const entries = Array.from({ length: count(random, depth) }, () => [
        String(scalar(field.mapKey, random)),
        element(field, random, shape, depth),
      ]);
      // Unlike an assignment, this makes `__proto__` a key like any other.
      return Object.fromEntries(entries) as Init;
    }
    case "message":
      return depth === MAX_DEPTH ? undefined : element(field, random, shape, depth);
    default:
      return element(field, random, shape, depth);
  }
}

/** How many items a list or map has. */
function count(random: Random, depth: number): number {
  if (depth === MAX_DEPTH) return 0;
  return random.pick(depth === 0 ? [0, 1, 1, 2, 3, 12] : [0, 1, 2]);
}

function element(field: DescField, random: Random, shape: Shape, depth: number): unknown {
  if (field.message !== undefined) return message(field.message, random, shape, depth + 1);
  if (field.enum !== undefined) return enumValue(field.enum, random);
  return scalar(field.scalar ?? ScalarType.STRING, random);
}

/** A value that the enum declares or, if it is open, any other. */
function enumValue(desc: DescEnum, random: Random): number {
  if (desc.open && random.onceIn(4)) return random.onceIn(2) ? random.pick(INT32) : random.next() | 0;
  return random.pick(desc.values).number;
}

function scalar(type: ScalarType, random: Random): unknown {
  switch (type) {
    case ScalarType.STRING:
      return string(random);
    case ScalarType.BYTES:
      return random.bytes(length(random));
    case ScalarType.BOOL:
      return random.onceIn(2);
    case ScalarType.DOUBLE:
      return double(random);
    case ScalarType.FLOAT:
      return Math.fround(double(random));
    case ScalarType.INT32:
    case ScalarType.SINT32:
    case ScalarType.SFIXED32:
      return random.onceIn(4) ? random.pick(INT32) : (random.next() | 0) >> random.below(32);
    case ScalarType.UINT32:
    case ScalarType.FIXED32:
      return random.onceIn(4) ? random.pick(UINT32) : random.next() >>> random.below(32);
    case ScalarType.INT64:
    case ScalarType.SINT64:
    case ScalarType.SFIXED64:
      return random.onceIn(4)
        ? random.pick(INT64)
        : BigInt.asIntN(64, random.long()) >> BigInt(random.below(64));
    case ScalarType.UINT64:
    case ScalarType.FIXED64:
      return random.onceIn(4) ? random.pick(UINT64) : random.long() >> BigInt(random.below(64));
  }
}

function double(random: Random): number {
  if (random.onceIn(2)) return random.pick(DOUBLES);
  const bits = Buffer.alloc(8);
  bits.writeBigUInt64LE(random.long());
  const value = bits.readDoubleLE();
  // JavaScript does not keep the sign and the payload of a NaN.
  return Number.isNaN(value) ? Number.NaN : value;
}

function length(random: Random): number {
  const chance = random.below(400);
  if (chance === 0) return random.pick(LONG_LENGTHS);
  return chance < 9 ? random.pick(LENGTHS) : random.below(24);
}

function string(random: Random): string {
  if (random.onceIn(3)) return random.pick(STRINGS);
  const size = length(random);
  // Long ones repeat one value, because only their length matters.
  if (size > 300) return String.fromCodePoint(0x20 + random.below(0x5f)).repeat(size);
  const ranges = size > 100 || random.onceIn(2) ? ([[0x20, 0x7e]] as const) : RANGES;
  let text = "";
  for (let index = 0; index < size; index++) {
    const [first, last] = random.pick<readonly [number, number]>(ranges);
    text += String.fromCodePoint(first + random.below(last - first + 1));
  }
  return text;
}

function unknownFields(desc: DescMessage, random: Random): NonNullable<Message["$unknown"]> {
  const taken = new Set(desc.fields.map(({ number }) => number));
  return Array.from({ length: random.pick([1, 1, 2, 5]) }, () => {
    const wireType = random.pick(UNKNOWN_WIRE_TYPES);
    return { no: random.pick(UNKNOWN_NUMBERS), wireType, data: unknownData(wireType, random) };
  }).filter(({ no }) => !taken.has(no));
}

function unknownData(wireType: WireType, random: Random): Uint8Array {
  const writer = new BinaryWriter();
  switch (wireType) {
    case WireType.Varint:
      return writer.uint64(scalar(ScalarType.UINT64, random) as bigint).finish();
    case WireType.Bit64:
      return writer.fixed64(random.long()).finish();
    case WireType.Bit32:
      return writer.fixed32(random.next()).finish();
    default:
      return writer.bytes(random.bytes(length(random))).finish();
  }
}
