import { shown } from "../values.js";

/**
 * What turns the addon's runtime.
 *
 * - `"loop"`: the event loop of the JavaScript thread that uses it. No other thread is on the way of a call, which gives
 *   the shortest latency.
 * - `"thread"`: a thread of its own, one for each JavaScript thread that asks for it. It reads, writes and keeps time
 *   while JavaScript is busy and takes the socket's work off the JavaScript thread, but a call pays for waking it.
 */
export type Driver = (typeof DRIVERS)[number];

const DRIVERS = ["loop", "thread"] as const;

/** Checks a driver; the loop if none is given. */
export function checkDriver(driver: Driver = "loop"): Driver {
  if (!DRIVERS.includes(driver)) {
    throw new TypeError(`driver must be one of ${DRIVERS.join(", ")}, not ${shown(driver)}`);
  }
  return driver;
}
