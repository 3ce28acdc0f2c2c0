/**
 * The processes of a shim: those that it starts, and those that an OCI runtime leaves to it. A process is signalled only
 * while it exists, so a signal never reaches another process that has got its pid.
 *
 * ```ts
 * import { startProcess } from "containerd-shim-protos/shim/process";
 *
 * const worker = await startProcess("/bin/worker", ["--fast"], { cwd: bundle, stdio: stdio.descriptors });
 * const { status } = await worker.exited;
 * ```
 *
 * @module
 */

/// <reference types="node" preserve="true" />

import { once } from "node:events";
import { isArray, isFileDescriptor, kindOf, shown } from "../value-kinds.js";
import { type AdoptedChild, type ChildExit, Children } from "./children.js";
import { type FinishedProcess, runProcess, type RunProcessOptions } from "./run-process.js";
import { sendSignal } from "./system.js";
import { checkProgram, exitOf, spawnProgram, type StartProcessOptions } from "./spawn.js";

/** Where all copies of this package find the one reaper of the process: a second would reap what the first has adopted. */
const REAPER = Symbol.for("containerd-shim-protos.children");
const shared = process as NodeJS.Process & { [REAPER]?: Children };

/**
 * Returns the children of this process, and makes the process a child subreaper. They are the same object that a shim's
 * hooks have as `context.children`, and all copies of this package in the process share it. Throws an Error on any thread
 * but the main one, because that is where the kernel sends orphans.
 */
export function childrenOfProcess(): Children {
  return (shared[REAPER] ??= new Children());
}

/**
 * Starts a program, and watches for its end. Resolves as soon as the program is running.
 *
 * Rejects with a TypeError that names what is wrong, or with the system's error, such as ENOENT, if it cannot be started.
 */
export async function startProcess(
  program: string,
  args: readonly string[] = [],
  options: StartProcessOptions = {},
): Promise<AdoptedChild> {
  const checked = checkProgram("startProcess", program, args, options, ["stdio"]);
  const { stdio = [] } = options;
  if (!isArray(stdio))
    throw new TypeError(`stdio must be an array of descriptors and "ignore", not ${kindOf(stdio)}`);
  for (const [index, each] of Array.from<unknown>(stdio).entries()) {
    if (each !== "ignore" && !isFileDescriptor(each))
      throw new TypeError(`stdio[${index}] must be a descriptor or "ignore", not ${shown(each)}`);
  }
  const child = spawnProgram(checked, stdio);
  const exited = new Promise<ChildExit>((resolve) => {
    child.once("exit", (code, signal) => resolve(exitOf(child, code, signal)));
  });
  await once(child, "spawn");
  const { pid = 0 } = child;
  // Until libuv has reaped it, which it then tells at once, the pid is its own. The child's own kill knows no real-time signals.
  const kill = (signal: NodeJS.Signals | number = "SIGTERM") =>
    child.exitCode === null && child.signalCode === null && sendSignal(pid, signal);
  return { pid, exited, kill };
}

export { runProcess };
export type { AdoptedChild, ChildExit, Children, FinishedProcess, RunProcessOptions, StartProcessOptions };
