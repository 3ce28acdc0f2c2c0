import { isPlain, kindOf } from "../../value-kinds.js";

/** The digits of integers that no number can hold, by the object or array that has them and the key. */
const exact = new WeakMap<object, Map<string, string>>();

/** A string of JSON, which is left alone, or a number. */
const STRING_OR_NUMBER = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;
const INTEGER = /^-?\d+$/;
/** Only a number with this many digits can be too large. */
const LARGE = /\d{16}/;

/**
 * Parses JSON as `JSON.parse` does, and remembers the digits of integers beyond 2^53, which the specification has: an rlimit
 * without a limit is 2^64 - 1.
 */
export function parseJson(text: string): unknown {
  if (!LARGE.test(text)) return JSON.parse(text);
  const mark = newMark();
  const marked = text.replaceAll(STRING_OR_NUMBER, (token) =>
    INTEGER.test(token) && !Number.isSafeInteger(Number(token)) ? `"${mark}${token}"` : token,
  );
  // What is not JSON must not become JSON by the marks, and is reported as it was.
  if (marked === text || !isJson(text)) return JSON.parse(text);
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
 * `resourcesOf` has read, such as the rlimits of "unlimited", are written as they were, where `JSON.stringify` would write
 * numbers that the runtime refuses. That holds for the objects that were read, not for copies of them, and for properties
 * that have not been changed.
 *
 * ```ts
 * const process = processOf(request.spec);
 * await writeFile(file, specJson({ ...process, terminal: request.terminal }));
 * ```
 *
 * Throws a TypeError for what is no object, and whatever `JSON.stringify` throws.
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

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
