import { type ChildProcess, spawn, type StdioOptions } from "node:child_process";
import { constants } from "node:os";
import { listenToAbort, unlistenToAbort } from "../abort.js";
import { checkSignal } from "../client/call-options.js";
import { loadNative } from "../native/addon.js";
import { checkOptions } from "../options.js";
import { isArray, isPlain, kindOf } from "../value-kinds.js";
import type { ChildExit } from "./children.js";
import { checked } from "./system.js";

/** How a process is started. */
export interface StartProcessOptions {
  /** Its working directory; by default this process's. */
  readonly cwd?: string | undefined;
  /** Its whole environment; by default this process's. */
  readonly env?: Readonly<Record<string, string>> | undefined;
  /**
   * Whether the kernel kills it, by SIGKILL, when this process ends, or the worker that starts it, however that ends. What the
   * program itself starts lives on. Works in Node only; by default false.
   */
  readonly endsWithShim?: boolean | undefined;
  /**
   * When it aborts, the process is killed by SIGKILL; what that has started itself lives on. Nothing is started if it has
   * aborted already: the promise then rejects with its reason. A handler's `context.signal` ends what nobody waits for.
   */
  readonly signal?: AbortSignal | undefined;
  /** Descriptors of this process that become its 0, 1, 2 and so on; by default /dev/null for the first three. */
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
    throw new TypeError(`program must be the name or path of a program, not ${kindOf(program)}`);
  }
  checkOptions(owner, options, ["cwd", "env", "endsWithShim", "signal", ...known]);
  const { cwd, env, endsWithShim = false, signal } = options;
  if (!isArray(args) || !Array.from(args).every((each) => typeof each === "string"))
    throw new TypeError(`args must be an array of strings, not ${kindOf(args)}`);
  if (cwd !== undefined && typeof cwd !== "string")
    throw new TypeError(`cwd must be a path, not ${kindOf(cwd)}`);
  if (env !== undefined && !(isPlain(env) && Object.values(env).every((each) => typeof each === "string")))
    throw new TypeError(`env must be an object of strings, not ${kindOf(env)}`);
  if (typeof endsWithShim !== "boolean")
    throw new TypeError(`endsWithShim must be a boolean, not ${kindOf(endsWithShim)}`);
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
  const start = () => spawn(program, [...args], { cwd, env: { ...env }, stdio: [...stdio] as StdioOptions });
  const child = endsWithShim ? endingWithThisThread(start) : start();
  if (signal !== undefined) {
    const listener = { aborted: () => void child.kill("SIGKILL") };
    listenToAbort(signal, listener);
    for (const over of ["exit", "error"]) child.once(over, () => unlistenToAbort(signal, listener));
  }
  return child;
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
