import { LosslessNumber, parse } from "lossless-json";

/*
 * JSON as such: the type of its values, and a parser that keeps numbers as they are written. It knows nothing of messages:
 * message-from-json.ts and message-to-json.ts convert them, and output/json.ts writes values as text.
 */

/** A JSON value. A number that JavaScript would round or write differently is kept as it is written. */
export type Json =
  | null
  | boolean
  | number
  | string
  | LosslessNumber
  | readonly Json[]
  | { readonly [key: string]: Json | undefined };

/** A JSON object. */
export type JsonMap = { readonly [key: string]: Json | undefined };

/** How deep values may be nested: protobuf's limit for messages. */
export const MOST_NESTED = 100;

/**
 * Parses JSON, with numbers as they are written. Throws an Error that says what is wrong and where, also for a duplicate
 * key and for nesting deeper than {@link MOST_NESTED}.
 */
export function parseJson(text: string): Json {
  if (depthOf(text) > MOST_NESTED) throw new Error(`it is nested deeper than ${MOST_NESTED} levels`);
  return parse(text, undefined, {
    parseNumber: numberOf,
    onDuplicateKey({ key, position }) {
      throw new SyntaxError(`Duplicate key ${JSON.stringify(key)} at position ${position}`);
    },
  }) as Json;
}

/**
 * A number, or its text if JavaScript would write it differently, or writes a large integer in the same way only because it
 * rounds.
 */
function numberOf(text: string): number | LosslessNumber {
  const number = Number(text);
  const isExact = String(number) === text && (!Number.isInteger(number) || Number.isSafeInteger(number));
  return isExact ? number : new LosslessNumber(text);
}

/** How deep brackets are nested, except those in strings. */
function depthOf(text: string): number {
  let [depth, most, quoted] = [0, 0, false];
  for (let at = 0; at < text.length; at++) {
    const character = text.charCodeAt(at);
    if (quoted) {
      if (character === BACKSLASH) at++;
      else if (character === QUOTE) quoted = false;
    } else if (character === QUOTE) quoted = true;
    else if (character === OPENING_BRACKET || character === OPENING_BRACE) most = Math.max(most, ++depth);
    else if (character === CLOSING_BRACKET || character === CLOSING_BRACE) depth--;
  }
  return most;
}

const [QUOTE, BACKSLASH] = [0x22, 0x5c];
const [OPENING_BRACKET, CLOSING_BRACKET, OPENING_BRACE, CLOSING_BRACE] = [0x5b, 0x5d, 0x7b, 0x7d];

export function isObject(json: Json | undefined): json is JsonMap {
  return typeof json === "object" && json !== null && !Array.isArray(json) && !isNumberText(json);
}

/** Whether a value is a number that JavaScript cannot hold exactly, or would write differently. */
export function isNumberText(json: Json | undefined): json is LosslessNumber {
  return json instanceof LosslessNumber;
}

/** More digits than any whole number in protobuf has. */
const MOST_DIGITS = 40;

const NUMBER = /^(-?)(0|[1-9]\d*)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/;

/** Whether a text is a number as JSON writes it. */
export function isNumberLike(text: string): boolean {
  return NUMBER.test(text);
}

/** The exact value of the text of a number in JSON, if it is whole; otherwise undefined. */
export function wholeNumber(text: string): bigint | undefined {
  const [, sign = "", whole = "", fraction = "", exponent = "0"] = NUMBER.exec(text) ?? [];
  if (whole === "") return undefined;
  const digits = (whole + fraction).replace(/^0+(?=\d)/, "");
  if (/^0*$/.test(digits)) return 0n;
  const zeros = Number(exponent) - fraction.length;
  if (digits.length + zeros > MOST_DIGITS) return undefined;
  if (zeros >= 0) return BigInt(`${sign}${digits}${"0".repeat(zeros)}`);
  const kept = digits.slice(0, zeros);
  return /^0+$/.test(digits.slice(zeros)) && kept !== "" ? BigInt(sign + kept) : undefined;
}
