const { bun, deno } = process.versions;

/** Whether protobuf-es represents 64-bit integers as bigints. In Node, this variable makes them strings. */
export const hasLongs = bun !== undefined || deno !== undefined || process.env["BUF_BIGINT_DISABLE"] !== "1";

/** A 64-bit integer as protobuf-es represents it. The type is that of its generated code, which knows bigints only. */
export function longFrom(value: number): bigint {
  return hasLongs ? BigInt(value) : (String(value) as unknown as bigint);
}

/** The bigint of a message's 64-bit integer, which is a string if protobuf-es has no bigints. */
export function bigintOf(value: bigint): bigint {
  return hasLongs ? value : BigInt(value);
}

/** Far more digits than an integer of 64 bits has. To make a bigint of millions takes seconds. */
const MOST_DIGITS = 100;

/** Whether a text is that of an integer, as protobuf-es writes it. */
export function isInteger(text: string): boolean {
  return text.length <= MOST_DIGITS && /^-?\d+$/.test(text);
}
