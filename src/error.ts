import { Buffer } from "node:buffer";
import { getSystemErrorMap, inspect } from "node:util";
import type { Any } from "@bufbuild/protobuf/wkt";
import { nextTick } from "./next-tick.js";
import { Code, codeName } from "./code.js";
import { checkOptions } from "./options.js";
import {
  checkBytes,
  isArray,
  isBytes,
  isError,
  isInstance,
  isRevoked,
  kindOf,
  shown,
  textOf,
} from "./value-kinds.js";

export { textOf } from "./value-kinds.js";

/** What a {@link TtrpcError} may carry besides its message and code. */
export interface TtrpcErrorOptions {
  /** Messages with further information, each packed as an Any; read one with `unpackAny`. */
  readonly details?: readonly Any[] | undefined;
  /**
   * The error that led to this one. For a transport failure its `code` is the system's error name, such as `ENOENT`.
   */
  readonly cause?: unknown;
}

/** Makes a fresh error one of a call, as {@link callError} does. Returns any value that is not a TtrpcError unchanged. */
export let ofCall: <T>(error: T) => T;

/** Names the call that failed in an error of {@link callError} or {@link refusal}, once. Leaves any other value as it is. */
export let nameCall: (error: unknown, called: CalledMethod, address: string) => void;

/** Whether an error was named, and has no stack yet. */
export let lacksFrames: (error: unknown) => boolean;

