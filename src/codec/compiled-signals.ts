/**
 * Thrown for a case that is not handled here. After a compiled reader, the one that interprets does the work, or says what is
 * wrong; after a writer, the validator and protobuf-es do. It has no stack, so throwing it is cheap.
 */
export const BAIL = Symbol("not handled here");

/** What is wrong with bytes that were refused. */
export const fault = { text: "" };

/** Throws BAIL for bytes that are not a message. */
export function refuse(text: string): never {
  fault.text = text;
  throw BAIL;
}

/** Thrown by compiled code when the rest of a message cannot fit. Small values simply run past the end, unwritten. */
export const FULL = Symbol("no room");
