import { loadNative } from "./addon.js";
import type { Driver } from "../transport.js";
import { shown } from "../values.js";

const DRIVERS: readonly Driver[] = ["loop", "thread"];

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
