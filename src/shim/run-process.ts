import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import type { Socket } from "node:net";
import { socketOf } from "../native/socket.js";
import { checkBytes, shown } from "../value-kinds.js";
import type { ChildExit } from "./children.js";
import { closeDescriptor } from "./descriptors.js";
import { OutputReader } from "./output-reader.js";
import { createPipe } from "./pipe.js";
import { checkProgram, exitOf, type Program, spawnProgram, type StartProcessOptions } from "./spawn.js";

/** Options of {@link runProcess}. */
export interface RunProcessOptions extends Omit<StartProcessOptions, "stdio"> {
  /** The bytes that the program reads from stdin. By default stdin is /dev/null. */
  readonly input?: Uint8Array | undefined;
  /**
   * How many bytes each of stdout and stderr are kept. What the program prints beyond that is read and dropped, so that
   * the program never waits. Default 1 MiB.
   */
  readonly maxOutputBytes?: number | undefined;
}

/** A process that has ended, and what it printed. */
export interface FinishedProcess extends ChildExit {
  /** The first bytes of what it printed to stdout, up to `maxOutputBytes`. */
  readonly stdout: Uint8Array;
  /** The first bytes of what it printed to stderr, up to `maxOutputBytes`. */
  readonly stderr: Uint8Array;
  /** Whether it printed more than `maxOutputBytes` to either. */
  readonly truncated: boolean;
}

/**
 * Runs a program to its end, such as an OCI runtime, and resolves with its exit and its output.
 *
 * Unlike `execFile` of `node:child_process`, it gives the program pipes, not sockets, so a script can open /dev/stderr.
 * And it does not wait for processes that the program leaves behind with its stdout or stderr; they get SIGPIPE if they
 * write there later.
 *
 * Rejects with a TypeError that names what is wrong, or with the system's error, such as ENOENT, if it cannot be started.
 * A program that fails does not make it reject: check `status`.
 *
 * ```ts
 * import { runProcess } from "containerd-shim-protos/shim/process";
 *
 * const { status, stdout, stderr } = await runProcess("runc", ["ps", "--format", "json", id]);
 * if (status !== 0) throw new Error(`runc ps failed: ${Buffer.from(stderr).toString().trim()}`);
 * const pids = JSON.parse(Buffer.from(stdout).toString());
 * ```
 */
export async function runProcess(
  program: string,
  args: readonly string[] = [],
  options: RunProcessOptions = {},
): Promise<FinishedProcess> {
  const checked = checkProgram("runProcess", program, args, options, ["input", "maxOutputBytes"]);
  const { input, maxOutputBytes = 1 << 20 } = options;
  if (input !== undefined) checkBytes(input, "input");
  if (!Number.isSafeInteger(maxOutputBytes) || maxOutputBytes < 0)
    throw new TypeError(`maxOutputBytes must be a number of bytes, 0 or more, not ${shown(maxOutputBytes)}`);
  return run(checked, input, maxOutputBytes);
}

async function run(program: Program, input: Uint8Array | undefined, limit: number): Promise<FinishedProcess> {
  const ours: Ours = { outputs: [], feed: undefined };
  try {
    const child = start(program, input, limit, ours);
    const [code, signal] = (await once(child, "exit")) as [number | null, NodeJS.Signals | null];
    const exit = exitOf(child, code, signal);
    const [out, err] = ours.outputs.map((output) => output.finish());
    return {
      ...exit,
      stdout: out as Uint8Array,
      stderr: err as Uint8Array,
      truncated: ours.outputs.some(({ truncated }) => truncated),
    };
  } finally {
    ours.feed?.destroy();
    for (const output of ours.outputs) output.close();
  }
}

/** This process's ends of the pipes. */
interface Ours {
  readonly outputs: OutputReader[];
  feed: Socket | undefined;
}

/**
 * Starts a program whose other ends of the pipes are in `ours`. They are made first, because what runs needs somebody
 * to wait for it.
 */
function start(program: Program, input: Uint8Array | undefined, limit: number, ours: Ours): ChildProcess {
  const theirs: number[] = [];
  try {
    while (theirs.length < 2) {
      const { reader, writer } = createPipe();
      theirs.push(writer);
      ours.outputs.push(new OutputReader(reader, limit));
    }
    if (input !== undefined) {
      const { reader, writer } = createPipe();
      theirs.push(reader);
      ours.feed = feedOf(writer, input);
    }
    const [stdout = -1, stderr = -1, stdin = "ignore"] = theirs;
    return spawnProgram(program, [stdin, stdout, stderr]);
  } finally {
    // The program has descriptors of its own.
    for (const end of theirs) closeDescriptor(end);
  }
}

/** Writes the input, and then closes the pipe. A program need not read all of it. */
function feedOf(writer: number, input: Uint8Array): Socket {
  const socket = socketOf(writer, { readable: false, writable: true });
  socket.on("error", () => undefined);
  socket.end(input);
  return socket;
}
