/**
 * Cgroups of containers, version 1 and 2: what a container uses, its OOM kills, and moving a process into a cgroup.
 *
 * ```ts
 * import { Cgroup } from "containerd-shim-protos/shim/cgroup";
 *
 * const cgroup = Cgroup.of(process.pid);
 * console.log(cgroup?.stats());
 * ```
 *
 * @module
 */

export { Cgroup } from "./cgroup.js";
export type { OomWatch } from "./oom.js";
