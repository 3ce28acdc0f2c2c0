/**
 * Cgroups of containers, versions 1 and 2: read what a container uses, hear of its OOM kills, and move processes into a
 * cgroup.
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
