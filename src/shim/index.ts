/**
 * A framework for shims, which are the programs that containerd starts to run containers.
 *
 * ```ts
 * #!/usr/bin/env node
 * import { runShim } from "containerd-shim-protos/shim";
 *
 * runShim("io.containerd.example.v1", {
 *   createTaskService: async (context) => (await import("./service.js")).createService(context),
 * });
 * ```
 *
 * `runShim` handles all of the runtime-v2 protocol but the work itself: the command line, the daemon, the socket, the
 * events and the log. This entry loads almost nothing, because containerd starts the program several times for each
 * container. What a service needs for the streams of its processes is in `containerd-shim-protos/shim/io`, and for mounts
 * in `containerd-shim-protos/shim/mount`.
 *
 * @module
 */

/// <reference types="node" preserve="true" />

export { runShim } from "./run.js";
export type { AdoptedChild, ChildExit, Children } from "./children.js";
export type { LogFields, ShimLog } from "./log.js";
export { timestampFromDate } from "./timestamp.js";
export type { ShimContext, ShimOptions, ShimPlacement, ShimRequest, StartRequest } from "./options.js";
