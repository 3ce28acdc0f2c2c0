import { getSystemErrorMap } from "node:util";
import { create } from "@bufbuild/protobuf";
import { type Any, AnySchema } from "@bufbuild/protobuf/wkt";
import { Code } from "./code.js";
import { checkOptions } from "./options.js";
import { isArray, isBytes, isInstance, isRevoked, kindOf, shown, textOf } from "./value-kinds.js";

export { textOf } from "./value-kinds.js";

/** What a {@link TtrpcError} may carry besides its message and code. */
export interface TtrpcErrorOptions {
  /** Messages with further information, each packed as an Any; read one with `unpackAny`. */
  readonly details?: readonly Any[];
  /**
   * The error that led to this one. For a transport failure its `code` is the system's error name, such as `ENOENT`.
   */
  readonly cause?: unknown;
}

/**
 * How a call, a connection or a listener failed.
 *
 * If a handler throws one, the caller gets exactly this status. If a call fails with one, `code` is the peer's status
 * code or one that this side chose: `DeadlineExceeded`, `Canceled`, `ResourceExhausted` (a message above 4 MiB),
 * `Internal` (a reply that does not decode), or `Unavailable` for every transport failure, where `cause.code` is the
 * system's error name (`ENOENT`, `ECONNREFUSED`, `ECONNRESET`) or `ERR_TTRPC_CLOSED`.
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
  /** Messages with further information about the error; read one with `unpackAny`. */
  readonly details: Any[];

  /**
   * Throws a TypeError if the message is not a string, the code is not that of an error, or a detail is not an Any:
   * pack messages with `packAny`.
   *
   * @param message - What went wrong, for a person to read. The peer gets it unchanged.
   * @param code - The status code. `Unknown` if left out.
   * @param options - Details and cause; the cause stays on this side.
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
   * Turns anything that was thrown into a TtrpcError. A TtrpcError is returned as it is. Any other Error gives its
   * message, under `Unknown`, and becomes the cause. Any other value becomes the message.
   */
  static from(reason: unknown): TtrpcError {
    if (isInstance(reason, TtrpcError)) return reason;
    return new TtrpcError(textOf(reason), Code.Unknown, { cause: reason });
  }
}

/**
 * Makes an error without a stack, for what no code of the caller's has led to. Its frames would all be this package's, and
 * collecting them is most of what an error costs: a connection may end with a hundred thousand calls.
 */
export function withoutFrames<T extends Error>(make: () => T): T {
  const { stackTraceLimit } = Error;
  // With --frozen-intrinsics this has no effect, and the stack is collected.
  Reflect.set(Error, "stackTraceLimit", 0);
  try {
    return make();
  } finally {
    Reflect.set(Error, "stackTraceLimit", stackTraceLimit);
  }
}

const OPTIONS = ["details", "cause"] as const satisfies readonly (keyof TtrpcErrorOptions)[];

/**
 * Checks the details of an error, since its owner may have changed them. Throws a TypeError that names the wrong one.
 */
export function checkedDetails(details: readonly Any[] | undefined): Any[] {
  if (details === undefined) return [];
  if (!isArray(details)) throw new TypeError(`details must be an array of Anys, not ${kindOf(details)}`);
  const checked = Array.from(details);
  for (const [index, any] of checked.entries()) {
    if (!isAny(any)) throw new TypeError(`details[${index}] must be an Any: pack messages with packAny`);
  }
  return checked;
}

/** Whether it has the fields of an Any. */
function isAny(any: unknown): boolean {
  if (typeof any !== "object" || any === null || isRevoked(any)) return false;
  const { typeUrl, value } = any as Partial<Any>;
  return typeof typeUrl === "string" && isBytes(value);
}

/** The code of a cause when the connection ended without a system error. */
export const ERR_TTRPC_CLOSED = "ERR_TTRPC_CLOSED";

let systemErrors: ReturnType<typeof getSystemErrorMap> | undefined;

/**
 * The error of a transport that failed, with the system's `errno` or with 0. Then `text` says why, unless `what` says
 * it all.
 */
export function transportError(what: string, errno: number, text = ""): TtrpcError {
  const [message, cause] = transportCause(what, errno, text);
  return new TtrpcError(message, Code.Unavailable, { cause });
}

/** The message and the cause of {@link transportError}, for many errors with the same reason to share. */
export function transportCause(what: string, errno: number, text: string): [message: string, cause: Error] {
  // Node makes a new map at each request, and a hundred thousand calls may fail with one connection.
  systemErrors ??= getSystemErrorMap();
  const [code, meaning] = systemErrors.get(-errno) ?? [ERR_TTRPC_CLOSED, text];
  const message = errno > 0 ? `${what}: ${code}, ${meaning}` : meaning === "" ? what : `${what}: ${meaning}`;
  const cause = Object.assign(new Error(text || meaning || what), {
    code,
    ...(errno > 0 && { errno: -errno }),
  });
  return [message, cause];
}

/** The error of a call, or of another operation, that its caller aborted. */
export function canceledError(signal: AbortSignal, what = "the call"): TtrpcError {
  return new TtrpcError(`${what} was canceled`, Code.Canceled, { cause: reasonOf(signal) });
}

/** Reads a signal's reason. A getter of it may throw, which must not keep the call from its outcome. */
function reasonOf(signal: AbortSignal): unknown {
  try {
    return signal.reason;
  } catch (error) {
    return error;
  }
}

/** Rethrows an error that nobody here can handle, so that the process sees it and nobody else loses by it. */
export function throwLater(error: unknown): void {
  queueMicrotask(() => {
    throw error;
  });
}

/** One detail of a status, made from the fields that cross. */
export function detail(typeUrl: string, value: Uint8Array): Any {
  return create(AnySchema, { typeUrl, value });
}
