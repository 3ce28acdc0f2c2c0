import { ScalarType } from "./scalar-type.js";

/** The JavaScript type that a map's key has when it is written. */
export function jsTypeOf(type: ScalarType): "string" | "number" | "bigint" {
  switch (type) {
    case ScalarType.STRING:
      return "string";
    case ScalarType.INT32:
    case ScalarType.UINT32:
    case ScalarType.SINT32:
    case ScalarType.FIXED32:
    case ScalarType.SFIXED32:
      return "number";
    default:
      return "bigint";
  }
}

/** Code that does something with each item `v` of a list. */
export function each(code: string): string {
  return `for (let i = 0; i < list.length; i++) { let v = list[i]; ${code} }`;
}

/** Code that writes an integer `v`, with a fast path for one byte. */
export function small(code: string): string {
  return `if (v >= 0 && v < 128) b[at++] = v; else ${code}`;
}

/** The bytes of a tag. */
export function tagBytes(number: number, wireType: number): number[] {
  const bytes: number[] = [];
  let rest = ((number << 3) | wireType) >>> 0;
  for (; rest > 127; rest >>>= 7) bytes.push((rest & 127) | 128);
  return [...bytes, rest];
}

/** Code that writes a tag. */
export function tag(number: number, wireType: number): string {
  return tagBytes(number, wireType)
    .map((byte) => `b[at++] = ${byte};`)
    .join(" ");
}
