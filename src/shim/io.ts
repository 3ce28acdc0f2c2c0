/**
 * The streams of a container's processes, as containerd passes them to a shim: fifos, files and logging programs, for
 * processes with and without a terminal. Threads of the addon copy the bytes, so a busy event loop holds up no stream.
 *
 * ```ts
 * import { openStdio } from "containerd-shim-protos/shim/io";
 *
 * const { stdin, stdout, stderr } = request;
 * const stdio = await openStdio({ stdin, stdout, stderr }, { id: request.id, namespace: context.namespace });
 * const child = spawn("/bin/worker", { stdio: [...stdio.descriptors] });
 * stdio.handedOver();
 * child.once("exit", async () => {
 *   await stdio.flush();
 *   stdio.close(); // and then report the exit
 * });
 * ```
 *
 * @module
 */

/// <reference types="node" preserve="true" />

export { Console, ConsoleSocket, listenConsole } from "./console.js";
export { openStdio, Stdio } from "./stdio.js";
export type { StdioStreams } from "./own-streams.js";
export type { StdioOptions, StdioPaths } from "./stdio-paths.js";
