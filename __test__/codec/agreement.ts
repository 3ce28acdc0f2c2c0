import { inspect, isDeepStrictEqual } from "node:util";
import { create, type DescMessage, fromBinary, type Message, toBinary } from "@bufbuild/protobuf";
import { type CodecOf, codecsAfter, interpreterOf } from "../../src/codec/compiled.js";
import { decode, decodeFrom, encode } from "../../src/codec/codec.js";
import { fault } from "../../src/codec/compiled-signals.js";
import { slowEncode } from "../../src/codec/fallback.js";
import { cursor } from "../../src/codec/read.js";
import { Random, randomInit } from "./random.js";
import { decodeStrictly } from "./strict.js";

/**
 * What must hold between this codec and protobuf-es. Each function throws an Error that says what does not hold. Tests
 * and the fuzzer share them.
 */

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");
const short = (text: string) => (text.length > 1000 ? `${text.slice(0, 1000)}...` : text);

/** The codec always compiled, and never compiled. */
const MODES: readonly (readonly [string, CodecOf])[] = [
  ["compiled", codecsAfter(0)],
  ["interpreted", interpreterOf],
];

/** Room before and behind a message, which must stay as it is. */
const MARGIN = 70;

/** A valid value is encoded to the same bytes in both modes, without the fallback, and decoded to the same message. */
export function expectSameBytes(desc: DescMessage, init: Record<string, unknown>): Uint8Array {
  const message = create(desc, init);
  const expected = toBinary(desc, message);
  for (const [what, value] of [
    ["a plain object", init],
    ["a message", message],
  ] as const) {
    for (const [mode, of] of MODES) {
      const room = new Uint8Array(MARGIN + expected.length + MARGIN).fill(0xa5);
      let end: number;
      try {
        end = of(desc).write(room, MARGIN, value, 1);
      } catch (cause) {
        throw new Error(`${desc.typeName}, ${mode}: ${what} made it throw ${String(cause)}: ${show(value)}`, {
          cause,
        });
      }
      const written = room.subarray(MARGIN, end);
      if (hex(written) !== hex(expected)) {
        throw new Error(
          `${desc.typeName}, ${mode}: ${what} is encoded to\n${short(hex(written))}, not to\n${short(hex(expected))}\n${show(init)}`,
        );
      }
      if (room.subarray(0, MARGIN).some((byte) => byte !== 0xa5)) throw new Error("wrote before its place");
    }
    if (hex(encode(desc, value as never)) !== hex(expected))
      throw new Error(`${desc.typeName}: encode() differs`);
  }
  for (const [, of] of MODES) checkRoom(of, desc, init, expected);
  expectSameReading(desc, expected, true);
  return expected;
}

/** Too little room is reported, wherever it ends. */
function checkRoom(of: CodecOf, desc: DescMessage, init: unknown, expected: Uint8Array): void {
  if (expected.length === 0) return;
  const random = new Random(expected.length);
  for (const size of [expected.length - 1, random.below(expected.length)]) {
    let end: unknown;
    try {
      end = of(desc).write(new Uint8Array(size), 0, init, 1);
    } catch (error) {
      end = error;
    }
    if (typeof end === "number" ? end <= size : String(end) !== "Symbol(no room)") {
      throw new Error(`${desc.typeName}: ${size} of ${expected.length} bytes gave ${String(end)}`);
    }
  }
}

/**
 * Any bytes are accepted or refused in both modes as by protobuf-es after what that leaves out (strict.ts), and give the
 * same message. An accepted message can be encoded, and is the same after that. With `alone`, the compiled code must accept
 * the bytes itself.
 */
