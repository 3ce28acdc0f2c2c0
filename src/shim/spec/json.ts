import { isPlain, kindOf } from "../../value-kinds.js";

/** The digits of integers that no number can hold, by the object or array that has them and the key. */
const exact = new WeakMap<object, Map<string, string>>();

const NUMBER = /-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;
const INTEGER = /^-?\d+$/;
/** Only a number with this many digits can be too large. */
const LARGE_LENGTH = 16;
const LARGE = new RegExp(`\\d{${LARGE_LENGTH}}`);

/**
 * Parses JSON as `JSON.parse` does, and remembers the digits of integers beyond 2^53, which the specification has: an rlimit
 * without a limit is 2^64 - 1.
 */
export function parseJson(text: string): unknown {
  const parsed: unknown = JSON.parse(text);
  if (!LARGE.test(text)) return parsed;
  const mark = newMark();
  const marked = withMarks(text, mark);
  if (marked === text) return parsed;
  return JSON.parse(marked, function (this: object, key: string, value: unknown): unknown {
    if (typeof value !== "string" || !value.startsWith(mark)) return value;
    const digits = value.slice(mark.length);
    let numbers = exact.get(this);
    if (numbers === undefined) exact.set(this, (numbers = new Map()));
    numbers.set(key, digits);
    return Number(digits);
  });
}

/**
 * The JSON of a spec, a process or resources, for an OCI runtime. Integers beyond 2^53 that `readSpec`, `processOf` or
 * `resourcesOf` has read, such as an "unlimited" rlimit, are written as they were; `JSON.stringify` would write numbers
 * that the runtime refuses. This works for the objects that were read, nested ones included, but not for copies of them,
 * and only for properties that have not been changed.
 *
 * ```ts
 * const process = processOf(request.spec);
 * await writeFile(file, specJson({ ...process, terminal: request.terminal }));
 * ```
 *
 * Throws a TypeError if the value is not an object, and whatever `JSON.stringify` throws.
 */
export function specJson(value: object): string {
  if (!isPlain(value)) throw new TypeError(`value must be an object, not ${kindOf(value)}`);
  const mark = newMark();
  let marked = false;
  const text = JSON.stringify(value, function (this: object, key: string, given: unknown): unknown {
    const digits = exact.get(this)?.get(key);
    if (digits === undefined || given !== Number(digits)) return given;
    marked = true;
    return mark + digits;
  });
  return marked ? text.replaceAll(new RegExp(`"${mark}(-?\\d+)"`, "g"), "$1") : text;
}

/** What no string of a spec contains. */
const newMark = () => `integer-${Math.random()}${Math.random()}-`.replaceAll(".", "");

/**
 * JSON with its large integers as marked strings. It is walked from quote to quote: an expression that matches whole strings
 * takes time with the square of a text's length in some texts, and a stack that grows with the length of a string.
 */
function withMarks(text: string, mark: string): string {
  const marked = (numbers: string) =>
    numbers.replaceAll(NUMBER, (token) =>
      INTEGER.test(token) && !Number.isSafeInteger(Number(token)) ? `"${mark}${token}"` : token,
    );
  let [result, done, at] = ["", 0, 0];
  for (;;) {
    const quote = text.indexOf('"', at);
    const between = quote < 0 ? text.length : quote;
    if (between - at >= LARGE_LENGTH) {
      result += text.slice(done, at) + marked(text.slice(at, between));
      done = between;
    }
    if (quote < 0) return result + text.slice(done);
    at = endOfString(text, quote);
  }
}

/** Where the string ends that begins at a quote, in valid JSON. */
function endOfString(text: string, start: number): number {
  for (let end = text.indexOf('"', start + 1); ; end = text.indexOf('"', end + 1)) {
    let before = end - 1;
    while (text[before] === "\\") before--;
    // Of two backslashes the first one escapes the second.
    if ((end - before) % 2 === 1) return end + 1;
  }
}
