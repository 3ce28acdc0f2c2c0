import { expect, it } from "vitest";
import { rawFormat } from "../../src/cli/format.js";

const { encode } = rawFormat("a.B/C");

it("a message in hexadecimal may be as long as any message", () => {
  const bytes = Buffer.alloc(4 << 20, 0xff);
  expect(bytes.equals(encode("fF".repeat(bytes.length)))).toBe(true);
});

it.each(["a", "0g", "ab c", "é0"])("%j is no message in hexadecimal", (text) => {
  expect(() => encode(text)).toThrow("it must be pairs of hexadecimal digits");
});
