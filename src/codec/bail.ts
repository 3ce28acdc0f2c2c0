/**
 * Thrown by compiled code that meets something it does not handle: protobuf-es then does the work, or says what is
 * wrong. It has no stack, so throwing it is cheap.
 */
export const BAIL = Symbol("left to protobuf-es");

/** Thrown by compiled code where the rest of a message cannot fit. Smaller things just run past the end, unwritten. */
export const FULL = Symbol("no room");
