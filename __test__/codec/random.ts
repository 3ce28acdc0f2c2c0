import { create, type DescField, type DescMessage, type DescOneof, ScalarType } from "@bufbuild/protobuf";
import { isWrapperDesc } from "@bufbuild/protobuf/wkt";

/** Random numbers determined by a seed (mulberry32). */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed | 0;
  }

  /** A number from 0 to below 1. */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let value = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1);
    value ^= value + Math.imul(value ^ (value >>> 7), value | 61);
    return ((value ^ (value >>> 14)) >>> 0) / 2 ** 32;
  }

  below(limit: number): number {
    return Math.floor(this.next() * limit);
  }

  chance(probability: number): boolean {
    return this.next() < probability;
  }

  pick<T>(from: readonly T[]): T {
    return from[this.below(from.length)]!;
  }

  bytes(length: number): Uint8Array<ArrayBuffer> {
    return Uint8Array.from({ length }, () => this.below(256));
  }
}

const TEXTS = [
  "",
  "a",
  "k8s.io",
  "/tasks/start",
  "grün",
  "日本語",
  "🎉 party",
  "\u0000",
  "\ufeffbom",
  "\ufffd",
  "__proto__",
];
const DOUBLES = [
  0,
  -0,
  1,
  -1.5,
  Number.NaN,
  Infinity,
  -Infinity,
  Number.MAX_VALUE,
  Number.MIN_VALUE,
  2 ** 53,
];
const FLOATS = [0, -0, 1, -1.5, Number.NaN, Infinity, -Infinity, 3.4028234663852886e38, 1e-45, 0.1];
const INT32S = [0, 1, -1, 127, 128, 16383, 16384, 2 ** 31 - 1, -(2 ** 31)];
const UINT32S = [0, 1, 127, 128, 16384, 2 ** 21, 2 ** 28, 2 ** 32 - 1];
const INT64S = [0n, 1n, -1n, 127n, 128n, 2n ** 31n, 2n ** 32n, 2n ** 53n, 2n ** 63n - 1n, -(2n ** 63n)];
const UINT64S = [0n, 1n, 127n, 128n, 2n ** 32n - 1n, 2n ** 32n, 2n ** 63n, 2n ** 64n - 1n];

/** Makes a random plain object of a message: any value that its fields can hold, and any of them left out. */
export function randomInit(random: Random, desc: DescMessage, depth = 0): Record<string, unknown> {
  const init: Record<string, unknown> = {};
  for (const member of desc.members) {
    if (member.kind === "oneof") {
      if (random.chance(0.7)) init[member.localName] = randomOneof(random, member, depth);
      continue;
    }
    const value = randomField(random, member, depth);
    // An undefined property counts as a missing one.
    if (value !== undefined || random.chance(0.05)) init[member.localName] = value;
  }
  return init;
}

function randomOneof(random: Random, oneof: DescOneof, depth: number): unknown {
  if (random.chance(0.1)) return { case: undefined };
  const fields = oneof.fields.filter((field) => field.message === undefined || depth < 4);
  const field = random.pick(fields.length > 0 ? fields : oneof.fields);
  return { case: field.localName, value: randomElement(random, field, depth) };
}

function randomField(random: Random, field: DescField, depth: number): unknown {
  const isRequired = field.presence === 3;
  if (!isRequired && random.chance(0.3 + (field.message === undefined ? 0 : depth * 0.15))) return undefined;
  switch (field.fieldKind) {
    case "list":
      return Array.from({ length: sizeOf(random) }, () => randomElement(random, field, depth));
    case "map":
      return Object.fromEntries(
        Array.from({ length: sizeOf(random) }, () => [
          String(randomScalar(random, field.mapKey)),
          randomElement(random, field, depth),
        ]),
      );
    default:
      return randomElement(random, field, depth);
  }
}

function sizeOf(random: Random): number {
  return random.chance(0.02) ? random.below(200) : random.below(4);
}

function randomElement(random: Random, field: DescField, depth: number): unknown {
  const { message } = field;
  if (message !== undefined) {
    if (message.typeName === "google.protobuf.Struct" && field.parent.typeName !== "google.protobuf.Value")
      return randomJson(random, depth + 1, true);
    if (isWrapperDesc(message) && field.fieldKind === "message" && field.oneof === undefined)
      return randomScalar(random, message.fields[0]?.scalar ?? ScalarType.STRING);
    const init = randomInit(random, message, depth + 1);
    return random.chance(0.3) ? create(message, init) : init;
  }
  if (field.enum !== undefined) {
    if (field.enum.open && random.chance(0.2)) return random.pick(INT32S);
    return random.pick(field.enum.values).number;
  }
  const value = randomScalar(random, field.scalar ?? ScalarType.STRING);
  return typeof value === "bigint" && "longAsString" in field && field.longAsString ? String(value) : value;
}

function randomJson(random: Random, depth: number, object: boolean): unknown {
  const kind = object ? 0 : random.below(depth > 4 ? 4 : 6);
  const size = random.below(4);
  if (object || kind === 5) {
    return Object.fromEntries(
      Array.from({ length: size }, () => [random.pick(TEXTS), randomJson(random, depth + 1, false)]),
    );
  }
  if (kind === 4) return Array.from({ length: size }, () => randomJson(random, depth + 1, false));
  return [null, random.pick(DOUBLES), random.pick(TEXTS), random.chance(0.5)][kind];
}

function randomText(random: Random): string {
  if (random.chance(0.4)) return random.pick(TEXTS);
  const character = random.chance(0.8) ? "x" : random.pick(["é", "語", "🎉"]);
  const length = random.chance(0.03) ? random.below(70_000) : random.below(random.chance(0.5) ? 40 : 300);
  return `${random.below(1e6)}${character.repeat(length)}`;
}

function randomScalar(random: Random, type: ScalarType): unknown {
  switch (type) {
    case ScalarType.STRING:
      return randomText(random);
    case ScalarType.BYTES:
      return random.bytes(random.chance(0.03) ? random.below(20_000) : random.below(200));
    case ScalarType.BOOL:
      return random.chance(0.5);
    case ScalarType.DOUBLE:
      return random.chance(0.5) ? random.pick(DOUBLES) : random.next() * 1e9;
    case ScalarType.FLOAT:
      return random.pick(FLOATS);
    case ScalarType.INT32:
    case ScalarType.SINT32:
    case ScalarType.SFIXED32:
      return random.chance(0.5) ? random.pick(INT32S) : random.below(2 ** 32) - 2 ** 31;
    case ScalarType.UINT32:
    case ScalarType.FIXED32:
      return random.chance(0.5) ? random.pick(UINT32S) : random.below(2 ** 32);
    case ScalarType.INT64:
    case ScalarType.SINT64:
    case ScalarType.SFIXED64:
      return random.chance(0.5)
        ? random.pick(INT64S)
        : BigInt(random.below(2 ** 48)) * (random.chance(0.5) ? 1n : -1n);
    case ScalarType.UINT64:
    case ScalarType.FIXED64:
      return random.chance(0.5) ? random.pick(UINT64S) : BigInt(random.below(2 ** 48));
  }
}
