import * as fc from "fast-check";
import { expect } from "vitest";

/** Characters that control terminals, end lines or change the direction of text. */
export const CONTROLS = [
  ...Array.from({ length: 0x20 }, (_, code) => code),
  0x7f,
  ...Array.from({ length: 0x20 }, (_, code) => 0x80 + code),
  0x061c,
  0x200e,
  0x200f,
  0x2028,
  0x2029,
  ...Array.from({ length: 5 }, (_, index) => 0x202a + index),
  ...Array.from({ length: 4 }, (_, index) => 0x2066 + index),
].map((code) => String.fromCodePoint(code));

/** A text that is hostile to terminals, in whole or in part. */
export const hostileText = fc
  .array(
    fc.oneof(
      { weight: 3, arbitrary: fc.constantFrom(...CONTROLS) },
      fc.constantFrom(
        "\x1b[2J",
        "\x1b]0;owned\x07",
        "\x9b31m",
        "\r\nshimctl: fake",
        "\u2028",
        "x",
        "ä",
        "日本",
        "😀",
        '"',
        "\\",
        " ",
      ),
    ),
    { minLength: 1, maxLength: 12 },
  )
  .map((parts) => parts.join(""));

/** A hostile text that can be a file name. */
export const hostileName = hostileText.map((text) => `n${text.replaceAll(/[/\0]/g, "")}`.slice(0, 20));

const FOREIGN = /[\p{Cc}\p{Zl}\p{Zp}\p{Bidi_Control}]/gu;
const STYLE = new RegExp(`${CONTROLS[0x1b]}\\[(?:1|2|22|31|32|33|34|35|36|39)m`, "g");

/** Expects a text without control characters except newlines, and except shimctl's own styles if these are allowed. */
export function expectPlain(text: string, { styles = false } = {}): void {
  const rest = styles ? text.replaceAll(STYLE, "") : text;
  expect(rest.match(FOREIGN)?.filter((character) => character !== "\n") ?? [], JSON.stringify(text)).toEqual(
    [],
  );
}
