import { kindOf } from "./value-kinds.js";

/**
 * The status codes of gRPC, which ttrpc shares. A peer may send a number that has no name here; {@link TtrpcError.code}
 * keeps it unchanged.
 */
export enum Code {
  /** The call was canceled, typically by the caller. */
  Canceled = 1,
  /** The error has no better code, or the handler threw something that is not a TtrpcError. */
  Unknown = 2,
  /** The request is invalid, whatever the state of the system. */
  InvalidArgument = 3,
  /** The deadline passed before the reply came. */
  DeadlineExceeded = 4,
  /** The requested entity does not exist. */
  NotFound = 5,
  /** The entity to create already exists. */
  AlreadyExists = 6,
  /** The caller is not allowed to do this. */
  PermissionDenied = 7,
  /** A limit was reached: the message is too large, there are too many calls, or a queue is full. */
  ResourceExhausted = 8,
  /** The system is not in the state that the operation needs. */
  FailedPrecondition = 9,
  /** The operation was aborted, typically by a conflict with another one. */
  Aborted = 10,
  /** The operation went past a valid range. */
  OutOfRange = 11,
  /** The peer does not have this service or method. */
  Unimplemented = 12,
  /** An invariant is broken: a message does not decode, or a frame is out of place. */
  Internal = 13,
  /** The peer cannot be reached, or the connection to it ended. */
  Unavailable = 14,
  /** Data was lost or damaged. */
  DataLoss = 15,
  /** The caller has no valid credentials. */
  Unauthenticated = 16,
}

/**
 * The name of a status code, as in {@link Code}, or `"Code 99"` for a number that has none.
 *
 * ```ts
 * codeName(Code.NotFound); // "NotFound"
 * ```
 *
 * Throws a TypeError if `code` is not a number.
 */
export function codeName(code: number): string {
  // The enum also maps names to numbers, so a name would return a number.
  if (typeof code !== "number") throw new TypeError(`code must be a number, not ${kindOf(code)}`);
  return Code[code] ?? `Code ${code}`;
}
