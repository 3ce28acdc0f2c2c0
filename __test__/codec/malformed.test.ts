import { create, type DescMessage, fromBinary, toBinary } from "@bufbuild/protobuf";
import { StructSchema, ValueSchema } from "@bufbuild/protobuf/wkt";
import { describe, expect, test } from "vitest";
import { Code, TtrpcError } from "containerd-shim-protos";
import { decode, decodeFrom } from "../../src/codec/codec.js";
import { expectSameReading, note } from "./agreement.js";
import { allMessages, featureRegistry } from "./types.js";

const registry = featureRegistry();
const typeOf = (name: string) => registry.getMessage(`codec.test.${name}`)!;
const scalars = typeOf("three.Scalars");
const messages = await allMessages();
messages.forEach(note);

function varint(value: number | bigint, atLeast = 1): number[] {
  const bytes: number[] = [];
  let rest = BigInt(value);
  do {
    bytes.push(Number(rest & 127n) | 128);
    rest >>= 7n;
  } while (rest > 0n || bytes.length < atLeast);
  bytes.push(bytes.pop()! & 127);
  return bytes;
}

const tag = (number: number, wireType: number) => varint(number * 8 + wireType);

function nested(desc: DescMessage, field: string, depth: number): Uint8Array {
  const { number, ...rest } = desc.field[field]!;
  const isGroup = "delimitedEncoding" in rest && rest.delimitedEncoding;
  let bytes: number[] = [];
  for (let level = 1; level < depth; level++) {
    bytes = isGroup
      ? [...tag(number, 3), ...bytes, ...tag(number, 4)]
      : [...tag(number, 2), ...varint(bytes.length), ...bytes];
  }
  return Uint8Array.from(bytes);
}

/** Why the bytes are refused; with others behind them, if any are given. */
function faultOf(desc: DescMessage, bytes: readonly number[], behind?: readonly number[]): string {
  try {
    if (behind === undefined) decode(desc, Uint8Array.from(bytes));
    else decodeFrom(desc, Uint8Array.from([...bytes, ...behind]), 0, bytes.length);
    return "none";
  } catch (error) {
    return String(error);
  }
}

test.each([
  ["a tag", [0xff]],
  ["a tag behind a field", [...tag(99, 0), 1, 0xff, 0xff]],
  ["a number", [...tag(3, 0), 0xff, 0xff]],
  ["a length", [...tag(99, 2), 0xff]],
  ["a group", [...tag(99, 3), 0xff]],
])("an error about %s that is cut off tells nothing of the bytes behind it", (_, bytes) => {
  const expected = faultOf(scalars, bytes);
  expect(expected).toContain("cannot decode");
  for (const behind of [[0], [65], [0x7f, 1], [0xff, 0xff, 0xff, 0xff, 1], Array<number>(12).fill(0xff)]) {
    expect(faultOf(scalars, bytes, behind)).toBe(expected);
  }
});

function accepts(desc: DescMessage, bytes: Uint8Array): boolean {
  try {
    decode(desc, bytes);
    return true;
  } catch {
    return false;
  }
}

