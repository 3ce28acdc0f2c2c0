/**
 * The processes of a shim: those that it starts, and those that an OCI runtime leaves to it. Each is signalled only while
 * it is there, never by a number that another process may have.
 *
 * ```ts
 * import { childrenOfProcess, startProcess } from "containerd-shim-protos/shim/process";
 *
 * const worker = await startProcess("/bin/worker", ["--fast"], { cwd: bundle, stdio: stdio.descriptors });
 * const { status } = await worker.exited;
 * ```
 *
 * @module
 */

import { spawn, type StdioOptions as NodeStdio } from "node:child_process";
import { once } from "node:events";
import { constants } from "node:os";
import { checkOptions } from "../options.js";
import { isArray, isPlain, kindOf } from "../value-kinds.js";
import { type AdoptedChild, type ChildExit, Children } from "./children.js";

/** How a process is started. */
export interface StartProcessOptions {
  /** Its working directory; by default this process's. */
  readonly cwd?: string | undefined;
  /** Its whole environment; by default this process's. */
  readonly env?: Readonly<Record<string, string>> | undefined;
  /** Descriptors of this process that become its 0, 1, 2 and so on; by default /dev/null for the first three. */
  readonly stdio?: readonly (number | "ignore")[] | undefined;
}

let children: Children | undefined;

/**
 * The children of this process, which becomes a child subreaper: the same that a shim's hooks have as `context.children`.
 * Throws an Error on any but the main thread, to which the kernel gives orphans.
 */
export function childrenOfProcess(): Children {
  return (children ??= new Children());
}

/**
 * Starts a program and waits for its end. Resolves once it runs.
 *
 * Rejects with a TypeError that names what is wrong, or with the system's error, such as ENOENT, if it cannot be started.
 */
export async function startProcess(
  program: string,
  args: readonly string[] = [],
  options: StartProcessOptions = {},
): Promise<AdoptedChild> {
  if (typeof program !== "string" || program === "") {
    throw new TypeError(`program must be the name or path of a program, not ${kindOf(program)}`);
  }
  checkOptions("startProcess", options, ["cwd", "env", "stdio"]);
  const { cwd, env, stdio = ["ignore", "ignore", "ignore"] } = options;
  if (!isArray(args) || !Array.from(args).every((each) => typeof each === "string"))
    throw new TypeError(`args must be an array of strings, not ${kindOf(args)}`);
  if (cwd !== undefined && typeof cwd !== "string")
    throw new TypeError(`cwd must be a path, not ${kindOf(cwd)}`);
  if (env !== undefined && !(isPlain(env) && Object.values(env).every((each) => typeof each === "string")))
    throw new TypeError(`env must be an object of strings, not ${kindOf(env)}`);
  if (!isArray(stdio) || !Array.from(stdio).every(isDescriptor))
    throw new TypeError(`stdio must be an array of descriptors and "ignore", not ${kindOf(stdio)}`);
  const child = spawn(program, [...args], {
    cwd,
    env: { ...(env ?? process.env) },
    stdio: [...stdio] as NodeStdio,
  });
  const exited = new Promise<ChildExit>((resolve) => {
    child.once("exit", (code, signal) => {
      const status = code ?? 128 + constants.signals[signal ?? "SIGKILL"];
      resolve({ pid: child.pid ?? 0, status, exitedAt: new Date() });
    });
  });
  await once(child, "spawn");
  // Node reports a signal that is not permitted by this event, and libuv has not reaped what it still signals.
  let refused: Error | undefined;
  child.on("error", (error) => (refused = error));
  const kill = (signal: NodeJS.Signals | number = "SIGTERM") => {
    refused = undefined;
    const sent = child.exitCode === null && child.signalCode === null && child.kill(signal);
    if (refused !== undefined) throw refused as Error;
    return sent;
  };
  return { pid: child.pid ?? 0, exited, kill };
}

function isDescriptor(value: unknown): boolean {
  return value === "ignore" || (Number.isInteger(value) && (value as number) >= 0);
}

export type { AdoptedChild, ChildExit, Children };
