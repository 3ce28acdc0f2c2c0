import { clearTimeout, setTimeout } from "node:timers";
import { listenToAbort, unlistenToAbort } from "./abort.js";
import { LONGEST_TIMER_MS } from "./options.js";

/** Resolves after `ms` milliseconds, or as soon as the signal aborts. */
export function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const done = () => {
      clearTimeout(timer);
      if (signal !== undefined) unlistenToAbort(signal, listener);
      resolve();
    };
    const timer = setTimeout(done, Math.min(ms, LONGEST_TIMER_MS));
    const listener = { aborted: done };
    if (signal !== undefined) listenToAbort(signal, listener);
  });
}

/** Waits for a promise for up to `ms` milliseconds, or until the signal aborts. Resolves to whether it was fulfilled. */
export async function fulfilledWithin(
  promise: Promise<unknown>,
  ms: number,
  signal?: AbortSignal,
): Promise<boolean> {
  // Without it, the timer would keep the process alive after the promise is fulfilled.
  const over = new AbortController();
  const ended = signal === undefined ? over.signal : AbortSignal.any([signal, over.signal]);
  try {
    return await Promise.race([promise.then(() => true), pause(ms, ended).then(() => false)]);
  } finally {
    over.abort();
  }
}
