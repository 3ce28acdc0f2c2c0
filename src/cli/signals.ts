import { Interrupted } from "./errors.js";
import { loadReport } from "./reporting.js";
import { endWaitsWith } from "./output/stdout.js";

/** SIGHUP comes when the terminal is closed. */
const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/**
 * Runs an action that a signal interrupts: the first aborts it, with an {@link Interrupted} as the reason, the second ends
 * the process at once.
 */
export async function interruptible<T>(action: (signal: AbortSignal) => Promise<T>): Promise<T> {
  // Without a descriptor for it, it is tried again when it is needed.
  await loadReport().catch(() => undefined);
  const controller = new AbortController();
  const stop = (signal: (typeof SIGNALS)[number]) => {
    const interrupted = new Interrupted(signal);
    if (controller.signal.aborted) {
      // It may come twice: once from the kernel, once from the shell.
      if (signal === "SIGHUP") return;
      process.exit(interrupted.exitCode);
    }
    controller.abort(interrupted);
  };
  for (const signal of SIGNALS) process.on(signal, stop);
  endWaitsWith(controller.signal);
  try {
    const result = await action(controller.signal);
    controller.signal.throwIfAborted();
    return result;
  } catch (error) {
    // What fails after an interrupt fails because of it, so the interrupt is reported.
    throw controller.signal.aborted ? controller.signal.reason : error;
  } finally {
    for (const signal of SIGNALS) process.off(signal, stop);
    const { reason } = controller.signal as { reason?: unknown };
    if (reason instanceof Interrupted && reason.signal === "SIGHUP") hangUp();
  }
}

/** Ends the process by SIGHUP. Node's own end would reset the terminal, and abort because there is none any more. */
function hangUp(): void {
  process.removeAllListeners("SIGHUP").kill(process.pid, "SIGHUP");
}

/** Runs an action that continues until it is stopped: a signal is its normal end. */
export async function untilStopped(action: (signal: AbortSignal) => Promise<void>): Promise<void> {
  try {
    await interruptible(action);
  } catch (error) {
    if (!(error instanceof Interrupted)) throw error;
  }
}
