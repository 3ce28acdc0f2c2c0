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
  // Without it, the timer would keep the process alive after the promise is fulfilled. AbortSignal.any() would leave
  // something behind at a signal that lives on, in Node.js 20.
  const over = new AbortController();
  const listener = { aborted: () => over.abort() };
  if (signal?.aborted) over.abort();
  else if (signal !== undefined) listenToAbort(signal, listener);
  try {
    return await Promise.race([promise.then(() => true), pause(ms, over.signal).then(() => false)]);
  } finally {
    if (signal !== undefined) unlistenToAbort(signal, listener);
    over.abort();
  }
}
