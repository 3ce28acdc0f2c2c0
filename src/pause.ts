import { clearTimeout, setTimeout } from "node:timers";
import { following, listenToAbort, unlistenToAbort } from "./abort.js";
import { LONGEST_TIMER_MS } from "./options.js";

/**
 * Resolves after `ms` milliseconds, or as soon as the signal aborts, to which any number may listen. Without `holds` it
 * does not keep the process alive.
 */
export function pause(ms: number, signal: AbortSignal | undefined, holds = true): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const done = () => {
      clearTimeout(timer);
      unlistenToAbort(signal, listener);
      resolve();
    };
    const timer = setTimeout(done, Math.min(ms, LONGEST_TIMER_MS));
    if (!holds) timer.unref();
    const listener = { aborted: done };
    listenToAbort(signal, listener);
  });
}

/** Waits for a promise for up to `ms` milliseconds, or until the signal aborts. Resolves to whether it was fulfilled. */
export async function fulfilledWithin(
  promise: Promise<unknown>,
  ms: number,
  signal?: AbortSignal,
): Promise<boolean> {
  // Without it, the timer would keep the process alive after the promise is fulfilled.
  const over = following(signal);
  try {
    return await Promise.race([promise.then(() => true), pause(ms, over.signal).then(() => false)]);
  } finally {
    over.end();
  }
}
