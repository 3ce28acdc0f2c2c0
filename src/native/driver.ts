import { loadNative } from "./addon.js";
import type { Driver } from "../connection-types.js";
import { shown } from "../value-kinds.js";

const DRIVERS: readonly Driver[] = ["loop", "thread"];

/**
 * Checks a driver. The default is the loop, or the thread in a runtime without Node's own event loop.
 *
 * Throws a TypeError if it is not a driver, or if it is the loop in such a runtime.
 */
export function checkDriver(driver?: Driver): Driver {
  if (driver === undefined) return strangeRuntime() === undefined ? "loop" : "thread";
  if (!DRIVERS.includes(driver)) {
    throw new TypeError(`driver must be one of ${DRIVERS.join(", ")}, not ${shown(driver)}`);
  }
  if (driver === "loop") requireLoop('driver "loop"', ': leave it out, or say "thread"');
  return driver;
}

/** Whether the runtime is Node, or has every part of Node that this package uses. */
export const isNode = (): boolean => strangeRuntime() === undefined;

/** Throws a TypeError if the runtime lacks Node's own event loop. */
export function requireLoop(what: string, advice = ""): void {
  const runtime = strangeRuntime();
  if (runtime === undefined) return;
  throw new TypeError(`${what} needs Node's own event loop, which ${runtime} does not have${advice}`);
}

/** Throws a TypeError if the runtime makes no sockets of descriptors: Bun's count as closed, and move no byte. */
export function requireDescriptorSockets(what: string): void {
  const { bun } = process.versions;
  if (bun === undefined) return;
  throw new TypeError(
    `${what} needs sockets of descriptors, which Bun ${bun} does not have: use an address, or a descriptor`,
  );
}

let known: { readonly strange: string | undefined } | undefined;

/**
 * The name of a runtime whose event loop is not Node's; undefined in Node. Bun and Deno do export libuv's functions,
 * but calling them ends the process.
 */
function strangeRuntime(): string | undefined {
  return (known ??= { strange: findStrange() }).strange;
}

function findStrange(): string | undefined {
  const { bun, deno } = process.versions;
  if (bun !== undefined) return `Bun ${bun}`;
  if (deno !== undefined) return `Deno ${deno}`;
  return loadNative().hasLibuv() ? undefined : "this JavaScript runtime";
}