export function expectSameReading(desc: DescMessage, bytes: Uint8Array, alone = false): void {
  const expected = outcome(() => decodeStrictly(desc, bytes));
  const place = new Uint8Array(MARGIN + bytes.length + MARGIN).fill(0x08);
  place.set(bytes, MARGIN);
  const results: [string, Outcome][] = [
    ["a view", outcome(() => decode(desc, bytes))],
    ["a part", outcome(() => decodeFrom(desc, place, MARGIN, MARGIN + bytes.length))],
    ...MODES.map(([mode, of]): [string, Outcome] => [mode, outcome(() => decodeIn(of, desc, bytes, alone))]),
  ];
  place.fill(0xff);
  for (const [what, result] of results) {
    if (result.value !== undefined) {
      expectSameRefusal(desc, result.value);
      if (!isDeepStrictEqual(result.value, results[0]![1].value))
        throw new Error(
          `${desc.typeName}: ${what} of ${short(hex(bytes))} gave\n${show(result)}, not\n${show(results[0]![1])}`,
        );
    }
    if (expected.error !== undefined) {
      if (result.error?.startsWith(`cannot decode ${desc.typeName}: `)) continue;
    } else if (isDeepStrictEqual(result.value, expected.value)) continue;
    else if (result.value !== undefined && isDeepStrictEqual(known(result.value), known(expected.value)))
      continue;
    throw new Error(
      `${desc.typeName}: ${what} of ${short(hex(bytes))} gave\n${show(result)}, not\n${show(expected)}`,
    );
  }
  const [[, { value }]] = results as [[string, Outcome<Message>]];
  if (value !== undefined) expectRelay(desc, value, bytes);
}

/** Decodes as the codec does, starting with the given one. */
function decodeIn(of: CodecOf, desc: DescMessage, bytes: Uint8Array, alone: boolean): Message {
  const codecs = alone ? [of] : [of, interpreterOf];
  for (const each of codecs) {
    cursor.copy = false;
    const { Make, read } = each(desc);
    try {
      return read(bytes, 0, bytes.length, new Make(), 1, 0) as Message;
    } catch (error) {
      if (alone) throw error;
    }
  }
  throw new Error(`cannot decode ${desc.typeName}: ${fault.text}`);
}

/** A decoded message can be encoded, and decoding and encoding it again does not change the bytes. */
function expectRelay(desc: DescMessage, message: Message, bytes: Uint8Array): void {
  const sent = outcome(() => encode(desc, message));
  if (sent.value === undefined) {
    if (sent.error?.endsWith("required field not set")) return;
    throw new Error(`${desc.typeName}: ${short(hex(bytes))} is no longer encoded: ${sent.error}`);
  }
  const again = encode(desc, decode(desc, sent.value));
  // V8 may or may not keep the bits of a NaN.
  if (
    hex(again) === hex(sent.value) ||
    (again.length === sent.value.length && isDeepStrictEqual(decode(desc, again), decode(desc, sent.value)))
  )
    return;
  throw new Error(
    `${desc.typeName}: ${short(hex(bytes))} became\n${short(hex(sent.value))}, and then\n${short(hex(again))}`,
  );
}

/**
 * protobuf-es loses the unknown values of closed enums in a message that also has unknown fields. Only in such a message
 * may the two differ, and only in that.
 */
function known(message: unknown): unknown {
  if (message instanceof Uint8Array || typeof message !== "object" || message === null) return message;
  const copy = Object.create(Object.getPrototypeOf(message)) as Record<string, unknown>;
  for (const [name, value] of Object.entries(message)) {
    if (name === "$unknown" && closed.has((message as Message).$typeName)) continue;
    copy[name] = known(value);
  }
  return Array.isArray(message) ? Object.values(copy) : copy;
}

/** The messages with singular fields of closed enums. */
const closed = {
  has: (typeName: string) => closedTypes.has(typeName),
};
const closedTypes = new Set<string>();

/** Registers a type for the functions in this file. */
export function note(desc: DescMessage): void {
  if (desc.fields.some((field) => field.fieldKind === "enum" && !field.enum.open))
    closedTypes.add(desc.typeName);
}

