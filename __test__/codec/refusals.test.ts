import { runInNewContext } from "node:vm";
import { create, type DescMessage } from "@bufbuild/protobuf";
import { describe, expect, test } from "vitest";
import { encode, encodeInto, encodeWith } from "../../src/codec/codec.js";
import { type Codec, codecsAfter, interpreterOf } from "../../src/codec/compiled.js";
import { slowEncode } from "../../src/codec/fallback.js";
import {
  CreateTaskRequestSchema,
  StateRequestSchema,
} from "../../src/protos/generated/containerd/task/v3/shim_pb.js";
import { featureRegistry } from "./types.js";

const registry = featureRegistry();
const typeOf = (name: string) => registry.getMessage(`codec.test.${name}`)!;

const encodeAny = (desc: DescMessage, value: unknown) => encode(desc, value as never);

/** Whether a codec writes the value itself, without the fallback. */
function accepts(codec: Codec, value: unknown): boolean {
  try {
    codec.write(new Uint8Array(100), 0, value, 1);
    return true;
  } catch {
    return false;
  }
}

/** Both codecs must refuse the value with this message. */
function expectRefused(desc: DescMessage, value: unknown, message: string): void {
  expect(() => encodeAny(desc, value)).toThrow(new TypeError(message));
  expect(() => slowEncode(desc, value as never)).toThrow(new TypeError(message));
}

