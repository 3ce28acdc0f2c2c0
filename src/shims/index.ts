/**
 * The shims of this host, for programs that watch or debug them: a list of the shims, a client for each of them,
 * whichever version of the Task service it serves, and what each container uses, with either version of cgroups.
 *
 * ```ts
 * import { listShims, openTask } from "containerd-shim-protos/shims";
 *
 * for (const { namespace, id, state } of await listShims()) console.log(namespace, id, state);
 * await using task = await openTask("web");
 * for await (const { cpuPercent } of task.samples()) console.log(`${cpuPercent.toFixed(1)} %`);
 * ```
 *
 * A shim's socket belongs to its user, so most programs need root.
 *
 * @module
 */

/// <reference types="node" preserve="true" />

export { listShims, type ListShimsOptions } from "./list.js";
export { OpenTask, openTask, type OpenTaskOptions, type SamplesOptions } from "./open-task.js";
export type { ContainerdPlaces } from "./places.js";
export type { ShimInfo } from "./shim-info.js";
export type { TaskVersion } from "./versioned-task.js";
export { type Usage, usageOf, type UsageSample } from "./usage.js";
export { type ShimChange, watchShims, type WatchShimsOptions } from "./watch.js";
