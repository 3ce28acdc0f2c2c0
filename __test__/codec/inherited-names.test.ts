import { describe, expect, test } from "vitest";
import { encode } from "../../src/codec/codec.js";
import { codecsAfter, interpreterOf } from "../../src/codec/compiled.js";
import { featureRegistry } from "./types.js";

const desc = featureRegistry().getMessage("codec.test.three.Inherited")!;

describe.each([
  ["compiled", codecsAfter(0)],
  ["interpreted", interpreterOf],
])("a field named like a property of every object, %s,", (_, of) => {
  const codec = of(desc);
  const read = (...bytes: number[]) =>
    codec.read(Uint8Array.from(bytes), 0, bytes.length, new codec.Make(), 1, 0) as Record<string, unknown>;

  test("is read into the message, and never into that property", () => {
    const message = read(0x12, 2, 8, 5, 0x1a, 3, 0x0a, 1, 0x61, 0x22, 5, 0x0a, 3, 0x0a, 1, 0x62);
    expect(Object.hasOwn(Object.prototype.isPrototypeOf, "number")).toBe(false);
    expect(message).toMatchObject({
      isPrototypeOf: { number: 5 },
      toLocaleString: "a",
      propertyIsEnumerable: { b: null },
    });
    expect(Buffer.from(encode(desc, message as never)).toString("hex")).toBe(
      "120208051a030a016122090a070a016212020800",
    );
  });

  test("is merged with what came before", () => {
    const twice = read(0x12, 2, 8, 5, 0x12, 0);
    expect(twice).toMatchObject({ isPrototypeOf: { number: 5 } });
  });
});
