/**
 * A framework for shims: programs that containerd starts to run containers its user's own way.
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
 * `runShim` does all of the runtime-v2 protocol but the work itself: the command line, the daemon, the socket, the
 * events, the log. This entry loads next to nothing, since containerd starts the program several times a container;
 * what a service needs for the streams of its processes is in `containerd-shim-protos/shim/io`.
 *
 * @module
 */

export { runShim } from "./run.js";
export type { AdoptedChild, ChildExit, Children } from "./children.js";
export type { LogFields, ShimLog } from "./log.js";
export type { ShimContext, ShimOptions, ShimPlacement, ShimRequest, StartRequest } from "./options.js";
