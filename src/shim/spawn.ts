import { type ChildProcess, spawn, type StdioOptions } from "node:child_process";
import { constants } from "node:os";
import { checkOptions } from "../options.js";
import { isArray, isPlain, kindOf } from "../value-kinds.js";
import type { ChildExit } from "./children.js";

/** How a process is started. */
export interface StartProcessOptions {
  /** Its working directory; by default this process's. */
  readonly cwd?: string | undefined;
  /** Its whole environment; by default this process's. */
  readonly env?: Readonly<Record<string, string>> | undefined;
  /** Descriptors of this process that become its 0, 1, 2 and so on; by default /dev/null for the first three. */
  readonly stdio?: readonly (number | "ignore")[] | undefined;
}

/** A program that is to be started, whose arguments have been checked. */
export interface Program {
  readonly program: string;
  readonly args: readonly string[];
  readonly cwd: string | undefined;
  readonly env: Readonly<Record<string, string | undefined>>;
}

/** Checks what `owner` was given. `known` are its options beside those of every program. */
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
  checkOptions(owner, options, ["cwd", "env", ...known]);
  const { cwd, env } = options;
  if (!isArray(args) || !Array.from(args).every((each) => typeof each === "string"))
    throw new TypeError(`args must be an array of strings, not ${kindOf(args)}`);
  if (cwd !== undefined && typeof cwd !== "string")
    throw new TypeError(`cwd must be a path, not ${kindOf(cwd)}`);
  if (env !== undefined && !(isPlain(env) && Object.values(env).every((each) => typeof each === "string")))
    throw new TypeError(`env must be an object of strings, not ${kindOf(env)}`);
  return { program, args: args as readonly string[], cwd, env: { ...(env ?? process.env) } };
}

/** Starts a program. An error comes as the child's event. */
export function spawnProgram(
  { program, args, cwd, env }: Program,
  stdio: readonly (number | "ignore")[],
): ChildProcess {
  return spawn(program, [...args], { cwd, env: { ...env }, stdio: [...stdio] as StdioOptions });
}

/** How a child ended, from the arguments of its event "exit". */
export function exitOf(child: ChildProcess, code: number | null, signal: NodeJS.Signals | null): ChildExit {
  const status = code ?? 128 + constants.signals[signal ?? "SIGKILL"];
  return { pid: child.pid ?? 0, status, exitedAt: new Date() };
}
