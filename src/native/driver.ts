import { loadNative } from "./addon.js";
import { shown } from "../values.js";

/**
 * What turns the addon's runtime.
 *
 * - `"loop"`: the event loop of the JavaScript thread that uses it. No other thread is on the way of a call, which gives
 *   the shortest latency. It takes Node's own event loop, libuv, which Bun and Deno do not have.
 * - `"thread"`: a thread of its own, one for each JavaScript thread that asks for it. It reads, writes and keeps time
 *   while JavaScript is busy and takes the socket's work off the JavaScript thread, but a call pays for waking it.
 */
export type Driver = (typeof DRIVERS)[number];

const DRIVERS = ["loop", "thread"] as const;

/**
 * Checks a driver. If none is given it is the loop, or the thread where the event loop is not Node's own.
 *
 * @throws {TypeError} It is none, or the loop where that is not there.
 */
export function checkDriver(driver?: Driver): Driver {
  if (driver === undefined) return strangeRuntime() === undefined ? "loop" : "thread";
  if (!DRIVERS.includes(driver)) {
    throw new TypeError(`driver must be one of ${DRIVERS.join(", ")}, not ${shown(driver)}`);
  }
  if (driver === "loop") requireLoop('driver "loop"', ': leave it out, or say "thread"');
  return driver;
}

/** Whether the runtime is Node, or has all of Node's that this package uses. */
export const isNode = (): boolean => strangeRuntime() === undefined;

/** Refuses what takes Node's own event loop where there is none. */
export function requireLoop(what: string, advice = ""): void {
  const runtime = strangeRuntime();
  if (runtime === undefined) return;
  throw new TypeError(`${what} needs Node's own event loop, which ${runtime} does not have${advice}`);
}

let known: { readonly strange: string | undefined } | undefined;

/** The runtime, where its event loop is not Node's. Bun and Deno export libuv's functions, which then end the process. */
function strangeRuntime(): string | undefined {
  return (known ??= { strange: findStrange() }).strange;
}

function findStrange(): string | undefined {
  const { bun, deno } = process.versions;
  if (bun !== undefined) return `Bun ${bun}`;
  if (deno !== undefined) return `Deno ${deno}`;
  return loadNative().hasLibuv() ? undefined : "this JavaScript runtime";
}