describe("a wrong message is refused by the path of its field", () => {
  test.each<[string, unknown, string]>([
    ["three.Scalars", { float: 3.5e38 }, "float is out of the range of a float: 3.5e+38"],
    ["three.Scalars", { double: "1" }, "double must be a number, not string"],
    ["three.Scalars", { int64String: "1e3" }, "int64String must be a 64-bit integer as a string, not string"],
    ["three.Scalars", { uint64String: "-1" }, "uint64String must be an unsigned 64-bit integer, not -1"],
    ["three.Scalars", { uint64: -1n }, "uint64 must be an unsigned 64-bit integer, not -1"],
    [
      "three.Scalars",
      { message: { message: { open: 0.5 } } },
      "message.message.open must be a value of codec.test.three.Open (ZERO = 0, ONE = 1, NEGATIVE = -1), not 0.5",
    ],
    [
      "three.Scalars",
      { open: "OPEN_ONE" },
      "open must be a value of codec.test.three.Open (ZERO = 0, ONE = 1, NEGATIVE = -1), not OPEN_ONE",
    ],
    ["three.Repeated", { bytes: [new Uint8Array(), "a"] }, "bytes[1] must be a Uint8Array, not string"],
    ["three.Repeated", { string: [undefined] }, "string[0] must be a string, not undefined"],
    [
      "three.Maps",
      { uint32Int32: { "-1": 0 } },
      'uint32Int32["-1"] must be an unsigned 32-bit integer, not -1',
    ],
    ["three.Maps", { int64Float: { a: 0 } }, 'int64Float["a"]: the key must be an integer'],
    [
      "three.Maps",
      { boolBytes: { yes: new Uint8Array() } },
      'boolBytes["yes"]: the key must be true or false',
    ],
    ["three.Maps", { stringStruct: { a: 5 } }, 'stringStruct["a"] must be a JSON object, not number'],
    ["three.Oneofs", { first: { case: "third", value: 1 } }, /^first\.case must be one of double, /.source],
    [
      "three.Oneofs",
      { first: { case: "int32", value: "1" } },
      "first.value must be a 32-bit integer, not string",
    ],
    ["three.WellKnown", { double: "1" }, "double must be a number, not string"],
    [
      "three.WellKnown",
      { struct: { a: ["\ud800"] } },
      'struct["a"][0] has a lone surrogate, which UTF-8 cannot encode',
    ],
    ["three.WellKnown", { struct: { a: { b: 5n } } }, 'struct["a"]["b"] must be a JSON value, not bigint'],
    [
      "three.WellKnown",
      { structs: [{ "\udc00": 1 }] },
      'structs[0]["\\udc00"] has a lone surrogate, which UTF-8 cannot encode',
    ],
    ["three.WellKnown", { struct: new Date(0) }, "struct must be a JSON object, not Date"],
    ["three.WellKnown", { struct: { a: new Date(0) } }, 'struct["a"] must be a JSON value, not Date'],
    ["three.WellKnown", { struct: { a: [new Map()] } }, 'struct["a"][0] must be a JSON value, not Map'],
    ["three.WellKnown", { struct: { a: /x/ } }, 'struct["a"] must be a JSON value, not RegExp'],
    [
      "three.WellKnown",
      { struct: { a: Promise.resolve(1) } },
      'struct["a"] must be a JSON value, not Promise',
    ],
    [
      "three.WellKnown",
      { struct: { a: new Uint8Array(2) } },
      'struct["a"] must be a JSON value, not Uint8Array',
    ],
    [
      "three.WellKnown",
      { structs: [{ a: new URL("http://a.example") }] },
      'structs[0]["a"] must be a JSON value, not URL',
    ],
    [
      "three.WellKnown",
      {
        struct: {
          a: new (class {
            toJSON = () => 5;
          })(),
        },
      },
      'struct["a"] must be a JSON value, not an object with toJSON: give what that returns',
    ],
    [
      "two.Optional",
      { closed: 5 },
      "closed must be a value of codec.test.two.Closed (FIRST = 1, NEGATIVE = -5, LAST = 100000), not 5",
    ],
    [
      "two.Required",
      { text: "a" },
      "cannot encode codec.test.two.Required: cannot encode field codec.test.two.Required.closed to binary: required field not set",
    ],
    ["three.Nothing", { a: 1 }, "a is not a field of codec.test.three.Nothing"],
    [
      "three.Nothing",
      new Map(),
      "the message must be an object with the fields of codec.test.three.Nothing, not Map",
    ],
  ])("%s %o", (name, value, message) => {
    const desc = typeOf(name);
    if (message.startsWith("^")) message = textOf(() => encodeAny(desc, value));
    expectRefused(desc, value, message);
  });

  test("even if it contains itself", () => {
    const value: Record<string, unknown> = {};
    value["message"] = value;
    const path = Array.from({ length: 100 }, () => "message").join(".");
    expectRefused(typeOf("three.Scalars"), value, `${path} is nested more than 100 deep`);
    const json: Record<string, unknown> = {};
    json["a"] = json;
    expect(() => encodeAny(typeOf("three.WellKnown"), { struct: json })).toThrow(
      / is nested more than 100 deep$/,
    );
  });

  describe.each([
    [
      "were transferred",
      () => {
        const bytes = new Uint8Array(3);
        structuredClone(bytes, { transfer: [bytes.buffer] });
        return bytes;
      },
    ],
    [
      "lie beyond a buffer that shrank",
      () => {
        const buffer = new ArrayBuffer(8, { maxByteLength: 8 });
        const bytes = new Uint8Array(buffer, 4, 4);
        buffer.resize(2);
        return bytes;
      },
    ],
  ])("whose bytes %s", (_, lost) => {
    test.each<[string, string, (bytes: Uint8Array) => unknown]>([
      ["three.Scalars", "bytes", (bytes) => ({ bytes })],
      ["three.Scalars", "message.bytes", (bytes) => ({ message: { bytes } })],
      ["three.Optional", "bytes", (bytes) => ({ bytes })],
      ["three.Repeated", "bytes[0]", (bytes) => ({ bytes: [bytes] })],
      ["three.Maps", 'boolBytes["true"]', (bytes) => ({ boolBytes: { true: bytes } })],
      ["three.Oneofs", "first.value", (bytes) => ({ first: { case: "bytes", value: bytes } })],
      ["three.WellKnown", "bytes", (bytes) => ({ bytes })],
      ["three.WellKnown", "any.value", (bytes) => ({ any: { value: bytes } })],
      ["two.Optional", "bytes", (bytes) => ({ bytes })],
    ])("%s, %s", (name, path, value) => {
      const desc = typeOf(name);
      for (const codecOf of [codecsAfter(0), interpreterOf])
        expect(accepts(codecOf(desc), value(lost()))).toBe(false);
      expectRefused(desc, value(lost()), `${path} must not be detached or outside of its buffer`);
    });

    test("as an unknown field", () => {
      const message = { ...create(StateRequestSchema), $unknown: [{ no: 99, wireType: 2, data: lost() }] };
      expectRefused(
        StateRequestSchema,
        message,
        "$unknown[0] must be an unknown field { no, wireType, data }, not object",
      );
    });
  });

  test.each([
    [
      "a property that is not enumerable",
      Object.defineProperty({}, "id", { value: 5, enumerable: false }),
      "number",
    ],
    [
      "an accessor of a class",
      new (class {
        get id() {
          return new Date(0);
        }
      })(),
      "Date",
    ],
  ])("in %s, too, since it is written if it is right", (_, value, kind) => {
    expectRefused(StateRequestSchema, value, `id must be a string, not ${kind}`);
  });

  test("in an accessor that gives a right value first, and then a wrong one", () => {
    const values = ["\ud800", "right", "\ud800"];
    const value = {
      get id() {
        return values.shift();
      },
    };
    expect(() => encodeAny(StateRequestSchema, value)).toThrow("id has a lone surrogate");
  });
});

