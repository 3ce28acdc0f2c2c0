import { eastAsianWidth } from "get-east-asian-width";

const ASCII = /^[ -~]*$/;
/** Marks that a terminal draws onto the character before them, and characters that it does not draw. */
const NARROW = /^[\p{Mn}\p{Me}\p{Cf}]$/u;

/** How many columns a terminal needs for a text without control characters. */
export function columnsOf(text: string): number {
  // As almost every text is.
  if (ASCII.test(text)) return text.length;
  let columns = 0;
  for (const character of text) columns += columnsOfOne(character);
  return columns;
}

/** The beginning of a text that fits into some columns, in whole characters. */
export function fitting(text: string, columns: number): string {
  let [taken, end] = [0, 0];
  for (const character of text) {
    taken += columnsOfOne(character);
    if (taken > columns) break;
    end += character.length;
  }
  return text.slice(0, end);
}

function columnsOfOne(character: string): number {
  return NARROW.test(character) ? 0 : eastAsianWidth(character.codePointAt(0) ?? 0);
}
