import { kindOf } from "../value-kinds.js";

/** A text for the kernel, which ends texts at a NUL. Throws a TypeError that names it if it is none, or holds one. */
export function checkedText(text: unknown, name: string): string {
  if (typeof text !== "string") throw new TypeError(`${name} must be a string, not ${kindOf(text)}`);
  if (text.includes("\0")) throw new TypeError(`${name} holds a NUL`);
  return text;
}
