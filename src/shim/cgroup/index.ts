/**
 * Cgroups of containers, of version 1 and 2: what a container uses, kills for want of memory, and moving a process into
 * one.
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
