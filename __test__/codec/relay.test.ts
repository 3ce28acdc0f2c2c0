import {
  create,
  createFileRegistry,
  type DescField,
  type DescMessage,
  ScalarType,
  toBinary,
} from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema, FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { codecsAfter } from "../../src/codec/compiled.js";
import { decode, encode } from "../../src/codec/codec.js";
import { slowEncode } from "../../src/codec/fallback.js";
import { tagOf, wireTypeOf } from "../../src/codec/wire-types.js";
import { conformanceRegistry } from "../conformance/messages.js";
import { expectSameReading, note } from "./agreement.js";
import { Random, randomInit } from "./random.js";
import { isLarge } from "../../src/codec/wire-types.js";
import { allMessages, featureRegistry, generatedMessages } from "./types.js";

const suite = conformanceRegistry();
const registry = featureRegistry();
const typeOf = (name: string) => registry.getMessage(`codec.test.${name}`)!;
const proto2 = suite.getMessage("protobuf_test_messages.proto2.TestAllTypesProto2")!;
const proto3 = suite.getMessage("protobuf_test_messages.proto3.TestAllTypesProto3")!;
const messages = await allMessages();
messages.forEach(note);

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");
const bytesOf = (text: string) => Uint8Array.from(Buffer.from(text, "hex"));
const encodeAny = (desc: DescMessage, value: unknown) => encode(desc, value as never);

function varint(value: bigint): number[] {
  const bytes: number[] = [];
  let rest = BigInt.asUintN(64, value);
  for (; rest > 127n; rest >>= 7n) bytes.push(Number(rest & 127n) | 128);
  return [...bytes, Number(rest)];
}

const lengthed = (bytes: readonly number[]) => [...varint(BigInt(bytes.length)), ...bytes];
const tag = (number: number, wireType: number) => varint(BigInt(tagOf(number, wireType)));

const anyVarint = fc
  .oneof(
    fc.bigInt({ min: 0n, max: 8n }),
    fc.constantFrom(-1n, -5n, 2n ** 31n, 2n ** 32n - 1n, 2n ** 63n - 1n, 2n ** 63n, 2n ** 64n - 1n),
    fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  )
  .map(varint);
const raw = (length: number) =>
  fc.array(fc.oneof(fc.nat(255), fc.constantFrom(0, 0x7f, 0xff)), { minLength: length, maxLength: length });
/** Texts, some of them not UTF-8, and the replacement character. */
const anyText = fc.oneof(
  fc.string({ unit: "grapheme" }).map((text) => Array.from(Buffer.from(text))),
  fc.constantFrom([0xff], [0xed, 0xa0, 0x80], [0xef, 0xbf, 0xbd], [...Buffer.from("__proto__")]),
);

function scalarBytes(type: ScalarType): fc.Arbitrary<number[]> {
  switch (wireTypeOf(type)) {
    case 0:
      return anyVarint;
    case 1:
      return raw(8);
    case 5:
      return raw(4);
    default:
      return (type === ScalarType.STRING ? anyText : fc.array(fc.nat(255), { maxLength: 9 })).map(lengthed);
  }
}

/** Unknown fields, including groups. */
const unknown: fc.Arbitrary<number[]> = fc.letrec<{ field: number[] }>((tie) => ({
  field: fc.nat(5).chain((kind) => {
    const number = 20_000 + kind;
    if (kind === 0) return anyVarint.map((bytes) => tag(number, 0).concat(bytes));
    if (kind === 1) return raw(8).map((bytes) => tag(number, 1).concat(bytes));
    if (kind === 2) return anyText.map((bytes) => tag(number, 2).concat(lengthed(bytes)));
    if (kind === 3) return raw(4).map((bytes) => tag(number, 5).concat(bytes));
    return fc
      .array(tie("field"), { maxLength: 2 })
      .map((fields) => tag(number, 3).concat(fields.flat()).concat(tag(number, 4)));
  }),
})).field;

