/**
 * Thrown by compiled code for a case that it does not handle. protobuf-es then does the work, or reports what is wrong.
 * It has no stack, so throwing it is cheap.
 */
export const BAIL = Symbol("left to protobuf-es");

/** Thrown by compiled code when the rest of a message cannot fit. Small values simply run past the end, unwritten. */
export const FULL = Symbol("no room");