/** Any value, above all a wrong one, is encoded by both to the same bytes or refused with the same error. */
export function expectSameRefusal(desc: DescMessage, value: unknown): void {
  const expected = outcome(() => hex(slowEncode(desc, value as never)));
  const result = outcome(() => hex(encode(desc, value as never)));
  if (expected.error === result.error && expected.value === result.value) return;
  if (expected.value !== undefined && result.value !== undefined) {
    // V8 may or may not keep the bits of a NaN.
    const [one, other] = [expected.value, result.value].map((text) =>
      fromBinary(desc, Buffer.from(text, "hex")),
    );
    if (expected.value.length === result.value.length && isDeepStrictEqual(one, other)) return;
  }
  throw new Error(`${desc.typeName}: gave\n${show(result)}, not\n${show(expected)} for\n${show(value)}`);
}

const WRONG: readonly unknown[] = [
  null,
  undefined,
  "text",
  "",
  "\ud800",
  `${"x".repeat(100)}\udc00`,
  0,
  -1,
  1.5,
  Number.NaN,
  2 ** 31,
  2 ** 32,
  -(2 ** 31) - 1,
  3.5e38,
  5n,
  -5n,
  2n ** 63n,
  2n ** 64n,
  -(2n ** 63n) - 1n,
  "12",
  "1e3",
  true,
  [],
  [1],
  [undefined],
  {},
  { case: "nothing", value: 1 },
  { case: null },
  { unknown: 1 },
  new Date(0),
  new Map(),
  new Uint8Array(3),
  Symbol("s"),
  () => 1,
];

/** Puts one wrong value into a random place of a random value. */
export function randomWrong(random: Random, desc: DescMessage): unknown {
  const init = randomInit(random, desc);
  if (random.chance(0.05)) return random.pick(WRONG);
  let at: Record<string, unknown> = init;
  for (;;) {
    const inside = Object.values(at).filter(
      (value): value is Record<string, unknown> =>
        typeof value === "object" && value !== null && !(value instanceof Uint8Array),
    );
    if (inside.length === 0 || random.chance(0.4)) break;
    at = random.pick(inside);
  }
  const names = Object.keys(at);
  if (Array.isArray(at) ? names.length === 0 : names.length === 0 || random.chance(0.2)) {
    if (Array.isArray(at)) at.push(random.pick(WRONG));
    else at[random.pick(["unknown", "ID", "$typeName", "$unknown", "case"])] = random.pick(WRONG);
  } else {
    at[random.pick(names)] = random.pick(WRONG);
  }
  return init;
}

/** Breaks bytes in one of a few typical ways. */
export function mutate(random: Random, bytes: Uint8Array): Uint8Array {
  const result: number[] = [...bytes];
  for (let count = 1 + random.below(3); count > 0; count--) {
    const at = random.below(result.length + 1);
    switch (random.below(8)) {
      case 0:
        result.length = at;
        break;
      case 1:
        result.splice(at, random.below(4));
        break;
      case 2:
        result.splice(at, 0, ...random.bytes(random.below(4)));
        break;
      case 3:
        if (at < result.length) result[at] = result[at]! ^ (1 << random.below(8));
        break;
      case 4:
        if (at < result.length) result[at] = random.pick([0, 1, 0x7f, 0x80, 0xff]);
        break;
      case 5:
        result.splice(at, 0, ...Array.from({ length: random.below(11) }, () => random.pick([0x80, 0xff])));
        break;
      case 6:
        result.push(...result.slice(random.below(result.length + 1)));
        break;
      default: {
        const from = random.below(result.length + 1);
        result.splice(at, 0, ...result.slice(from, from + random.below(20)));
      }
    }
  }
  return Uint8Array.from(result);
}

interface Outcome<T = unknown> {
  readonly value?: T;
  readonly error?: string;
}

function outcome<T>(run: () => T): Outcome<T> {
  try {
    return { value: run() };
  } catch (error) {
    return { error: error instanceof Error ? error.message : String(error) };
  }
}

function show(value: unknown): string {
  return inspect(value, { depth: 20, breakLength: 160, maxStringLength: 60, maxArrayLength: 500 });
}