describe("wrong or odd bytes are accepted or refused in both modes alike:", () => {
  test("every cut of a message of every kind", () => {
    for (const desc of messages) {
      const init = Object.fromEntries(
        desc.fields.flatMap((field) =>
          field.scalar === 9 && field.fieldKind === "scalar" && field.oneof === undefined
            ? [[field.localName, "some text"]]
            : [],
        ),
      );
      let bytes: Uint8Array;
      try {
        bytes = toBinary(desc, create(desc, init));
      } catch {
        continue;
      }
      for (let length = 0; length < Math.min(bytes.length, 200); length++)
        expectSameReading(desc, bytes.subarray(0, length));
    }
  });

  const VALUES: readonly number[][] = [
    [],
    [0],
    [1],
    [0x7f],
    [0x80],
    [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
    [0, 0, 0, 0],
    [0, 0, 0, 0, 0, 0, 0, 0],
    [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12],
    [2, 0xff, 0xfe],
    [3, 0xe2, 0x82, 0xac],
    [4, 8, 1, 16, 2],
  ];

  // Two messages of this package and all that test a feature: the compiled code depends only on a field's kind.
  const features = messages.filter(({ typeName }) => /^codec|CreateTaskRequest$|MemoryStat$/.test(typeName));
  test.each(features.map((desc) => [desc.typeName, desc] as const))(
    "each field of %s with each wire type",
    (_, desc) => {
      for (const { number } of [...desc.fields, { number: 19_999 }]) {
        for (let wireType = 0; wireType < 8; wireType++) {
          for (const value of VALUES) {
            expectSameReading(desc, Uint8Array.from([...tag(number, wireType), ...value]));
            // Followed by another field, so that a read past the end finds something.
            expectSameReading(
              desc,
              Uint8Array.from([...tag(number, wireType), ...value, ...tag(19_998, 0), 5]),
            );
          }
        }
      }
    },
  );

  test.each([
    ["a varint without an end", [0x18, ...Array<number>(9).fill(0x80)]],
    ["a varint of 11 bytes", [0x18, ...varint(1, 11)]],
    ["a varint of 10 bytes for 1", [0x18, ...varint(1, 10)]],
    ["a varint whose last byte holds too much", [0x20, ...Array<number>(9).fill(0xff), 0x7f]],
    ["a boolean of 10 bytes", [0x68, ...varint(0, 10)]],
    ["a boolean of 2", [0x68, 2]],
    ["a boolean of 2^63", [0x68, ...varint(2n ** 63n)]],
    ["a 32-bit integer of 64 bits", [0x28, ...varint(2n ** 40n + 3n)]],
    ["a length of 2^32 - 1", [0x72, ...varint(2 ** 32 - 1), 1, 2]],
    ["a length of 2^31", [0x8a, 1, ...varint(2 ** 31), 1, 2]],
    ["a length of 5 bytes for 1", [0x72, ...varint(1, 5), 0x61]],
    ["a length of 10 bytes", [0x72, ...varint(1, 10), 0x61]],
    ["a tag of 5 bytes for a known field", [...varint(0x72, 5), 1, 0x61]],
    ["a tag of 6 bytes", [...varint(0x72, 6), 1, 0x61]],
    ["a tag past 32 bits", [0xf2, 0xff, 0xff, 0xff, 0x1f, 1]],
    ["the largest field number", [...varint(0xffff_fff8), 5]],
    ["field number 0", [0, 1]],
    ["field number 0 with a length", [2, 1, 1]],
    ["field number 0 of two bytes", [0x80, 0, 1]],
    ["an end of a group that did not start", [0x0c]],
    ["a group of an unknown field", [...tag(500, 3), 8, 1, ...tag(500, 4)]],
    ["a group that ends with another number", [...tag(500, 3), 8, 1, ...tag(501, 4)]],
    ["a group without an end", [...tag(500, 3), 8, 1]],
    ["a group in a group", [...tag(500, 3), ...tag(7, 3), ...tag(7, 4), ...tag(500, 4)]],
    ["an unknown varint of 20 bytes", [...tag(500, 0), ...varint(1, 20)]],
    ["an unknown length past the end", [...tag(500, 2), 5, 1]],
    ["invalid UTF-8", [0x72, 2, 0xc3, 0x28]],
    ["overlong UTF-8", [0x72, 2, 0xc0, 0x80]],
    ["UTF-8 of a surrogate", [0x72, 3, 0xed, 0xa0, 0x80]],
    ["truncated UTF-8", [0x72, 2, 0xe2, 0x82]],
    ["a replacement character", [0x72, 3, 0xef, 0xbf, 0xbd]],
    ["a byte-order mark", [0x72, 4, 0xef, 0xbb, 0xbf, 0x61]],
    ["invalid UTF-8 in a long text", [0x72, 100, ...Array<number>(99).fill(0x61), 0xff]],
    ["a message that is read past its end", [0x8a, 1, 2, 0x09, 1, 1, 2, 3, 4, 5, 6, 7, 8]],
    ["a message whose text goes past its end", [0x8a, 1, 3, 0x72, 5, 0x61, 0x62, 0x63, 0x64, 0x65]],
    ["a message twice", [0x8a, 1, 2, 0x18, 1, 0x8a, 1, 2, 0x20, 2]],
    ["a field twice", [0x18, 1, 0x18, 2, 0x72, 1, 0x61, 0x72, 1, 0x62]],
    ["NaN with a payload", [0x09, 1, 2, 3, 4, 5, 6, 0xf8, 0x7f]],
  ])("%s", (_, bytes) => {
    expectSameReading(scalars, Uint8Array.from(bytes));
    expectSameReading(scalars, Uint8Array.from([0x18, 5, ...bytes]));
    expectSameReading(scalars, Uint8Array.from([...tag(17, 2), ...varint(bytes.length), ...bytes]));
    expectSameReading(scalars, Uint8Array.from([...tag(17, 2), ...varint(bytes.length), ...bytes, 0x18, 5]));
  });

  test.each([
    ["three.Maps", "an entry without key and value", [0x62, 0]],
    ["three.Maps", "an entry with its value first", [0x62, 6, 0x12, 1, 0x61, 0x0a, 1, 0x62]],
    ["three.Maps", "an entry with two keys", [0x62, 6, 0x0a, 1, 0x61, 0x0a, 1, 0x62]],
    ["three.Maps", "an entry with an unknown field", [0x62, 5, 0x0a, 1, 0x61, 0x18, 1]],
    ["three.Maps", "an entry that is read past its end", [0x62, 2, 0x0a, 4, 0x61, 0x62, 0x63, 0x64]],
    ["three.Maps", "an entry twice", [0x1a, 4, 8, 1, 16, 2, 0x1a, 4, 8, 1, 16, 3]],
    ["three.Maps", "a key that is __proto__", [0x62, 11, 0x0a, 9, ...Buffer.from("__proto__")]],
    ["three.Maps", "a message twice in an entry", [0x72, 8, 0x12, 2, 0x62, 0, 0x12, 2, 0x62, 0]],
    ["three.Maps", "a boolean key of 2", [0x5a, 2, 8, 2]],
    ["three.Oneofs", "two cases", [0x18, 1, 0x3a, 1, 0x61]],
    ["three.Oneofs", "a message case twice", [0x52, 2, 0x18, 1, 0x52, 2, 0x7a, 0]],
    ["three.Oneofs", "a wrapper case twice", [0x5a, 3, 0x0a, 1, 0x61, 0x5a, 0]],
    [
      "three.Oneofs",
      "a Struct case twice",
      [0x62, 5, 0x0a, 3, 0x0a, 1, 0x61, 0x62, 5, 0x0a, 3, 0x0a, 1, 0x62],
    ],
    ["three.WellKnown", "a wrapper twice", [0x42, 3, 0x0a, 1, 0x61, 0x42, 0]],
    ["three.WellKnown", "a wrapper with an unknown field", [0x42, 2, 0x18, 1]],
    ["three.WellKnown", "a Struct twice", [0x52, 5, 0x0a, 3, 0x0a, 1, 0x61, 0x52, 5, 0x0a, 3, 0x0a, 1, 0x62]],
    ["three.WellKnown", "a Struct with a value that has no kind", [0x52, 7, 0x0a, 5, 0x0a, 1, 0x61, 0x12, 0]],
    ["three.Repeated", "packed and unpacked in turn", [0x1a, 2, 1, 2, 0x18, 3, 0x98, 1, 4, 0x9a, 1, 1, 5]],
    ["three.Repeated", "a packed list that is read past its end", [0x1a, 1, 0x80, 1]],
    ["three.Repeated", "a packed list of doubles with a remainder", [0x0a, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9]],
    ["three.Repeated", "an empty packed list", [0x1a, 0]],
    ["two.Optional", "an unknown value of a closed enum", [0x80, 1, 5]],
    ["two.Optional", "an unknown negative value of a closed enum", [0x80, 1, ...varint(2n ** 64n - 9n)]],
    ["two.Optional", "the text of proto2, which need not be UTF-8", [0x72, 2, 0xc3, 0x28]],
    ["two.Repeated", "unknown values of a closed enum in a list", [0x38, 5, 0x52, 2, 5, 1]],
    ["two.Groups", "a group that ends as another", [0x0b, 0x14]],
    ["two.Groups", "a group without an end", [0x0b]],
    ["two.Groups", "a group that ends outside of its message", [0x0b, 0x12, 2, 0x0b, 0x0c, 0x0c]],
    ["two.Groups", "a group twice", [0x0b, 0x0a, 1, 0x61, 0x0c, 0x0b, 0x1b, 0x1c, 0x0c]],
    ["two.Groups", "a group's number with a length", [0x0a, 0]],
    ["two.Required", "required fields that are missing", []],
    [
      "editions.Encodings",
      "text that need not be UTF-8",
      [0x3a, 2, 0xc3, 0x28, 0x42, 1, 0xff, 0x6a, 1, 0xff],
    ],
  ])("%s: %s", (name, _, bytes) => {
    expectSameReading(typeOf(name), Uint8Array.from(bytes));
  });

  test.each([
    [scalars, "message"],
    [typeOf("editions.Encodings"), "delimited"],
    [typeOf("two.Groups"), "one"],
    [typeOf("three.Maps"), "stringMessage"],
    [typeOf("three.Nothing"), "unknown"],
  ] as const)("%s nested up to 100 deep and deeper", (desc, field) => {
    if (field === "unknown") {
      for (let depth = 97; depth < 105; depth++) {
        const groups = [
          ...Array.from({ length: depth }, () => 0x0b),
          ...Array.from({ length: depth }, () => 0x0c),
        ];
        expectSameReading(desc, Uint8Array.from(groups));
      }
      return;
    }
    for (let depth = 97; depth < 105; depth++) expectSameReading(desc, nested(desc, field, depth));
    expect(() => expectSameReading(desc, nested(desc, field, 2000))).not.toThrow();
  });

  test("messages nested 100 deep and no deeper", () => {
    expect(accepts(scalars, nested(scalars, "message", 100))).toBe(true);
    expect(accepts(scalars, nested(scalars, "message", 101))).toBe(false);
  });

  test("a Struct nested too deep", () => {
    for (const depth of [40, 48, 49, 50, 51, 60]) {
      let struct = create(StructSchema);
      for (let level = 0; level < depth; level++) {
        const value = create(ValueSchema, { kind: { case: "structValue", value: struct } });
        struct = create(StructSchema, { fields: { a: value } });
      }
      const bytes = toBinary(StructSchema, struct);
      expectSameReading(StructSchema, bytes);
      expectSameReading(
        typeOf("three.WellKnown"),
        Uint8Array.from([0x52, ...varint(bytes.length), ...bytes]),
      );
    }
  });

  test("refused ones are a TtrpcError with the code Internal", () => {
    const bytes = Uint8Array.from([0x72, 5]);
    expect(() => fromBinary(scalars, bytes)).toThrow("premature EOF");
    let error: unknown;
    try {
      decode(scalars, bytes);
    } catch (thrown) {
      error = thrown;
    }
    expect(error).toMatchObject({
      name: TtrpcError.name,
      code: Code.Internal,
      message: "cannot decode codec.test.three.Scalars: premature EOF",
    });
  });
});
