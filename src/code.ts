import { kindOf } from "./values.js";

/**
 * The status codes of gRPC, which ttrpc shares. A peer may send a number that has no name here; it is kept as it is
 * in {@link TtrpcError.code}.
 */
export enum Code {
  /** The call was given up, typically by the caller. */
  Canceled = 1,
  /** The error has no better code, or the handler threw something that is not a TtrpcError. */
  Unknown = 2,
  /** The request is wrong, whatever the state of the system. */
  InvalidArgument = 3,
  /** The deadline passed before the reply came. */
  DeadlineExceeded = 4,
  /** What was asked for does not exist. */
  NotFound = 5,
  /** What was to be made exists already. */
  AlreadyExists = 6,
  /** The caller may not do this. */
  PermissionDenied = 7,
  /** A limit was reached: a message too large, too many calls, a full queue. */
  ResourceExhausted = 8,
  /** The system is not in the state that the operation needs. */
  FailedPrecondition = 9,
  /** The operation was aborted, typically by a conflict with another one. */
  Aborted = 10,
  /** The operation went past a valid range. */
  OutOfRange = 11,
  /** The peer does not have this service or method. */
  Unimplemented = 12,
  /** Something that should hold is broken: a message that does not decode, a frame out of place. */
  Internal = 13,
  /** The peer cannot be reached, or the connection to it ended. */
  Unavailable = 14,
  /** Data was lost or damaged. */
  DataLoss = 15,
  /** The caller is not who it has to be. */
  Unauthenticated = 16,
}

/**
 * The name of a status code, as in {@link Code}, or `"Code 99"` for a number that has none.
 *
 * ```ts
 * codeName(Code.NotFound); // "NotFound"
 * ```
 *
 * Throws a TypeError if it is not a number.
 */
export function codeName(code: number): string {
  // A name would find its number.
  if (typeof code !== "number") throw new TypeError(`code must be a number, not ${kindOf(code)}`);
  return Code[code] ?? `Code ${code}`;
}
