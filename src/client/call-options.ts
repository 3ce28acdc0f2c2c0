import { checkSignal } from "../abort.js";
import { addMetadata, type Metadata, type MetadataInit, metadataPairs } from "../metadata.js";
import type { CallFields } from "../native/types.js";
import { checkedMs, checkOptions, unknownOption } from "../options.js";
import { checkContextValues, type ContextValues } from "../context-values.js";
import { HandlerContext } from "../server/context.js";
import { isInstance, isRevoked, kindBut } from "../value-kinds.js";

/** Options of a blocking call. */
export interface SyncCallOptions {
  /**
   * Milliseconds until the deadline; 0, the default, for none. The timeout is sent to the peer. When it has passed, the
   * call fails with `DeadlineExceeded`.
   */
  readonly timeoutMs?: number | undefined;
  /** Metadata to send with the call. */
  readonly metadata?: MetadataInit | undefined;
}

/** Options of a call. */
export interface CallOptions extends SyncCallOptions {
  /**
   * Aborts the call: it fails with `Canceled`, and `cause` is the signal's reason. ttrpc has no way to cancel a call at
   * the peer, so the peer's handler keeps running. Only the handler of a call whose stream of requests has not ended
   * notices: those requests fail as incomplete.
   */
  readonly signal?: AbortSignal | undefined;
  /** Values for the interceptors of the client, by keys of `createContextKey`. They are never sent. */
  readonly contextValues?: ContextValues | undefined;
  /**
   * The context of a handler that makes this call for its own caller. The call gets the time that is left of the caller's
   * timeout, aborts with the context's signal, and sends all of the context's metadata, credentials included. The call's
   * other options take precedence: a `signal` replaces the parent's, and a key of `metadata` replaces the parent's values
   * of that key. If there are two timeouts, the shorter one counts.
   */
  readonly parent?: HandlerContext | undefined;
}

/** A call's options, checked and copied when the call was made. */
export interface CheckedFields extends CallFields {
  readonly signal: AbortSignal | undefined;
}

const OPTIONS = [
  "timeoutMs",
  "metadata",
  "signal",
  "contextValues",
  "parent",
] as const satisfies readonly (keyof CallOptions)[];
const SYNC_OPTIONS = ["timeoutMs", "metadata"] as const satisfies readonly (keyof SyncCallOptions)[];

const NO_METADATA: CallFields["metadata"] = [];
const NO_FIELDS: CheckedFields = {
  timeoutNs: 0,
  metadata: NO_METADATA,
  cancellable: false,
  signal: undefined,
};

/** Checks a call's options. Throws a TypeError that names the wrong one. */
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
 * Reads each of a call's options once, and checks their names. Every call with options runs this, so valid options cost
 * no more than a loop over their names. Throws a TypeError that names an unknown option.
 */
export function callOptions(options: CallOptions): CallOptions {
  if (typeof options !== "object" || options === null || isRevoked(options)) {
    checkOptions("a call", options, OPTIONS);
  }
  const { timeoutMs, metadata, signal, contextValues, parent } = options;
  let known = 0;
  for (const name in options) {
    if (
      name === "timeoutMs" ||
      name === "metadata" ||
      name === "signal" ||
      name === "contextValues" ||
      name === "parent"
    ) {
      known++;
    } else if (Object.hasOwn(options, name)) throw unknownOption("a call", name, OPTIONS);
  }
  // It is not an object of options, or it has none of the known ones.
  if (known === 0) checkOptions("a call", options, OPTIONS);
  checkContextValues(contextValues);
  if (parent !== undefined) return handedOn(parent, { timeoutMs, metadata, signal, contextValues });
  return { timeoutMs, metadata, signal, contextValues };
}

/** A call's options, completed from the context of the handler that makes it. */
function handedOn(parent: HandlerContext, options: CallOptions): CallOptions {
  if (!isInstance(parent, HandlerContext)) {
    throw new TypeError(`parent must be the context of a handler, not ${kindBut(parent, "HandlerContext")}`);
  }
  const { metadata: own, signal = parent.signal, contextValues } = options;
  let { timeoutMs } = options;
  const ownNs = timeoutNanoseconds(timeoutMs);
  const left = parent.remainingMs();
  // Not 0, which would be no timeout.
  if (left !== undefined && (ownNs === 0 || left * 1e6 < ownNs)) timeoutMs = Math.max(left, 1e-6);
  const metadata: Metadata = {};
  for (const [key, value] of own === undefined ? [] : metadataPairs(own)) addMetadata(metadata, key, value);
  const replaced = new Set(Object.keys(metadata));
  for (const [key, value] of metadataPairs(parent.metadata)) {
    if (!replaced.has(key)) addMetadata(metadata, key, value);
  }
  return { timeoutMs, metadata, signal, contextValues };
}

/** The longest timeout that fits ttrpc's 64-bit nanoseconds. */
const LONGEST_NS = 2 ** 63 - 1024;

/** Checks a timeout. Throws a TypeError if it is no number of milliseconds. */
export function checkTimeout(timeoutMs: number | undefined): void {
  timeoutNanoseconds(timeoutMs);
}

function timeoutNanoseconds(timeoutMs: number | undefined): number {
  if (timeoutMs === undefined || timeoutMs === 0) return 0;
  // In the protocol 0 means "none", so the shortest timeout is 1.
  return Math.min(Math.max(Math.round(checkedMs(timeoutMs, "timeoutMs", 0) * 1e6), 1), LONGEST_NS);
}
