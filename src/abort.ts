import { addAbortListener } from "node:events";
import { throwLater } from "./error.js";
import { isInstance, kindOf } from "./value-kinds.js";

/** Hears that a signal aborted. */
export interface AbortListener {
  aborted(signal: AbortSignal): void;
}

/** Checks a signal. Throws a TypeError if it is not an AbortSignal. */
export function checkSignal(signal: AbortSignal | undefined): void {
  if (signal === undefined || isInstance(signal, AbortSignal) || isLikeSignal(signal)) return;
  throw new TypeError(`signal must be an AbortSignal, not ${kindOf(signal)}`);
}

/** Whether it is an AbortSignal of another realm, or of a library: a test's DOM has its own, as Node's has another. */
function isLikeSignal(value: unknown): boolean {
  try {
    const { aborted, addEventListener, removeEventListener } = value as Partial<AbortSignal>;
    return [typeof aborted, typeof addEventListener, typeof removeEventListener].join() === LIKE_SIGNAL;
  } catch {
    return false;
  }
}

const LIKE_SIGNAL = "boolean,function,function";

const listeners = new WeakMap<AbortSignal, Set<AbortListener>>();

/**
 * Listens to a signal. All listeners to one signal share a single event listener, which is removed with the last of
 * them. So a program may pass one signal to thousands of calls without a leak, and without Node's warning about one. The
 * program's own listeners cannot keep the event from them by `stopImmediatePropagation()`.
 *
 * A signal that has aborted emits nothing any more, so callers check that first.
 */
export function listenToAbort(signal: AbortSignal | undefined, listener: AbortListener): void {
  // Node would call back later, and without an event.
  if (signal === undefined || signal.aborted) return;
  const present = listeners.get(signal);
  if (present !== undefined) {
    present.add(listener);
    return;
  }
  listeners.set(signal, new Set([listener]));
  addAbortListener(signal, onAbort);
}

/** Stops listening. For a signal that nobody gave, both functions do nothing. */
export function unlistenToAbort(signal: AbortSignal | undefined, listener: AbortListener): void {
  if (signal === undefined) return;
  const present = listeners.get(signal);
  if (present?.delete(listener) === true && present.size === 0) {
    listeners.delete(signal);
    // What addAbortListener returns would do no more.
    signal.removeEventListener("abort", onAbort);
  }
}

/**
 * A signal that aborts with another one, or at `end`, after which nothing of it is left at the other. AbortSignal.any()
 * would leave something behind at a signal that lives on, in Node.js 20.
 */
export function following(signal: AbortSignal | undefined): {
  readonly signal: AbortSignal;
  readonly end: () => void;
} {
  const own = new AbortController();
  const end = () => {
    unlistenToAbort(signal, listener);
    own.abort();
  };
  const listener = { aborted: end };
  if (signal?.aborted) end();
  else listenToAbort(signal, listener);
  return { signal: own.signal, end };
}

function onAbort(event: Event): void {
  const signal = event.target as AbortSignal;
  const present = listeners.get(signal);
  listeners.delete(signal);
  for (const listener of present ?? []) {
    try {
      listener.aborted(signal);
    } catch (error) {
      throwLater(error);
    }
  }
}
