import { addAbortListener } from "node:events";
import { throwLater } from "./error.js";

/** Hears that a signal aborted. */
export interface AbortListener {
  aborted(signal: AbortSignal): void;
}

const listeners = new WeakMap<AbortSignal, Set<AbortListener>>();

/**
 * Listens to a signal. All listeners to one signal share a single event listener, which is removed with the last of
 * them. So a program may pass one signal to thousands of calls without a leak, and without Node's warning about one. The
 * program's own listeners cannot keep the event from them by `stopImmediatePropagation()`.
 */
export function listenToAbort(signal: AbortSignal, listener: AbortListener): void {
  const present = listeners.get(signal);
  if (present !== undefined) {
    present.add(listener);
    return;
  }
  listeners.set(signal, new Set([listener]));
  addAbortListener(signal, onAbort);
}

/** Stops listening. */
export function unlistenToAbort(signal: AbortSignal, listener: AbortListener): void {
  const present = listeners.get(signal);
  if (present?.delete(listener) === true && present.size === 0) {
    listeners.delete(signal);
    // What addAbortListener returns would do no more.
    signal.removeEventListener("abort", onAbort);
  }
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
