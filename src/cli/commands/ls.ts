import { SOCKETS } from "../../shims/list.js";
import { fulfilledWithin, pause } from "../../pause.js";
import { Roster } from "../../shims/roster.js";
import { live, type Live } from "../output/live.js";
import { jsonLine, jsonText } from "../output/json.js";
import { drawsInPlace, print, printError, width } from "../output/stdout.js";
import { rowsThatFit, ShimTable } from "../output/shim-table.js";
import { interruptible, untilStopped } from "../signals.js";
import { lookUpError, placesIn, type TargetOptions } from "../target.js";

/** The options of `shimctl ls`. */
export interface LsOptions extends TargetOptions {
  readonly sockets?: string;
  readonly timeout: number;
  readonly interval: number;
  readonly json?: boolean;
  readonly watch?: boolean;
}

/** How long a listing waits for all answers before it shows those that are there. */
const PATIENCE_MS = 300;

/** Lists the shims of this host, once or repeatedly: all, or those of containers whose ids begin with `id`. */
export async function ls(id: string | undefined, options: LsOptions): Promise<void> {
  const { namespace, sockets = SOCKETS, timeout: timeoutMs } = options;
  const places = placesIn(options);
  const rosterFor = (signal: AbortSignal) =>
    new Roster({ ...places, sockets, namespace, id, timeoutMs, signal });
  if (options.watch === true) {
    await untilStopped((signal) => watch(rosterFor(signal), options, signal));
    return;
  }
  const found = await interruptible((signal) => list(rosterFor(signal), options, signal));
  if (found === 0) printError(`no shims in ${places.state}`);
}

/** Lists once; resolves to how many there are. */
async function list(roster: Roster, { json }: LsOptions, signal: AbortSignal): Promise<number> {
  const done = refreshed(roster);
  if (json) {
    await done;
    if (!signal.aborted) await print(jsonText(roster.shims.map((shim) => ({ ...shim }))));
  } else if (drawsInPlace()) {
    await draw(roster, done, signal);
  } else {
    await inBatches(roster, done, signal);
  }
  return roster.shims.length;
}

/** Draws the table in place while answers are awaited, and leaves it as it is in the end. */
async function draw(roster: Roster, done: Promise<void>, signal: AbortSignal): Promise<void> {
  let view: Live | undefined;
  try {
    while (!(await isDoneSoon(done, signal)) && !signal.aborted) {
      view ??= live();
      await view.show(rowsThatFit(roster.shims, width()));
    }
  } finally {
    view?.clear();
  }
  if (!signal.aborted) await print(rowsThatFit(roster.shims, width()));
}

/** Waits for all answers, but not for long. Resolves to whether they are there. */
function isDoneSoon(done: Promise<void>, signal: AbortSignal): Promise<boolean> {
  return fulfilledWithin(done, PATIENCE_MS, signal);
}

/** Prints who has answered, in order, and the others below as soon as they answer. */
async function inBatches(roster: Roster, done: Promise<void>, signal: AbortSignal): Promise<void> {
  const lines = new ShimTable();
  for (;;) {
    const isDone = await isDoneSoon(done, signal);
    if (signal.aborted) return;
    const rows = lines.next(roster.shims.filter(({ state }) => state !== "asking"));
    if (rows.length > 0) await print(rows);
    if (isDone) return;
  }
}

/** Lists repeatedly. A shim that hangs is shown with its last answer. */
async function watch(roster: Roster, { json, interval }: LsOptions, signal: AbortSignal): Promise<void> {
  const view = live();
  try {
    while (!signal.aborted) {
      const done = refreshed(roster);
      done.catch(() => undefined);
      await isDoneSoon(done, signal);
      if (signal.aborted) break;
      if (json) await print(jsonLine(roster.shims.map((shim) => ({ ...shim }))));
      else await view.show(rowsThatFit(roster.shims, width()));
      await pause(interval, signal);
    }
  } finally {
    view.done();
  }
}

async function refreshed(roster: Roster): Promise<void> {
  try {
    await roster.refresh();
  } catch (error) {
    throw lookUpError(error);
  }
}
