/**
 * Characters that a terminal acts on instead of showing them: the C0 and C1 control characters and DEL, the line and
 * paragraph separators, and those that change the writing direction.
 */
const CONTROLS = /[\p{Cc}\p{Zl}\p{Zp}\p{Bidi_Control}]/gu;

const SHORT: Readonly<Record<string, string>> = {
  "\b": String.raw`\b`,
  "\f": String.raw`\f`,
  "\n": String.raw`\n`,
  "\r": String.raw`\r`,
  "\t": String.raw`\t`,
};

/** A text in which JSON's escapes replace the control characters: one line, wherever its parts come from. */
export function escaped(plain: string): string {
  // Almost no text has any.
  if (plain.search(CONTROLS) < 0) return plain;
  return plain.replaceAll(
    CONTROLS,
    (character) => SHORT[character] ?? String.raw`\u` + character.charCodeAt(0).toString(16).padStart(4, "0"),
  );
}
