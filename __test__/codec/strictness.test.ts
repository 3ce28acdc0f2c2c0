import { CreateTaskRequestSchema, StateRequestSchema } from "containerd-shim-protos/task/v3";
import { Code } from "containerd-shim-protos";
import { describe, expect, test } from "vitest";
import type { DescMessage } from "@bufbuild/protobuf";
import { decode, encode } from "../../src/codec/codec.js";
import { codecsAfter, interpreterOf } from "../../src/codec/compiled.js";
import { featureRegistry } from "./types.js";

const registry = featureRegistry();
const typeOf = (name: string) => registry.getMessage(`codec.test.${name}`)!;

const bytesOf = (text: string) => Uint8Array.from(Buffer.from(text, "hex"));
const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");

function failureOf(desc: DescMessage, text: string): unknown {
  try {
    return decode(desc, bytesOf(text));
  } catch (error) {
    return error;
  }
}

describe("a value of another wire type than its field's", () => {
  // So do the decoders in Rust and Go: a peer may have a newer definition of the field.
  test.each<[string, DescMessage, string, string]>([
    ["a number for a text", StateRequestSchema, "0802120161", "1201610802"],
    ["a text for a boolean", CreateTaskRequestSchema, "220201010a0161", "0a016122020101"],
    ["a number for a message", CreateTaskRequestSchema, "18050a0161", "0a01611805"],
    ["a group for a text", StateRequestSchema, "0b08010c120161", "1201610b08010c"],
    ["a text for a closed enum", typeOf("two.Optional"), "8201021805", "8201021805"],
    ["32 bits for a packed list", typeOf("three.Repeated"), "1d01020304", "1d01020304"],
    ["a message for a group", typeOf("two.Groups"), "0a0412020801", "0a0412020801"],
  ])("is kept as an unknown field: %s", (_, desc, text, written) => {
    const message = decode(desc, bytesOf(text));
    expect(message.$unknown).toHaveLength(1);
    expect(hex(encode(desc, message as never))).toBe(written);
  });

  test("is left out of the entry of a map, as everything unknown is", () => {
    const desc = typeOf("three.Maps");
    const message = decode(desc, bytesOf("1a050a01611001")) as unknown as { uint32Int32: object };
    expect(message.uint32Int32).toEqual({ 0: 1 });
  });
});

describe("bytes are refused with a text that says why:", () => {
  test.each<[string, DescMessage, string, string]>([
    ["a text past the end of its message", CreateTaskRequestSchema, "1a030a056162636465", "premature EOF"],
    ["a list past its end", typeOf("three.Repeated"), "0a09" + "01".repeat(16), "premature EOF"],
    ["an entry past its end", typeOf("three.Maps"), "62040a056162636465", "premature EOF"],
    [
      "a length of more than 32 bits",
      StateRequestSchema,
      "0a818080801061",
      "a tag or a length has more than 32 bits",
    ],
    [
      "an unknown number of 20 bytes",
      StateRequestSchema,
      `78${"80".repeat(19)}01`,
      "a varint has more than 10 bytes",
    ],
    [
      "a number of 11 bytes",
      CreateTaskRequestSchema,
      `20${"80".repeat(10)}01`,
      "a varint has more than 10 bytes",
    ],
    ["a text that is not UTF-8", StateRequestSchema, "0a02c328", "a text is not UTF-8"],
    ["field number 0", StateRequestSchema, "0200", "illegal tag: field no 0 wire type 2"],
    ["wire type 7", StateRequestSchema, "0f", "illegal tag: field no 1 wire type 7"],
    ["wire type 7 in a group", StateRequestSchema, "7b0f7c", "illegal tag: field no 1 wire type 7"],
    ["the end of no group", StateRequestSchema, "0c", "a group ends that did not begin"],
    ["a group without an end", StateRequestSchema, "7b0801", "premature EOF"],
    [
      "a group that ends as another",
      StateRequestSchema,
      "7b0801840f",
      "a group ends with the number of another one",
    ],
    [
      "groups in groups",
      StateRequestSchema,
      `${"7b".repeat(101)}${"7c".repeat(101)}`,
      "it is nested more than 100 deep",
    ],
  ])("%s", (_, desc, text, why) => {
    expect(failureOf(desc, text)).toMatchObject({
      code: Code.Internal,
      rawMessage: `cannot decode ${desc.typeName}: ${why}`,
    });
  });
});

describe.each([
  ["compiled", codecsAfter(0)],
  ["interpreted", interpreterOf],
])("a Struct that comes in parts, %s,", (_, of) => {
  const desc = typeOf("three.WellKnown");
  const codec = of(desc);

  test("is read without starting over: each part is added to what came before", () => {
    const parts = Array.from({ length: 40 }, (__, index) => {
      const value = Buffer.from([0x0a, 1, 65 + index, 0x12, 2, 0x20, index % 2]);
      return Buffer.from([0x52, value.length + 2, 0x0a, value.length, ...value]);
    });
    const bytes = new Uint8Array(Buffer.concat(parts));
    const { struct } = codec.read(bytes, 0, bytes.length, new codec.Make(), 1, 0) as { struct?: object };
    expect(Object.entries(struct ?? {})).toHaveLength(40);
    expect(struct).toMatchObject({ A: false, B: true, h: true });
  });
});