/** A field as a peer that knows the type might write it: mostly with the right wire type, and with any value. */
function fieldBytes(field: DescField, depth: number): fc.Arbitrary<number[]> {
  const { number, message } = field;
  if (field.fieldKind === "map") {
    const key = scalarBytes(field.mapKey).map((bytes) => tag(1, wireTypeOf(field.mapKey)).concat(bytes));
    const type = field.enum === undefined ? field.scalar : ScalarType.INT32;
    const value =
      message === undefined
        ? scalarBytes(type!).map((bytes) => tag(2, wireTypeOf(type!)).concat(bytes))
        : messageBytes(message, depth - 1).map((bytes) => tag(2, 2).concat(lengthed(bytes)));
    return fc
      .array(fc.oneof({ weight: 5, arbitrary: fc.oneof(key, value) }, unknown), { maxLength: 3 })
      .map((parts) => tag(number, 2).concat(lengthed(parts.flat())));
  }
  if (message !== undefined) {
    const isGroup = "delimitedEncoding" in field && field.delimitedEncoding;
    return messageBytes(message, depth - 1).map((bytes) =>
      isGroup ? tag(number, 3).concat(bytes).concat(tag(number, 4)) : tag(number, 2).concat(lengthed(bytes)),
    );
  }
  const type = field.enum === undefined ? (field.scalar ?? ScalarType.STRING) : ScalarType.INT32;
  const wireType = wireTypeOf(type);
  const one = scalarBytes(type).map((bytes) => tag(number, wireType).concat(bytes));
  if (field.fieldKind !== "list" || wireType === 2) return one;
  const many = fc.array(scalarBytes(type), { maxLength: 4 });
  return fc.oneof(
    one,
    many.map((all) => tag(number, 2).concat(lengthed(all.flat()))),
  );
}

function messageBytes(desc: DescMessage, depth: number): fc.Arbitrary<number[]> {
  const fields = desc.fields.filter(({ message }) => message === undefined || depth > 0);
  const known =
    fields.length === 0 ? unknown : fc.constantFrom(...fields).chain((field) => fieldBytes(field, depth));
  return fc
    .array(fc.oneof({ weight: 6, arbitrary: known }, unknown), { maxLength: depth < 3 ? 3 : 8 })
    .map((parts) => parts.flat());
}

describe("a decoded message can be encoded", () => {
  test.each([
    ["a closed enum's list, packed", "c2050105"],
    ["a closed enum's list, one by one", "b00605"],
    ["a closed enum in a map", "d204040a001003"],
    ["known and unknown values in turn", "c2050400050105"],
    ["a closed enum's field", "a80105"],
    ["a closed enum's field beside an unknown field", "a80105c0843d07"],
    ["a closed enum's field beside an unknown group", "a80105c3843dc4843d"],
  ])("byte for byte: unknown values of %s", (_, text) => {
    expect(hex(encode(proto2, decode(proto2, bytesOf(text))))).toBe(text);
    expectSameReading(proto2, bytesOf(text));
  });

  test("and copied into a plain object", () => {
    const desc = typeOf("two.Repeated");
    const { closed, packedClosed } = decode(desc, bytesOf("38055205050103e707")) as unknown as Record<
      string,
      unknown
    >;
    expect(hex(encodeAny(desc, { closed, packedClosed }))).toBe("38055205050103e707");
  });

  test("whatever fields a peer writes, in any order and repeatedly, in both modes and as by protobuf-es", () => {
    const cases = fc
      .constantFrom(...messages)
      .chain((desc) => messageBytes(desc, 3).map((bytes) => ({ desc, bytes })));
    fc.assert(
      fc.property(cases, ({ desc, bytes }) => expectSameReading(desc, Uint8Array.from(bytes))),
      { numRuns: 4000 },
    );
  }, 120_000);

  test.each([proto2, proto3, suite.getMessage("protobuf_test_messages.editions.TestAllTypesEdition2023")!])(
    "%s with all its fields",
    (desc) => {
      const bytes = messageBytes(desc, 3).map((all) => Uint8Array.from(all));
      fc.assert(
        fc.property(bytes, (all) => expectSameReading(desc, all)),
        { numRuns: 500 },
      );
    },
    120_000,
  );
});

describe("messages of a type that gets compiled after some uses", () => {
  test.each([proto2, proto3, typeOf("editions.Encodings"), typeOf("three.WellKnown")])(
    "are the same before and after that: %s",
    (desc) => {
      const codec = codecsAfter(20)(desc);
      const room = new Uint8Array(1 << 20);
      for (let seed = 1; seed <= 60; seed++) {
        const init = randomInit(new Random(seed), desc, 3);
        const message = create(desc, init);
        const expected = hex(toBinary(desc, message));
        for (const value of [init, message]) {
          const end = codec.write(room, 0, value, 1);
          expect(hex(room.subarray(0, end))).toBe(expected);
        }
        const bytes = bytesOf(expected);
        const read = codec.read(bytes, 0, bytes.length, new codec.Make(), 1, 0);
        expect(hex(toBinary(desc, read as never))).toBe(expected);
      }
    },
  );
});

