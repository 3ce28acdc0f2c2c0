import { type MetadataInit, metadataPairs } from "../metadata.js";
import type { CallFields } from "../native/types.js";
import { checkOptions, unknownOption } from "../options.js";
import { isBytes, isInstance, isRevoked, shown } from "../values.js";

/** Options of a blocking call. */
export interface SyncCallOptions {
  /**
   * Milliseconds until the deadline; 0 or left out for none. The peer is told; when the time has passed, the call fails
   * with `DeadlineExceeded`.
   */
  readonly timeoutMs?: number;
  /** Metadata to send along. */
  readonly metadata?: MetadataInit;
}

/** Options of a call. */
export interface CallOptions extends SyncCallOptions {
  /**
   * Gives the call up: it fails with `Canceled`, and `cause` is the signal's reason. ttrpc cannot tell the peer, whose
   * handler runs on; only of a stream whose requests have not ended it learns that they are not all.
   */
  readonly signal?: AbortSignal;
}

/** A call's options as they were when it was made, checked. */
export interface CheckedFields extends CallFields {
  readonly signal: AbortSignal | undefined;
}

const OPTIONS = ["timeoutMs", "metadata", "signal"] as const satisfies readonly (keyof CallOptions)[];
const SYNC_OPTIONS = ["timeoutMs", "metadata"] as const satisfies readonly (keyof SyncCallOptions)[];

const NO_METADATA: CallFields["metadata"] = [];
const NO_FIELDS: CheckedFields = {
  timeoutNs: 0,
  metadata: NO_METADATA,
  cancellable: false,
  signal: undefined,
};

/** Checks a call's options. Throws a TypeError that names the one that is wrong. */
export function callFields(options: CallOptions | undefined): CheckedFields {
  if (options === undefined) return NO_FIELDS;
  const { timeoutMs, metadata, signal } = callOptions(options);
  checkSignal(signal);
  return {
    timeoutNs: timeoutNanoseconds(timeoutMs),
    metadata: metadata === undefined ? NO_METADATA : metadataPairs(metadata),
    cancellable: signal !== undefined,
    signal,
  };
}

/** Checks a blocking call's options, as {@link callFields} does. */
export function syncCallFields(options: SyncCallOptions | undefined): CallFields {
  checkOptions("a blocking call", options, SYNC_OPTIONS);
  return callFields(options);
}

/**
 * Reads a call's options, each once, and checks their names. Every call with options comes by here, so what is right
 * costs no more than a walk over its names.
 */
export function callOptions(options: CallOptions): CallOptions {
  if (typeof options !== "object" || options === null || isRevoked(options)) {
    checkOptions("a call", options, OPTIONS);
  }
  const { timeoutMs, metadata, signal } = options;
  let known = 0;
  for (const name in options) {
    if (name === "timeoutMs" || name === "metadata" || name === "signal") known++;
    else if (Object.hasOwn(options, name)) throw unknownOption("a call", name, OPTIONS);
  }
  // It is no object of options, or one that has none.
  if (known === 0) checkOptions("a call", options, OPTIONS);
  return { timeoutMs, metadata, signal };
}

/** Checks a signal. Throws a TypeError if it is none. */
export function checkSignal(signal: AbortSignal | undefined): void {
  if (signal !== undefined && !isInstance(signal, AbortSignal)) {
    throw new TypeError("signal must be an AbortSignal");
  }
}

/** The longest timeout that ttrpc's 64-bit nanoseconds hold. */
const LONGEST_NS = 2 ** 63 - 1024;

function timeoutNanoseconds(timeoutMs: number | undefined): number {
  if (timeoutMs === undefined || timeoutMs === 0) return 0;
  if (typeof timeoutMs !== "number" || !(timeoutMs > 0)) {
    throw new TypeError(`timeoutMs must be a number of milliseconds, 0 or more, not ${shown(timeoutMs)}`);
  }
  // The protocol's 0 is "none", so the shortest is 1.
  return Math.min(Math.max(Math.round(timeoutMs * 1e6), 1), LONGEST_NS);
}

/** Checks a raw payload. */
export function checkPayload(payload: Uint8Array, what = "payload"): void {
  if (!isBytes(payload)) {
    throw new TypeError(`${what} must be a Uint8Array, not ${payload === null ? "null" : typeof payload}`);
  }
}