function textOf(run: () => unknown): string {
  try {
    run();
    return "";
  } catch (error) {
    return (error as Error).message;
  }
}

describe("the codec accepts as a message", () => {
  const text = (bytes: Uint8Array) => Buffer.from(bytes).toString("latin1");

  test.each([
    ["an object with an undefined property, which counts as missing", { id: "a", bundle: undefined }],
    ["a message that lacks a field", { ...create(CreateTaskRequestSchema, { id: "a" }), bundle: undefined }],
    ["an object without a prototype", Object.assign(Object.create(null) as object, { id: "a" })],
    ["an object that inherits its fields", Object.create({ id: "a" }) as object],
    [
      "an instance of a class",
      new (class {
        id = "a";
      })(),
    ],
    [
      "a getter",
      {
        get id() {
          return "a";
        },
      },
    ],
    ["a proxy", new Proxy({ id: "a" }, {})],
  ])("%s", (_, value) => {
    expect(text(encodeAny(CreateTaskRequestSchema, value))).toBe("\n\u0001a");
    expect(text(slowEncode(CreateTaskRequestSchema, value as never))).toBe("\n\u0001a");
  });

  test("JSON of instances, of objects without a prototype, and of another realm", () => {
    class Point {
      readonly x = 1;
      move() {}
    }
    const bare = Object.assign(Object.create(null) as object, { x: 1 });
    const desc = typeOf("three.WellKnown");
    const expected = slowEncode(desc, { struct: { a: { x: 1 } } } as never);
    for (const a of [new Point(), bare, runInNewContext("({ x: 1 })")]) {
      expect(encodeAny(desc, { struct: { a } })).toEqual(expected);
      expect(slowEncode(desc, { struct: { a } } as never)).toEqual(expected);
    }
  });

  test("a message with a field named like a property of every object", () => {
    const desc = typeOf("three.Inherited");
    expect(encodeAny(desc, {})).toEqual(new Uint8Array());
    expect(text(encodeAny(desc, { hasOwnProperty: "a" }))).toBe("\n\u0001a");
    expect(slowEncode(desc, {} as never)).toEqual(new Uint8Array());
  });

  test("an object with a getter that encodes another message", () => {
    const value = {
      id: "a",
      get bundle() {
        return text(encodeAny(CreateTaskRequestSchema, { id: "inner" }));
      },
    };
    expect(text(encodeAny(CreateTaskRequestSchema, value))).toBe("\n\u0001a\u0012\u0007\n\u0005inner");
  });
});

test("a refusal shows no more of a name or key than tells which it is", () => {
  const long = "k".repeat(5000);
  const start = `${"k".repeat(100)}…`;
  const maps = typeOf("three.Maps");
  expectRefused(
    maps,
    { stringString: { [long]: 5 } },
    `stringString["${start}"] must be a string, not number`,
  );
  expectRefused(maps, { [long]: 5 }, `${start} is not a field of ${maps.typeName}`);
  const digits = "7".repeat(5000);
  const key = `uint64Int64["${"7".repeat(100)}…"]: the key must be an integer`;
  expectRefused(maps, { uint64Int64: { [digits]: 5n } }, key);
  const struct = { [long]: 5n };
  expectRefused(typeOf("three.WellKnown"), { struct }, `struct["${start}"] must be a JSON value, not bigint`);
});

test("a refused message does not cost the buffer in which messages are encoded", () => {
  const bufferOf = () => encodeWith(StateRequestSchema, {}, (bytes) => bytes.buffer);
  const buffer = bufferOf();
  expect(() => encodeAny(StateRequestSchema, { id: 5 })).toThrow("id must be a string, not number");
  expect(bufferOf()).toBe(buffer);
});

test("a message that does not fit is not written past its bounds", () => {
  const bytes = new Uint8Array(16).fill(0xee);
  expect(encodeInto(CreateTaskRequestSchema, { id: "a".repeat(20) }, bytes, 2)).toBe(-1);
  expect(encodeInto(CreateTaskRequestSchema, { id: "a".repeat(12) }, bytes, 2)).toBe(16);
  expect(encodeInto(CreateTaskRequestSchema, { id: "a".repeat(13) }, bytes, 2)).toBe(-1);
  expect(encodeInto(CreateTaskRequestSchema, { options: { value: new Uint8Array(20) } }, bytes, 2)).toBe(-1);
});

test("a long message is encoded however little room there is", () => {
  const value = {
    id: "é".repeat(700_000),
    rootfs: Array.from({ length: 5000 }, (_, index) => ({ source: `/dev/${index}` })),
  };
  const encoded = encode(CreateTaskRequestSchema, value);
  expect(Buffer.compare(encoded, slowEncode(CreateTaskRequestSchema, value))).toBe(0);
});
