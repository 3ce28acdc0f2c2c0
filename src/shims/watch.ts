import { checkSignal } from "../abort.js";
import { statSync } from "node:fs";
import { askShim } from "./ask.js";
import { findTasks, type FoundTask } from "./bundles.js";
import { ANSWER_TIMEOUT_MS } from "./list.js";
import { pause } from "../pause.js";
import { checkShimOptions, type ContainerdPlaces, PLACES, placesOf } from "./places.js";
import type { ShimInfo } from "./shim-info.js";

/** Options of {@link watchShims}. */
export interface WatchShimsOptions extends ContainerdPlaces {
  /** Only containers of this namespace. */
  readonly namespace?: string | undefined;
  /** How often the state folder is read, in milliseconds. Default 1 000. */
  readonly intervalMs?: number | undefined;
  /** How long a new shim may take to answer before it is reported as `unreachable`, in milliseconds. Default 2 000. */
  readonly timeoutMs?: number | undefined;
  /** Ends the iteration. */
  readonly signal?: AbortSignal | undefined;
}

/** A container's shim that has come or gone. */
export interface ShimChange {
  /** `"added"` when the shim has come, `"removed"` when it has gone. */
  readonly type: "added" | "removed";
  /** What was known of the shim when it came. */
  readonly shim: ShimInfo;
}

interface Known {
  /** Differs between two containers that had the same id. */
  readonly bundle: string;
  readonly shim: ShimInfo;
}

/**
 * Reports the shims of tasks that come and go, starting with those that exist already. The state folder is read at an
 * interval, and only new shims are asked, so watching costs little. A shim that lives for less than the interval may
 * be missed. Leaving the loop ends it.
 *
 * ```ts
 * for await (const { type, shim } of watchShims({ namespace: "default", signal })) {
 *   console.log(type, shim.id, shim.state);
 * }
 * ```
 *
 * Throws a TypeError if an option is wrong, and a TtrpcError if the state folder cannot be read.
 */
export async function* watchShims(options: WatchShimsOptions = {}): AsyncGenerator<ShimChange, void> {
  checkShimOptions("watchShims", options, [...PLACES, "namespace", "intervalMs", "timeoutMs", "signal"]);
  const { namespace, intervalMs = 1000, timeoutMs = ANSWER_TIMEOUT_MS, signal } = options;
  checkSignal(signal);
  const { state, containerd } = placesOf(options);
  const known = new Map<string, Known>();
  for (;;) {
    if (signal?.aborted) return;
    const present = new Map<string, FoundTask>();
    for (const task of findTasks(state, namespace)) {
      // While containerd starts the shim, the bundle names no address yet.
      if (task.address !== undefined) present.set(`${task.namespace}/${task.id}`, task);
    }
    for (const [name, { bundle, shim }] of known) {
      const task = present.get(name);
      if (task !== undefined && task.address === shim.address && identityOf(task) === bundle) continue;
      known.delete(name);
      yield { type: "removed", shim };
    }
    const added = [...present].filter(([name]) => !known.has(name));
    const asked = added.map(async ([name, task]) => {
      // Another container may get the id while the shim of this one is asked.
      const bundle = identityOf(task);
      const [shim] = await askShim([task], { containerd, timeoutMs, signal });
      return { name, bundle, shim: shim! };
    });
    for (const { name, bundle, shim } of await Promise.all(asked)) {
      if (signal?.aborted) return;
      known.set(name, { bundle, shim });
      yield { type: "added", shim };
    }
    await pause(intervalMs, signal);
  }
}

/** What tells a bundle from a later one at the same path. */
function identityOf({ bundle }: FoundTask): string {
  const stats = statSync(bundle, { throwIfNoEntry: false, bigint: true });
  return `${stats?.ino}/${stats?.birthtimeNs}`;
}
