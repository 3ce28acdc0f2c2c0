import { inspect } from "node:util";
import { TtrpcError } from "containerd-shim-protos";

/** The TtrpcError that a promise rejects with. Anything else fails the test. */
export async function failure(outcome: Promise<unknown>): Promise<TtrpcError> {
  return ttrpcError(await rejection(outcome));
}

/** What a promise rejects with. */
export async function rejection(outcome: Promise<unknown>): Promise<unknown> {
  return outcome.then(
    (value) => {
      throw new Error(`expected a rejection, not ${inspect(value)}`);
    },
    (reason: unknown) => reason,
  );
}

/** The TtrpcError that a function throws. Anything else fails the test. */
export function failureOf(action: () => unknown): TtrpcError {
  let value: unknown;
  try {
    value = action();
  } catch (error) {
    return ttrpcError(error);
  }
  throw new Error(`expected an error, not ${inspect(value)}`);
}

function ttrpcError(error: unknown): TtrpcError {
  if (error instanceof TtrpcError) return error;
  throw new Error(`expected a TtrpcError, not ${inspect(error)}`, { cause: error });
}

/** A promise and the functions that settle it. */
export interface Deferred<T> {
  readonly promise: Promise<T>;
  readonly resolve: (value: T) => void;
  readonly reject: (reason: unknown) => void;
}

/** Promise.withResolvers, which Node 20 lacks. */
export function deferred<T = void>(): Deferred<T> {
  let resolve!: (value: T) => void;
  let reject!: (reason: unknown) => void;
  const promise = new Promise<T>((onResolve, onReject) => {
    resolve = onResolve;
    reject = onReject;
  });
  return { promise, resolve, reject };
}

/** Resolves when a signal has aborted, with its reason. */
export function aborted(signal: AbortSignal): Promise<unknown> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve(signal.reason);
    else signal.addEventListener("abort", () => resolve(signal.reason));
  });
}

/** Bytes of a text. */
export function bytes(content: string): Uint8Array {
  return new TextEncoder().encode(content);
}

/** Text of bytes. */
export function text(encoded: Uint8Array): string {
  return new TextDecoder("utf-8", { fatal: true }).decode(encoded);
}

/** Bytes in hexadecimal, as the Rust peer prints them. */
export function hex(encoded: Uint8Array): string {
  return Buffer.from(encoded).toString("hex");
}

/** Bytes from hexadecimal. */
export function unhex(digits: string): Uint8Array {
  return new Uint8Array(Buffer.from(digits, "hex"));
}

/** A primitive as an error's text shows it. */
export function written(value: unknown): string {
  return typeof value === "string" ? JSON.stringify(value) : String(value);
}
