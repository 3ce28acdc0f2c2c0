import { checkedString } from "../options.js";

/** A string for the kernel, to which a NUL is the end. Throws a TypeError that names it if it is no string, or has a NUL. */
export function checkedText(value: unknown, name: string): string {
  const text = checkedString(value, name);
  if (text.includes("\0")) throw new TypeError(`${name} holds a NUL`);
  return text;
}
