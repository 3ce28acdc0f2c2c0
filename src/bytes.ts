import { types } from "node:util";

/**
 * Whether a value is a Uint8Array, a Buffer among them, of whatever realm: a program that runs in a context of its own
 * (`node:vm`, Jest) has a class of its own by that name. What only has its prototype is none.
 */
export const isBytes: (value: unknown) => value is Uint8Array = types.isUint8Array;
