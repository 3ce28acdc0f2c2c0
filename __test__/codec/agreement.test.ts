import {
  clone,
  create,
  type DescMessage,
  equals,
  fromBinary,
  isMessage,
  toBinary,
  toJson,
} from "@bufbuild/protobuf";
import { scalarZeroValue } from "@bufbuild/protobuf/reflect";
import { describe, expect, test } from "vitest";
import { decode, decodeFrom, encode } from "../../src/codec/codec.js";
import { compiles } from "../../src/codec/compiled.js";
import { REQUIRED } from "../../src/codec/wire-types.js";
import {
  expectSameReading,
  expectSameRefusal,
  expectSameBytes,
  mutate,
  note,
  randomWrong,
} from "./agreement.js";
import { Random, randomInit } from "./random.js";
import { allMessages, featureRegistry } from "./types.js";

const messages = await allMessages();
messages.forEach(note);
const registry = featureRegistry();
const typeOf = (name: string) => registry.getMessage(`codec.test.${name}`)!;

const VALUES = 25;

describe("the codec and protobuf-es", () => {
  test("are compared with the compiled codec", () => {
    expect(compiles).toBe(true);
    expect(messages.length).toBeGreaterThan(190);
  });

  test.each(messages.map((desc) => [desc.typeName, desc] as const))(
    "agree on %s",
    (_, desc) => {
      for (let seed = 1; seed <= VALUES; seed++) {
        const random = new Random(seed);
        const bytes = expectSameBytes(desc, seed === 1 ? filled(desc) : randomInit(random, desc));
        expectSameReading(desc, mutate(random, bytes.subarray(0, 2000)));
        expectSameRefusal(desc, randomWrong(random, desc));
      }
    },
    60_000,
  );

  // The same as `npm run fuzz:codec`, but with a fixed number of rounds.
  test("agree on random values, wrong values and broken bytes", () => {
    for (let seed = 1_000_000; seed < 1_001_500; seed++) {
      const random = new Random(seed);
      const desc = random.pick(messages);
      const bytes = expectSameBytes(desc, randomInit(random, desc)).subarray(0, 2000);
      for (let count = 0; count < 10; count++) expectSameReading(desc, mutate(random, bytes));
      expectSameRefusal(desc, randomWrong(random, desc));
    }
  }, 60_000);
});

/** The emptiest value that the type allows. */
function filled(desc: DescMessage): Record<string, unknown> {
  const required = desc.fields.filter(({ presence }) => presence === REQUIRED);
  return Object.fromEntries(
    required.map((field) => {
      if (field.message !== undefined) return [field.localName, filled(field.message)];
      if (field.enum !== undefined) return [field.localName, field.enum.values[0]!.number];
      if (field.fieldKind !== "scalar") throw new Error(`${field} is required`);
      return [field.localName, scalarZeroValue(field.scalar, field.longAsString)];
    }),
  );
}

describe("a decoded message", () => {
  const random = new Random(77);
  const samples = ["two.Optional", "two.Defaults", "two.Groups", "three.Scalars", "three.Repeated"].map(
    (name) => [name, typeOf(name)] as const,
  );

  test.each(samples)("is a message of protobuf-es: %s", (_, desc) => {
    for (let count = 0; count < 20; count++) {
      const bytes = toBinary(desc, create(desc, randomInit(random, desc)));
      const message = fromBinary(desc, bytes);
      const decoded = decode(desc, encode(desc, message));
      expect(isMessage(decoded, desc)).toBe(true);
      expect(Object.getPrototypeOf(decoded)).toBe(Object.getPrototypeOf(message));
      expect(Object.keys(decoded).includes("$typeName")).toBe(true);
      expect(toBinary(desc, clone(desc, decoded))).toEqual(toBinary(desc, message));
      // NaN does not even equal itself, so a message may differ from itself.
      expect(equals(desc, decoded, message)).toBe(equals(desc, message, fromBinary(desc, bytes)));
      expect(toJson(desc, decoded, { registry })).toEqual(toJson(desc, message, { registry }));
    }
  });

  test("has the defaults of proto2 on its prototype", () => {
    const decoded = decode(typeOf("two.Defaults"), new Uint8Array()) as unknown as Record<string, unknown>;
    expect(Object.keys(decoded)).toEqual(["$typeName"]);
    expect(decoded).toMatchObject({ double: -1.5, uint64: 2n ** 64n - 1n, asString: "-64", closed: 100_000 });
  });

  test("keeps unknown fields, and writes them after its own", () => {
    const desc = typeOf("two.Optional");
    const unknown = [0xc2, 0x3e, 2, 0x68, 0x69, 0xf0, 0x3e, 5, 0xf5, 0x3e, 1, 2, 3, 4];
    const bytes = Uint8Array.from([...unknown, 0x18, 7]);
    const decoded = decode(desc, bytes);
    expect(decoded.$unknown?.map(({ no }) => no)).toEqual([1000, 1006, 1006]);
    expect(encode(desc, decoded)).toEqual(Uint8Array.from([0x18, 7, ...unknown]));
  });

  test("owns its bytes when its source is overwritten", () => {
    const desc = typeOf("three.Scalars");
    const bytes = encode(desc, { string: "text", bytes: new Uint8Array(100).fill(5) } as never);
    const place = Uint8Array.from([9, ...bytes, 0xc0, 0x3e, 1]);
    const decoded = decodeFrom(desc, place, 1, place.length);
    const before = toBinary(desc, decoded);
    place.fill(0);
    expect(toBinary(desc, decoded)).toEqual(before);
    expect(decoded.$unknown).toHaveLength(1);
  });
});

describe("the order of written fields and entries", () => {
  const desc = typeOf("three.Maps");

  test("is by number for fields, and JavaScript's own for the entries of maps", () => {
    const bytes = encode(desc, {
      stringString: { q: "", 10: "", p: "", 9: "" },
      uint32Int32: { 2: 0, 1: 0 },
    } as never);
    const decoded = decode(desc, bytes) as unknown as { stringString: object };
    expect(bytes[0]).toBe((3 << 3) | 2);
    expect(Object.keys(decoded.stringString)).toEqual(["9", "10", "q", "p"]);
    const keys = Buffer.from(bytes)
      .toString("latin1")
      .match(/[pq0-9]+/g);
    expect(keys).toEqual(["9", "10", "q", "p"]);
  });
});
