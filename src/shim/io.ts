/**
 * The streams of a container's processes, as containerd passes them to a shim: fifos and files for processes without a
 * terminal, and the terminal that an OCI runtime creates.
 *
 * ```ts
 * import { openStdio } from "containerd-shim-protos/shim/io";
 *
 * const stdio = openStdio({ stdin: request.stdin, stdout: request.stdout, stderr: request.stderr });
 * const child = spawn("/bin/worker", { stdio: [...stdio.descriptors] });
 * stdio.handedOver();
 * child.once("exit", () => stdio.close());
 * ```
 *
 * @module
 */

export { Console, type ConsolePaths, ConsoleSocket, listenConsole } from "./console.js";
export { openStdio, Stdio, type StdioPaths } from "./stdio.js";
