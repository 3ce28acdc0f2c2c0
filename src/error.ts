import { getSystemErrorMap } from "node:util";
import { create } from "@bufbuild/protobuf";
import { type Any, AnySchema } from "@bufbuild/protobuf/wkt";
import { Code } from "./code.js";
import { isBytes } from "./bytes.js";
import { checkOptions } from "./options.js";
import { isArray, isInstance, isRevoked, kindOf, shown, textOf } from "./values.js";

export { textOf } from "./values.js";

/** What a {@link TtrpcError} may carry besides its message and code. */
export interface TtrpcErrorOptions {
  /** Messages that say more, in the form in which they cross; read one with `unpackAny`. */
  readonly details?: readonly Any[];
  /** The error that led to this one. For a transport failure its `code` is the system's, such as `ENOENT`. */
  readonly cause?: unknown;
}

/**
 * How a call, a connection or a listener failed.
 *
 * Thrown by a handler, it is exactly the status that the caller gets. From a call, `code` is the peer's status code or
 * one that this side made: `DeadlineExceeded`, `Canceled`, `ResourceExhausted` (a message above 4 MiB),
 * `Internal` (a reply that does not decode), and `Unavailable` for all that is wrong with the transport, where
 * `cause.code` is the system's (`ENOENT`, `ECONNREFUSED`, `ECONNRESET`) or `ERR_TTRPC_CLOSED`.
 *
 * ```ts
 * try {
 *   await task.state({ id: "gone" });
 * } catch (error) {
 *   if (error instanceof TtrpcError && error.code === Code.NotFound) return undefined;
 *   throw error;
 * }
 * ```
 */
export class TtrpcError extends Error {
  /** `"TtrpcError"`. */
  override readonly name = "TtrpcError";
  /** The status code; a number outside {@link Code} if the peer sent one. */
  readonly code: Code;
  /** Messages that say more about the error. */
  readonly details: Any[];

  /**
   * @param message - What went wrong, for a person to read. It crosses as it is.
   * @param code - The status code. `Unknown` if left out.
   * @param options - Details and cause; the cause stays on this side.
   *
   * Throws a TypeError if the code is not one of an error, or a detail is not an Any: pack messages with `packAny`.
   */
  constructor(message: string, code: Code = Code.Unknown, options: TtrpcErrorOptions = {}) {
    if (typeof message !== "string") throw new TypeError(`message must be a string, not ${kindOf(message)}`);
    if (!Number.isInteger(code) || Number(code) === 0 || code !== (code | 0)) {
      throw new TypeError(`the code of an error must be a status code other than 0, not ${shown(code)}`);
    }
    checkOptions("TtrpcError", options, OPTIONS);
    super(message, "cause" in options ? { cause: options.cause } : undefined);
    this.code = code;
    this.details = checkedDetails(options.details);
  }

  /**
   * Makes a TtrpcError of anything that was thrown: one stays as it is, an Error keeps its message under `Unknown` and
   * becomes the cause, anything else becomes the message.
   */
  static from(reason: unknown): TtrpcError {
    if (isInstance(reason, TtrpcError)) return reason;
    return new TtrpcError(textOf(reason), Code.Unknown, { cause: reason });
  }
}

/**
 * Makes an error of what happened in no code of the caller's. Its stack would show this package alone, and to collect that
 * is most of what an error costs: a connection may end with a hundred thousand calls.
 */
export function withoutFrames<T extends Error>(make: () => T): T {
  const { stackTraceLimit } = Error;
  // It fails where Node was started with --frozen-intrinsics, and nothing is saved.
  Reflect.set(Error, "stackTraceLimit", 0);
  try {
    return make();
  } finally {
    Reflect.set(Error, "stackTraceLimit", stackTraceLimit);
  }
}

const OPTIONS = ["details", "cause"] as const satisfies readonly (keyof TtrpcErrorOptions)[];

/** The details of an error, which whoever has it may have changed. Throws a TypeError that names the one that is wrong. */
export function checkedDetails(details: readonly Any[] | undefined): Any[] {
  if (details === undefined) return [];
  if (!isArray(details)) throw new TypeError(`details must be an array of Anys, not ${kindOf(details)}`);
  const checked = Array.from(details);
  for (const [index, any] of checked.entries()) {
    if (!isAny(any)) throw new TypeError(`details[${index}] must be an Any: pack messages with packAny`);
  }
  return checked;
}

/** Whether it has what an Any has. */
function isAny(any: unknown): boolean {
  if (typeof any !== "object" || any === null || isRevoked(any)) return false;
  const { typeUrl, value } = any as Partial<Any>;
  return typeof typeUrl === "string" && isBytes(value);
}

/** The code of a cause when the connection ended without an error of the system. */
export const ERR_TTRPC_CLOSED = "ERR_TTRPC_CLOSED";

let systemErrors: ReturnType<typeof getSystemErrorMap> | undefined;

/**
 * The error of a transport that failed with an error number of the system, or with none: then `text` says why, if
 * `what` does not say it all.
 */
export function transportError(what: string, errno: number, text = ""): TtrpcError {
  const [message, cause] = transportCause(what, errno, text);
  return new TtrpcError(message, Code.Unavailable, { cause });
}

/** The message and the cause of {@link transportError}, which many errors for one reason have in common. */
export function transportCause(what: string, errno: number, text: string): [message: string, cause: Error] {
  // Node makes a new map for each who asks, and a connection may end with a hundred thousand calls.
  systemErrors ??= getSystemErrorMap();
  const [code, meaning] = systemErrors.get(-errno) ?? [ERR_TTRPC_CLOSED, text];
  const message = errno > 0 ? `${what}: ${code}, ${meaning}` : meaning === "" ? what : `${what}: ${meaning}`;
  const cause = Object.assign(new Error(text || meaning || what), {
    code,
    ...(errno > 0 && { errno: -errno }),
  });
  return [message, cause];
}

/** The error of a call, or of something else, that its caller gave up. */
export function canceledError(signal: AbortSignal, what = "the call"): TtrpcError {
  return new TtrpcError(`${what} was canceled`, Code.Canceled, { cause: signal.reason });
}

/** One detail of a status, as it crosses. */
export function detail(typeUrl: string, value: Uint8Array): Any {
  return create(AnySchema, { typeUrl, value });
}
