import { Interrupted } from "./errors.js";
import { endWaitsWith } from "./output/stdout.js";

const SIGNALS = ["SIGINT", "SIGTERM"] as const;

/**
 * Runs something that a signal may end: the first one aborts, with {@link Interrupted} for a reason, the second ends the
 * process on the spot.
 */
export async function interruptible<T>(action: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController();
  const stop = (signal: (typeof SIGNALS)[number]) => {
    const interrupted = new Interrupted(signal);
    if (controller.signal.aborted) process.exit(interrupted.exitCode);
    controller.abort(interrupted);
  };
  for (const signal of SIGNALS) process.on(signal, stop);
  endWaitsWith(controller.signal);
  try {
    const result = await action(controller.signal);
    controller.signal.throwIfAborted();
    return result;
  } catch (error) {
    // Whatever an interrupt made fail, it is the interrupt that the user knows of.
    throw controller.signal.aborted ? controller.signal.reason : error;
  } finally {
    for (const signal of SIGNALS) process.off(signal, stop);
  }
}

/** Runs something that goes on until it is stopped, so that a signal is how it ends well. */
export async function untilStopped(action: (signal: AbortSignal) => Promise<void>): Promise<void> {
  try {
    await interruptible(action);
  } catch (error) {
    if (!(error instanceof Interrupted)) throw error;
  }
}

/** Resolves after so many milliseconds, or at once when the signal aborts. */
export function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener("abort", done);
  });
}
