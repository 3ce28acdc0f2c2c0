import { spawn } from "node:child_process";
import { once } from "node:events";
import { text } from "node:stream/consumers";

/** How a command ended, and what it printed. */
export interface Result {
  readonly code: number | string | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly input?: string | undefined;
  /** Whether the input waits, with its end, until the command has printed something. */
  readonly inputAfterOutput?: boolean;
  readonly env?: NodeJS.ProcessEnv;
  /** After which it is killed. */
  readonly timeoutMs?: number;
}

/** Runs a command to its end, which need not be a good one. */
export async function run(
  command: string,
  args: readonly string[],
  { input = "", inputAfterOutput = false, env = process.env, timeoutMs = 60_000 }: RunOptions = {},
): Promise<Result> {
  const child = spawn(command, args, { env, stdio: "pipe" });
  const timer = setTimeout(() => child.kill("SIGKILL"), timeoutMs);
  child.stdin.on("error", () => undefined);
  if (inputAfterOutput) child.stdout.once("data", () => child.stdin.end(input));
  else child.stdin.end(input);
  const [stdout, stderr, [code, signal]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, "close") as Promise<[number | null, NodeJS.Signals | null]>,
  ]);
  clearTimeout(timer);
  return { code: code ?? signal, stdout, stderr };
}
