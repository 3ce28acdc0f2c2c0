/**
 * The OCI runtime specification's description of a container, as containerd hands it to a shim: in the bundle's
 * `config.json`, and as JSON in the requests of Exec and Update.
 *
 * ```ts
 * import { processOf, readSpec } from "containerd-shim-protos/shim/spec";
 *
 * const { process, annotations = {} } = readSpec(request.bundle);
 * const { args = [], cwd } = processOf(execRequest.spec);
 * ```
 *
 * @module
 */

export { specJson } from "./json.js";
export { processOf, readSpec, resourcesOf } from "./read.js";
export type {
  Capabilities,
  Hook,
  Hooks,
  IdMapping,
  Mount,
  Process,
  Rlimit,
  Root,
  Scheduler,
  Spec,
  User,
} from "./types.js";
export type {
  Linux,
  LinuxBlockDevice,
  LinuxBlockIo,
  LinuxCpu,
  LinuxDevice,
  LinuxDeviceRule,
  LinuxIntelRdt,
  LinuxMemory,
  LinuxNamespace,
  LinuxResources,
  LinuxSeccomp,
  LinuxSyscall,
  LinuxThrottledDevice,
} from "./linux.js";
