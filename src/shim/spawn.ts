import { type ChildProcess, spawn, type StdioOptions } from "node:child_process";
import { statSync } from "node:fs";
import { constants } from "node:os";
import { checkSignal, listenToAbort, unlistenToAbort } from "../abort.js";
import { loadNative } from "../native/addon.js";
import { checkedBoolean, checkedString, checkOptions } from "../options.js";
import { isArray, isPlain, kindOf, shown } from "../value-kinds.js";
import type { ChildExit } from "./children.js";
import { checked } from "./system.js";

/** How a process is started. */
export interface StartProcessOptions {
  /** The working directory. Default that of this process. */
  readonly cwd?: string | undefined;
  /** The whole environment. Default that of this process. */
  readonly env?: Readonly<Record<string, string>> | undefined;
  /**
   * Whether the kernel kills the process, by SIGKILL, when this process or the worker that started it ends in any way.
   * Processes that the program itself has started live on. Works in Node only. Default false.
   */
  readonly endsWithShim?: boolean | undefined;
  /**
   * Kills the process by SIGKILL when it aborts; processes that the program itself has started live on. If it has aborted
   * already, nothing is started, and the promise rejects with its reason. Pass a handler's `context.signal` to end a
   * program when nobody waits for it any more.
   */
  readonly signal?: AbortSignal | undefined;
  /**
   * Descriptors of this process that become the program's 0, 1, 2 and so on. Any of the first three that is left out is
   * /dev/null.
   */
  readonly stdio?: readonly (number | "ignore")[] | undefined;
}

/** A program that is to be started, whose arguments have been checked. */
export interface Program {
  readonly program: string;
  readonly args: readonly string[];
  readonly cwd: string | undefined;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly endsWithShim: boolean;
  readonly signal: AbortSignal | undefined;
}

/** Checks what `owner` was given. `known` are its options besides those of every program. */
export function checkProgram(
  owner: string,
  program: unknown,
  args: unknown,
  options: Omit<StartProcessOptions, "stdio">,
  known: readonly string[],
): Program {
  if (typeof program !== "string" || program === "") {
    throw new TypeError(`program must be the name or path of a program, not ${shown(program)}`);
  }
  checkOptions(owner, options, ["cwd", "env", "endsWithShim", "signal", ...known]);
  const { cwd, env, endsWithShim = false, signal } = options;
  if (!isArray(args)) throw new TypeError(`args must be an array of strings, not ${kindOf(args)}`);
  for (const [index, each] of Array.from(args).entries()) checkedString(each, `args[${index}]`);
  if (cwd !== undefined && typeof cwd !== "string")
    throw new TypeError(`cwd must be a path, not ${kindOf(cwd)}`);
  if (env !== undefined && !isPlain(env))
    throw new TypeError(`env must be an object of strings, not ${kindOf(env)}`);
  for (const [name, value] of Object.entries(env ?? {})) checkedString(value, `env[${JSON.stringify(name)}]`);
  checkedBoolean(endsWithShim, "endsWithShim");
  checkSignal(signal);
  signal?.throwIfAborted();
  const whole = { ...(env ?? process.env) };
  return { program, args: args as readonly string[], cwd, env: whole, endsWithShim, signal };
}

/** Starts a program. An error comes as the child's event. */
export function spawnProgram(
  { program, args, cwd, env, endsWithShim, signal }: Program,
  stdio: readonly (number | "ignore")[],
): ChildProcess {
  // For what is left out, Node makes sockets, which nobody here reads.
  const whole = [...stdio, ...["ignore", "ignore", "ignore"].slice(stdio.length)] as StdioOptions;
  const start = () => spawn(program, [...args], { cwd, env: { ...env }, stdio: whole });
  const child = withFolder(cwd, () => (endsWithShim ? endingWithThisThread(start) : start()));
  if (signal !== undefined) {
    const listener = { aborted: () => void child.kill("SIGKILL") };
    listenToAbort(signal, listener);
    for (const over of ["exit", "error"]) child.once(over, () => unlistenToAbort(signal, listener));
  }
  return child;
}

/** Names a working directory that does not exist in the error, thrown or emitted: Node names the program alone. */
function withFolder(cwd: string | undefined, start: () => ChildProcess): ChildProcess {
  const explain = (error: Error) => {
    if (cwd !== undefined && !isFolder(cwd)) error.message += `: there is no folder ${cwd} to run it in`;
  };
  try {
    const child = start();
    child.on("error", (error) => child.pid === undefined && explain(error));
    return child;
  } catch (error) {
    explain(error as Error);
    throw error;
  }
}

function isFolder(path: string): boolean {
  try {
    return statSync(path).isDirectory();
  } catch {
    return false;
  }
}

/** Node's spawn has no such option, but it forks, and the addon's handler in the child sets it. */
function endingWithThisThread(start: () => ChildProcess): ChildProcess {
  const { endChildrenWithThisThread } = loadNative();
  checked("pthread_setspecific", endChildrenWithThisThread(true));
  try {
    return start();
  } finally {
    endChildrenWithThisThread(false);
  }
}

/** How a child ended, from the arguments of its event "exit". */
export function exitOf(child: ChildProcess, code: number | null, signal: NodeJS.Signals | null): ChildExit {
  const status = code ?? 128 + constants.signals[signal ?? "SIGKILL"];
  return { pid: child.pid ?? 0, status, exitedAt: new Date() };
}
