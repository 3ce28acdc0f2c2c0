import type { Bridge } from "./native/bridge.js";
import { shown } from "./value-kinds.js";

/** The longest time to poll, which keeps a processor busy. */
const LONGEST_POLL_MS = 10;

/** Checks the option `busyPollMs`. Returns microseconds, or undefined for the default. */
export function checkBusyPoll(ms: unknown): number | undefined {
  if (ms === undefined) return undefined;
  if (typeof ms !== "number" || !(ms >= 0 && ms <= LONGEST_POLL_MS)) {
    const range = `from 0 to ${LONGEST_POLL_MS}`;
    throw new TypeError(`busyPollMs must be a number of milliseconds ${range}, not ${shown(ms)}`);
  }
  return Math.ceil(ms * 1000);
}

/** Sets how long a new connection polls for answers. */
export function setBusyPoll(bridge: Bridge, connection: number, us: number | undefined): void {
  if (us !== 0) bridge.busyPoll(connection, us);
}
