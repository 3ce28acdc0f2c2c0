import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { quoted } from "../helpers/shell.js";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const { bin } = JSON.parse(readFileSync(path.join(ROOT, "package.json"), "utf8")) as {
  bin: { shimctl: string };
};

/** The built command, as npm links it. */
export const SHIMCTL = path.join(ROOT, bin.shimctl);

/** The variables of a terminal with colours. Node reads all of these, `CI` included, so the runner's do not matter. */
const PLAIN_TERMINAL: NodeJS.ProcessEnv = {
  TERM: "xterm-256color",
  CI: undefined,
  FORCE_COLOR: undefined,
  NODE_DISABLE_COLORS: undefined,
  NO_COLOR: undefined,
  TEAMCITY_VERSION: undefined,
  TF_BUILD: undefined,
  TMUX: undefined,
};

/** The outcome of a process. */
export interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  /** How wide a terminal is, 100 if left out. */
  readonly columns?: number;
  /** How high it is, 30 if left out. */
  readonly rows?: number;
  /** What it reads from stdin, which then ends. If left out, stdin is empty. */
  readonly input?: string | Uint8Array;
  readonly env?: NodeJS.ProcessEnv;
  readonly cwd?: string;
}

/** A running shimctl. */
export class Shimctl implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #ended: Promise<unknown>;
  #stdout = "";
  #stderr = "";
  #news: (() => void)[] = [];

  /** @param command - What to run instead of the command itself. */
  constructor(
    args: readonly string[],
    { env, cwd, input = "" }: RunOptions = {},
    command: readonly string[] = [process.execPath, SHIMCTL],
  ) {
    const [file = "", ...rest] = [...command, ...args];
    const child = spawn(file, rest, { cwd, env: { ...process.env, ...PLAIN_TERMINAL, ...env } });
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      this.#stdout += text;
      this.#tell();
    });
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      this.#stderr += text;
      this.#tell();
    });
    // It may end before it has read everything.
    child.stdin.on("error", () => undefined);
    if (input !== undefined && input !== "keep") child.stdin.end(input);
    this.#child = child;
    this.#ended = once(child, "close").then(() => this.#tell());
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** Whether it has ended, even if its output was not all read. */
  get exited(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  get stdout(): string {
    return this.#stdout;
  }

  get stderr(): string {
    return this.#stderr;
  }

  /** Writes to its stdin, which was kept open with `input: "keep"`. */
  type(text: string): void {
    this.#child.stdin?.write(text);
  }

  /** Ends its stdin. */
  endInput(): void {
    this.#child.stdin?.end();
  }

  /** Resolves when its output contains `what`; fails if it ends without that. */
  async says(what: string | RegExp): Promise<void> {
    const said = () => {
      const text = this.#stdout + this.#stderr;
      return typeof what === "string" ? text.includes(what) : what.test(text);
    };
    while (!said()) {
      const { exitCode, signalCode } = this.#child;
      if (exitCode !== null || signalCode !== null) {
        await this.#ended;
        if (said()) return;
        throw new Error(`it ended without saying ${String(what)}:\n${this.#stdout}\n${this.#stderr}`);
      }
      await new Promise<void>((resolve) => this.#news.push(resolve));
    }
  }

  /** Resolves when it has printed `count` lines; fails if it ends before. A pattern would be slow on long lines. */
  async printsLines(count: number): Promise<void> {
    const lines = () => this.#stdout.split("\n").length - 1;
    while (lines() < count) {
      if (this.exited) {
        await this.#ended;
        if (lines() >= count) return;
        throw new Error(`it ended after ${lines()} of ${count} lines:\n${this.#stderr}`);
      }
      await new Promise<void>((resolve) => this.#news.push(resolve));
    }
  }

  kill(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** Stops reading its output, until `listen`. */
  ignore(): void {
    this.#child.stdout?.pause();
  }

  listen(): void {
    this.#child.stdout?.resume();
  }

  /** Closes its output. */
  leave(): void {
    this.#child.stdout?.destroy();
  }

  /** Resolves when it has ended. */
  async outcome(): Promise<Outcome> {
    await this.#ended;
    return { code: this.#child.exitCode, stdout: this.#stdout, stderr: this.#stderr };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#ended;
  }

  #tell(): void {
    for (const resolve of this.#news.splice(0)) resolve();
  }
}

/** Runs shimctl to its end, with pipes for stdin, stdout and stderr. */
export async function shimctl(args: readonly string[], options?: RunOptions): Promise<Outcome> {
  await using child = new Shimctl(args, options);
  return await child.outcome();
}

/**
 * Runs shimctl on a terminal, to which `input` is typed, `\x03` for Ctrl-C.
 *
 * @param after - What the shell of the terminal runs afterwards, such as `; stty -a`.
 */
export class TerminalShimctl extends Shimctl {
  constructor(
    args: readonly string[],
    { columns = 100, rows = 30, ...options }: RunOptions = {},
    after = "",
  ) {
    const line = quoted([process.execPath, SHIMCTL, ...args]);
    const command = `stty cols ${columns} rows ${rows} -echo; ${after === "" ? "exec " : ""}${line}${after}`;
    super([], { ...options, input: "keep" }, [
      "script",
      "--quiet",
      "--return",
      "--command",
      command,
      "/dev/null",
    ]);
  }
}

/** Whether `script`, which makes a terminal, is missing. A test that needs it is skipped, and its name says so. */
export const noTerminal = spawnSync("script", ["--version"]).error !== undefined;
export const needsTerminal = noTerminal ? " (skipped: needs script, of util-linux)" : "";

/** Runs shimctl on a terminal to its end. Its stdout and stderr come as one. */
export async function onTerminal(args: readonly string[], options?: RunOptions): Promise<Outcome> {
  await using child = new TerminalShimctl(args, options);
  const outcome = await child.outcome();
  return { ...outcome, stdout: outcome.stdout.replaceAll("\r\n", "\n") };
}

/** A text whose escape sequences a golden file can show. */
export function visible(text: string): string {
  return text.replaceAll("\x1b", "␛");
}

/** Replaces what differs from run to run with names. */
export function masked(text: string, names: Readonly<Record<string, string>> = {}): string {
  let result = text;
  for (const [name, value] of Object.entries(names)) result = result.replaceAll(value, name);
  return result;
}
