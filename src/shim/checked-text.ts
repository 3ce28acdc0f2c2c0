import { kindOf } from "../value-kinds.js";

/** A string for the kernel, to which a NUL is the end. Throws a TypeError that names it if it is no string, or has a NUL. */
export function checkedText(text: unknown, name: string): string {
  if (typeof text !== "string") throw new TypeError(`${name} must be a string, not ${kindOf(text)}`);
  if (text.includes("\0")) throw new TypeError(`${name} holds a NUL`);
  return text;
}
