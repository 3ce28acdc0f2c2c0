import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import type { DescMessage } from "@bufbuild/protobuf";
import { Code } from "containerd-shim-protos";
import { CreateTaskRequestSchema, StateRequestSchema } from "containerd-shim-protos/task/v3";
import { BlkIOStatSchema } from "containerd-shim-protos/cgroups/v1";
import { afterEach, describe, expect, test } from "vitest";
import { decode } from "../../src/codec/codec.js";
import { codecsAfter, interpreterOf } from "../../src/codec/compiled.js";
import { allow, settle, TOO_HEAVY, weighAnew, WEIGHT_LIMIT } from "../../src/codec/weight.js";
import { conformanceRegistry } from "../conformance/messages.js";

setFlagsFromString("--expose-gc");
const gc = runInNewContext("gc") as () => void;

const MIB = 1 << 20;
const everything = conformanceRegistry().getMessage("protobuf_test_messages.proto3.TestAllTypesProto3")!;

/** The same field again and again, up to `size` bytes. */
function repeated(field: readonly number[], size = 4 * MIB - 100): Uint8Array {
  const bytes = new Uint8Array(Math.floor(size / field.length) * field.length);
  for (let at = 0; at < bytes.length; at += field.length) bytes.set(field, at);
  return bytes;
}

/** The tag of a field with a length, by its number. */
const tag = (no: number) =>
  no * 8 + 2 < 128 ? [no * 8 + 2] : [((no * 8 + 2) & 127) | 128, (no * 8 + 2) >> 7];

/** One field that comes as often as fits. A message of it is small on the wire, and large in memory. */
const PARTS: readonly (readonly [what: string, desc: DescMessage, field: readonly number[]])[] = [
  ["fields that nobody knows", StateRequestSchema, [0x78, 0]],
  ["empty bytes that nobody knows", StateRequestSchema, [0x7a, 0]],
  ["empty messages", CreateTaskRequestSchema, [0x1a, 0]],
  ["large messages that are empty", everything, [...tag(48), 0]],
  ["entries of a map", everything, [...tag(56), 0]],
  ["bytes of one byte", everything, [...tag(45), 1, 7]],
];

/** The same, where the size on the wire bounds what is made of it. */
const LIGHT: typeof PARTS = [
  ["empty texts", everything, [...tag(44), 0]],
  ["texts of two characters", everything, [...tag(44), 2, 65, 66]],
  ["numbers", everything, [...tag(31), 6, 1, 2, 3, 4, 5, 6]],
];

afterEach(() => void settle());

describe("a message whose fields take much more memory than its bytes", () => {
  test.each(PARTS)("is refused by name if it has too many %s", (_, desc, field) => {
    let error: unknown;
    try {
      decode(desc, repeated(field));
    } catch (reason) {
      error = reason;
    }
    const message = `cannot decode ${desc.typeName}: its fields would take more than ${64 * MIB} bytes of memory`;
    expect(error).toMatchObject({ code: Code.ResourceExhausted, rawMessage: message });
    // The next one is not judged by it.
    expect(decode(desc, repeated(field, 1000))).toMatchObject({ $typeName: desc.typeName });
  });

  test.each(PARTS)("is read up to the limit, whether compiled or interpreted: %s", (_, desc, field) => {
    for (const of of [codecsAfter(0), interpreterOf]) {
      const codec = of(desc);
      const read = (bytes: Uint8Array) => codec.read(bytes, 0, bytes.length, new codec.Make(), 1, 0);
      weighAnew();
      read(repeated(field, 12_000));
      const each = settle() / Math.floor(12_000 / field.length);
      weighAnew();
      read(repeated(field, Math.floor((0.9 * WEIGHT_LIMIT) / each) * field.length));
      weighAnew();
      expect(() => read(repeated(field, Math.floor((1.1 * WEIGHT_LIMIT) / each) * field.length))).toThrow(
        expect.toSatisfy((reason) => reason === TOO_HEAVY),
      );
    }
  });

  test.each([...PARTS, ...LIGHT])("takes no more than it is taken for: %s", (_, desc, field) => {
    for (const bytes of [repeated(field, MIB / 4), repeated(field, MIB / 8)]) {
      decode(desc, repeated(field, 1000));
      gc();
      const before = process.memoryUsage();
      const message = decode(desc, bytes);
      const weight = settle();
      gc();
      const after = process.memoryUsage();
      const grown = after.heapUsed - before.heapUsed + after.arrayBuffers - before.arrayBuffers;
      expect(grown).toBeLessThan(1.5 * (weight + bytes.length) + MIB);
      expect(message).toMatchObject({ $typeName: desc.typeName });
    }
  });

  test("takes no more than it is taken for: messages of 64-bit integers", () => {
    const field = [0x0a, 6, 0x18, 1, 0x20, 1, 0x28, 1];
    decode(BlkIOStatSchema, repeated(field, 1000));
    const bytes = repeated(field, 2 * MIB);
    gc();
    const before = process.memoryUsage().heapUsed;
    const message = decode(BlkIOStatSchema, bytes);
    const weight = settle();
    gc();
    expect(process.memoryUsage().heapUsed - before).toBeLessThan(weight + MIB);
    expect(message).toMatchObject({ $typeName: BlkIOStatSchema.typeName });
  });

  test("weighs as much if the entries of a map leave out their empty messages", () => {
    const no = everything.fields.find(({ name }) => name === "map_string_nested_message")!.number;
    const weightOf = (field: readonly number[]) => {
      decode(everything, Uint8Array.from(field));
      return settle();
    };
    for (let count = 0; count < 600; count++) {
      const left = weightOf([...tag(no), 0]);
      expect(left).toBe(weightOf([...tag(no), 2, 18, 0]));
    }
  });

  test("takes no more than it is taken for: entries with keys of their own", () => {
    const fields = Array.from({ length: 100_000 }, (_, key) => {
      const text = Buffer.from(key.toString(36));
      return Buffer.from([...tag(69), text.length + 2, 10, text.length, ...text]);
    });
    const bytes = new Uint8Array(Buffer.concat(fields));
    gc();
    const before = process.memoryUsage().heapUsed;
    const message = decode(everything, bytes);
    const weight = settle();
    gc();
    expect(process.memoryUsage().heapUsed - before).toBeLessThan(1.5 * (weight + bytes.length));
    expect(Object.keys((message as unknown as { mapStringString: object }).mapStringString)).toHaveLength(
      100_000,
    );
  });

  test("is refused where less is left", () => {
    allow(1000);
    expect(() => decode(CreateTaskRequestSchema, repeated([0x1a, 0], 100))).toThrow(/more than 1000 bytes/);
    allow(-5);
    expect(() => decode(StateRequestSchema, new Uint8Array(0))).toThrow(/more than 0 bytes/);
    settle();
    expect(decode(StateRequestSchema, new Uint8Array(0)).id).toBe("");
  });
});