test.each([
  [300, true],
  [301, false],
])("a type of %i fields is compiled once it is used often: %s", (count, isCompiled) => {
  const field = Array.from({ length: count }, (_, index) => ({
    name: `f${index}`,
    number: index + 1,
    type: 5,
    label: 1,
  }));
  const file = create(FileDescriptorProtoSchema, {
    name: "many.proto",
    syntax: "proto3",
    messageType: [{ name: "Many", field }],
  });
  const desc = createFileRegistry(create(FileDescriptorSetSchema, { file: [file] })).getMessage("Many")!;
  const codec = codecsAfter(3)(desc);
  const [write, read] = [codec.write, codec.read];
  const room = new Uint8Array(9);
  for (let round = 0; round < 3; round++) {
    const end = codec.write(room, 0, { f0: 7 }, 1);
    expect(codec.read(room, 0, end, new codec.Make(), 1, 0)).toMatchObject({ f0: 7, f299: 0 });
  }
  expect([codec.write !== write, codec.read !== read]).toEqual([isCompiled, isCompiled]);
});

describe("a property or value that does not belong to the type", () => {
  const state = suite.getMessage("protobuf_test_messages.proto3.ForeignMessage")!;

  function expectRefused(desc: DescMessage, value: unknown, message: string): void {
    expect(() => encodeAny(desc, value)).toThrow(new TypeError(message));
    expect(() => slowEncode(desc, value as never)).toThrow(new TypeError(message));
  }

  test("is refused in plain objects, and in messages of types with few fields", () => {
    expectRefused(proto3, { naem: 1 }, `naem is not a field of ${proto3.typeName}`);
    expectRefused(
      proto3,
      { optionalForeignMessage: { naem: 1 } },
      `optionalForeignMessage.naem is not a field of ${state.typeName}`,
    );
    expectRefused(state, { ...create(state), naem: 1 }, `naem is not a field of ${state.typeName}`);
    expectRefused(
      proto3,
      { optionalForeignMessage: { ...create(state), naem: 1 } },
      `optionalForeignMessage.naem is not a field of ${state.typeName}`,
    );
  });

  test("is refused in all messages of this package, but for large ones", async () => {
    const ours = await generatedMessages();
    const large = ours.filter(isLarge).map(({ name }) => name);
    expect(large.toSorted()).toEqual(["Container"]);
    for (const desc of ours.filter((one) => !isLarge(one))) {
      expectRefused(desc, { ...create(desc), naem: 1 }, `naem is not a field of ${desc.typeName}`);
    }
  });

  test("is ignored in messages of types with many fields in both modes, as in protobuf-es", () => {
    for (const desc of [proto2, proto3]) {
      const message = Object.assign(create(desc), { optionalInt32: 5, naem: 1 });
      for (const often of [0, Number.POSITIVE_INFINITY]) {
        const room = new Uint8Array(9);
        expect(codecsAfter(often)(desc).write(room, 0, message, 1)).toBe(2);
      }
      expect(hex(encodeAny(desc, message))).toBe("0805");
      expect(hex(slowEncode(desc, message))).toBe("0805");
    }
  });

  test.each<[unknown, string]>([
    [5, "$unknown must be an array, not number"],
    [
      [{ no: 1, wireType: 0, data: "a" }],
      "$unknown[0] must be an unknown field { no, wireType, data }, not object",
    ],
    [
      [{ no: 0, wireType: 0, data: Uint8Array.of(1) }],
      "$unknown[0] must be an unknown field { no, wireType, data }, not object",
    ],
    [
      [{ no: 9, wireType: 6, data: Uint8Array.of(1) }],
      "$unknown[0] must be an unknown field { no, wireType, data }, not object",
    ],
    [[null], "$unknown[0] must be an unknown field { no, wireType, data }, not null"],
  ])("is refused in $unknown if it is not an unknown field: %j", (unknownFields, message) => {
    expectRefused(state, { ...create(state), $unknown: unknownFields }, message);
  });

  test("is refused in lists of closed enums if it is no 32-bit integer", () => {
    const desc = typeOf("two.Repeated");
    const values = "a value of codec.test.two.Closed (FIRST = 1, NEGATIVE = -5, LAST = 100000)";
    expectRefused(desc, { closed: [1, 2 ** 31] }, `closed[1] must be ${values}, not ${2 ** 31}`);
    expectRefused(desc, { closedByName: { a: "b" } }, `closedByName["a"] must be ${values}, not b`);
    expectRefused(typeOf("two.Optional"), { closed: 5 }, `closed must be ${values}, not 5`);
  });
});