/** Gives an error that {@link lacksFrames} the stack of the caller of `below`. Leaves any other value as it is. */
export let addFrames: (error: unknown, below: (...parts: never) => unknown) => void;

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
  /** The full name of the service that was called; undefined unless a call failed. */
  declare readonly service?: string;
  /** The name of the method that was called, as in the .proto file; undefined unless a call failed. */
  declare readonly method?: string;
  /** The address of the connection that the call was made on; undefined unless a call failed. */
  declare readonly address?: string;
  /** What an error that this package made for a call still lacks. */
  #lacks: "name" | "frames" | undefined;

  static {
    ofCall = (error) => {
      if (isTtrpcError(error)) error.#lacks = "name";
      return error;
    };
    nameCall = (error, { service, method }, address) => {
      if (isTtrpcError(error)) {
        if (error.#lacks !== "name") return;
        error.#lacks = "frames";
        error.message = prefixOf(service, method, error.code) + error.message;
      } else if (!nameRefusal(error, `${service}/${method}`)) return;
      Object.assign(error as Error, { service, method, address });
    };
    lacksFrames = (error) =>
      (isTtrpcError(error) ? error.#lacks : isRefusal(error) && refusals.get(error)) === "frames";
    addFrames = (error, below) => {
      if (!lacksFrames(error)) return;
      if (isTtrpcError(error)) error.#lacks = undefined;
      else refusals.delete(error as TypeError);
      Error.captureStackTrace(error as Error, below);
    };
    function isTtrpcError(error: unknown): error is TtrpcError {
      return typeof error === "object" && error !== null && #lacks in error;
    }
  }

  /**
   * Throws a TypeError if the message is not a string, the code is not that of an error, or a detail is not an Any:
   * pack messages with `packAny`.
   *
   * @param message - What went wrong, for a person to read. The peer gets it unchanged.
   * @param code - The status code. Default `Unknown`.
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
   * Turns anything that was thrown into a TtrpcError. A TtrpcError is returned as it is; one from another copy of this
   * package keeps its code, message and details. From any other Error, the new error takes the message, with code
   * `Unknown` and the Error as its cause. Any other value becomes the message.
   */
  static from(reason: unknown): TtrpcError {
    if (isInstance(reason, TtrpcError)) return reason;
    return ofOtherCopy(reason) ?? new TtrpcError(textOf(reason), Code.Unknown, { cause: reason });
  }

  /**
   * The message without the name of the call, which is the text that the peer sent. `message`, in contrast, begins with
   * the call that failed, as in `my.Service/Watch: no such topic`. A handler that rethrows the error sends the raw
   * message, so every caller in a chain gets the original text.
   */
  get rawMessage(): string {
    const { message, service, method, code } = this;
    if (service === undefined) return message;
    const prefix = prefixOf(service, method, code);
    return message.startsWith(prefix) ? message.slice(prefix.length) : message;
  }

  /**
   * The error as JSON, for logs: `name`, `code` and the code's name, `message`, `service`, `method`, `address` and
   * `details`, with bytes in base64. The cause is left out.
   */
  toJSON(): Record<string, unknown> {
    const { name, code, message, service, method, address, details } = this;
    return {
      name,
      code,
      codeName: codeName(code),
      message,
      service,
      method,
      address,
      details: details.map(({ typeUrl, value }) => ({
        typeUrl,
        value: Buffer.from(value).toString("base64"),
      })),
    };
  }

  /** @internal */
  [inspect.custom](): unknown {
    return withCodeName(this);
  }
}

/** The names of a method. */
export interface CalledMethod {
  readonly service: string;
  readonly method: string;
}

/** What a call's error begins with. A server that lacks a method often answers with no more than the method's name. */
function prefixOf(service: string, method: string | undefined, code: Code): string {
  const missing = code === Code.Unimplemented ? "the server does not implement it: " : "";
  return `${service}/${method}: ${missing}`;
}

/** What `inspect` formats in place of an error. The same object each time, so that a circular cause is recognized. */
const twins = new WeakMap<TtrpcError, object>();

/** A copy of an error whose stack begins with the name of the code, as in `TtrpcError [not_found]: …`. */
function withCodeName(error: TtrpcError): object {
  try {
    const { stack, code, name } = error;
    if (typeof stack !== "string" || !stack.startsWith(name)) return error;
    const shownName = codeName(code)
      .replaceAll(/(?<=[a-z])(?=[A-Z])/g, "_")
      .toLowerCase();
    const text = `${name} [${shownName}]${stack.slice(name.length)}`;
    const twin = twins.get(error) ?? (Object.create(Object.getPrototypeOf(error) as object) as object);
    twins.set(error, twin);
    return Object.defineProperties(twin, {
      ...Object.getOwnPropertyDescriptors(error),
      stack: { value: text, configurable: true },
      [inspect.custom]: { value: undefined, configurable: true },
    });
  } catch {
    // A user-defined getter threw, or the error was changed in another way.
    return error;
  }
}

/**
 * Makes an error of a call, for {@link nameCall} to name and {@link addFrames} to give a stack. Only such errors are
 * changed: an error that a caller's own code threw stays as it is.
 */
export function callError(message: string, code: Code, options?: TtrpcErrorOptions): TtrpcError {
  return ofCall(withoutFrames(() => new TtrpcError(message, code, options)));
}

/** What the errors of {@link refusal} still lack. */
const refusals = new WeakMap<TypeError, "name" | "frames">();

function isRefusal(error: unknown): error is TypeError {
  return error instanceof TypeError && refusals.has(error);
}

/**
 * Makes the error for a value that is no message. {@link nameCall} names the call that was to send it, or
 * {@link nameRefusal} what else it was for, and {@link addFrames} adds the stack, which would end in the codec.
 */
export function refusal(message: string, options?: ErrorOptions): TypeError {
  const error = withoutFrames(() => new TypeError(message, options));
  refusals.set(error, "name");
  return error;
}

/** Begins the text of a {@link refusal} with a name that it lacks, once. Returns false for any other value. */
export function nameRefusal(error: unknown, name: string): boolean {
  if (!isRefusal(error) || refusals.get(error) !== "name") return false;
  refusals.set(error, "frames");
  if (!error.message.includes(name)) error.message = `${name}: ${error.message}`;
  return true;
}

/** Gives a {@link refusal} the stack of the caller of `below`, for where nothing names it. Returns the error. */
export function refusedBelow(error: unknown, below: (...parts: never) => unknown): unknown {
  if (isRefusal(error)) Error.captureStackTrace(error, below);
  return error;
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

/** A TtrpcError that another copy of this package made, as where two versions are installed. */
function ofOtherCopy(reason: unknown): TtrpcError | undefined {
  try {
    const { name, rawMessage, code, details } = reason as TtrpcError;
    if (!isError(reason) || name !== "TtrpcError" || typeof rawMessage !== "string") return undefined;
    return new TtrpcError(rawMessage, code, { details, cause: reason });
  } catch {
    return undefined;
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
    if (!isAny(any))
      throw new TypeError(`details[${index}] must be an Any, not ${kindOf(any)}: pack messages with packAny`);
    checkBytes(any.value, `details[${index}].value`);
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
  return callError(`${what} was canceled`, Code.Canceled, { cause: reasonOf(signal) });
}

/** Reads a signal's reason. A getter of it may throw, which must not keep the call from its outcome. */
function reasonOf(signal: AbortSignal): unknown {
  try {
    return signal.reason;
  } catch (error) {
    return error;
  }
}

/** What was thrown, for where undefined stands for success: code may throw undefined, too. */
export function thrown(reason: unknown): unknown {
  return reason === undefined ? TtrpcError.from(reason) : reason;
}

/** Rethrows an error that nobody here can handle, so that the process sees it and nobody else loses by it. */
export function throwLater(error: unknown): void {
  nextTick(() => {
    throw error;
  });
}

/** One detail of a status, made from the fields that cross. */
export function detail(typeUrl: string, value: Uint8Array): Any {
  return { $typeName: "google.protobuf.Any", typeUrl, value };
}
