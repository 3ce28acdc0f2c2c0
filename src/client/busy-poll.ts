import type { Bridge } from "../native/bridge.js";
import type { Driver } from "../connection-types.js";
import { shown } from "../value-kinds.js";

/** The longest look, which keeps a processor busy. */
const LONGEST_LOOK_MS = 10;

/** Checks the option `busyPollMs`. Returns microseconds, or undefined for the driver's default. */
export function checkBusyPoll(ms: unknown): number | undefined {
  if (ms === undefined) return undefined;
  if (typeof ms !== "number" || !(ms >= 0 && ms <= LONGEST_LOOK_MS)) {
    const range = `from 0 to ${LONGEST_LOOK_MS}`;
    throw new TypeError(`busyPollMs must be a number of milliseconds ${range}, not ${shown(ms)}`);
  }
  return Math.ceil(ms * 1000);
}

/** Sets when a new connection looks for answers. */
export function setBusyPoll(
  bridge: Bridge,
  connection: number,
  driver: Driver,
  us: number | undefined,
): void {
  // A look of the I/O thread spares one of two wake-ups, and takes a processor from the peer and from JavaScript.
  if (us === 0 || (us === undefined && driver === "thread")) return;
  bridge.busyPoll(connection, us);
}
