import { isArray, kindOf, shown } from "../value-kinds.js";

/** Throws a TypeError if a value is not one of those that an option takes. */
export function checkOneOf(name: string, value: unknown, values: readonly unknown[]): void {
  if (values.includes(value)) return;
  throw new TypeError(`${name} must be one of ${values.join(", ")}, not ${shown(value)}`);
}

/** A copy of an array of strings. Throws a TypeError that names the wrong one. */
export function checkedTexts(
  name: string,
  strings: readonly string[] | undefined,
  faultOf: (text: string) => string | undefined,
): readonly string[] | undefined {
  if (strings === undefined) return undefined;
  if (!isArray(strings)) throw new TypeError(`${name} must be an array of strings, not ${kindOf(strings)}`);
  const checked = Array.from<string>(strings);
  for (const [index, text] of checked.entries()) {
    if (typeof text !== "string")
      throw new TypeError(`${name}[${index}] must be a string, not ${kindOf(text)}`);
    const fault = faultOf(text);
    if (fault !== undefined) throw new TypeError(`${name}[${index}]: ${fault}`);
  }
  return checked;
}
