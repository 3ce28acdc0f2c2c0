import type { Bridge } from "./native/bridge.js";
import { checkedMs } from "./options.js";

/** The longest time to poll, which keeps a processor busy. */
const LONGEST_POLL_MS = 10;

/** Checks the option `busyPollMs`. Returns microseconds, or undefined for the default. */
export function checkBusyPoll(ms: unknown): number | undefined {
  return ms === undefined ? undefined : Math.ceil(checkedMs(ms, "busyPollMs", 0, LONGEST_POLL_MS) * 1000);
}

/** Sets how long a new connection polls for answers. */
export function setBusyPoll(bridge: Bridge, connection: number, us: number | undefined): void {
  if (us !== 0) bridge.busyPoll(connection, us);
}
