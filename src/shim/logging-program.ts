import { URL } from "node:url";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { clearTimeout, setTimeout } from "node:timers";
import { setTimeout as sleep } from "node:timers/promises";
import { currentMs } from "../clock.js";
import { socketOf } from "../native/socket.js";
import type { CheckedOptions } from "./stdio-paths.js";
import { closeDescriptor, Descriptors } from "./descriptors.js";
import { createPipe, type Pipe, unreadIn } from "./pipe.js";
import { schemeOf } from "./stdio-paths.js";

/** How long a logging program may take until it is ready. */
const READY_MS = 30_000;
/**
 * How long one that is to end may take to read what there is; how long it then has to end by itself, before it is asked to, as
 * what it has read may not be written yet; and how long from then until it is killed.
 */
const READ_MS = 10_000;
const END_MS = 500;
const KILL_MS = 12_000;
/** How often to check whether it has read everything. */
const LOOK_MS = 20;

/** The descriptors from which it reads. */
const OUTPUTS = [3, 4];

/** Whether an output's target names a logging program. */
export function isLogger(target: string): boolean {
  return ["binary", "binary-v2"].includes(schemeOf(target));
}

/**
 * A logging program, started as containerd's own shim starts one: with the container's output as descriptors 3 and 4, and
 * as descriptor 5 a pipe that it closes when it is ready. Its environment is CONTAINER_ID and CONTAINER_NAMESPACE, and
 * its arguments are the keys and values of the URI's query.
 *
 * @see https://github.com/containerd/containerd/blob/main/core/runtime/v2/README.md#logging
 */
export class Logger {
  /** Resolves when the program has ended. */
  readonly ended: Promise<void>;
  readonly #child: ChildProcess;
  #closed = false;

  private constructor(
    child: ChildProcess,
    /** The writing ends of the two pipes, which whoever started the program owns. */
    readonly stdout: number,
    readonly stderr: number,
  ) {
    this.#child = child;
    this.ended = new Promise((resolve) => child.once("exit", () => resolve()));
    // A program that has become another user's may not be signalled, which emits this, too. It ends with its streams then.
    child.on("error", () => undefined);
  }

  /** Starts the program of a `binary://` URI. Rejects if it cannot be started, or ends or takes 30 s before it is ready. */
  static async start(target: string, { id, namespace }: CheckedOptions): Promise<Logger> {
    const { path, args } = commandOf(target);
    const theirs = new Descriptors();
    const ours = new Descriptors();
    try {
      const [stdout, stderr] = [pipeTo(theirs, ours), pipeTo(theirs, ours)];
      const ready = pipeFrom(theirs, ours);
      const child = spawn(path, args, {
        env: { CONTAINER_ID: id, CONTAINER_NAMESPACE: namespace },
        stdio: ["ignore", "ignore", "ignore", stdout.reader, stderr.reader, ready.writer],
      });
      const logger = new Logger(child, stdout.writer, stderr.writer);
      child.unref();
      try {
        await once(child, "spawn");
        theirs.closeAll();
        await untilReady(ours.release(ready.reader), schemeOf(target) === "binary-v2");
      } catch (error) {
        child.kill("SIGKILL");
        throw new Error(`the logging program ${path} did not start: ${(error as Error).message}`, {
          cause: error,
        });
      }
      return logger;
    } catch (error) {
      theirs.closeAll();
      ours.closeAll();
      throw error;
    }
  }

  /**
   * Lets the program end, once `written` has resolved: then nothing but what it has not read yet is to come. One that waits
   * to be asked, as containerd's own shim does, is asked half a second after it has read that, or after 10 s. It is killed
   * after 12 more.
   */
  close(written: Promise<unknown> = Promise.resolve()): void {
    if (this.#closed) return;
    this.#closed = true;
    // Whoever awaits the end must not lose its process meanwhile.
    this.#child.ref();
    // Nothing is left behind by a shim that ends before that.
    endAtExit(this.#child);
    void this.ended.then(() => forget(this.#child));
    void written.then(() => this.#end());
  }

  async #end(): Promise<void> {
    const over = new AbortController();
    void this.ended.then(() => over.abort());
    const pause = (ms: number) => sleep(ms, undefined, { ref: false, signal: over.signal });
    try {
      const latest = currentMs() + READ_MS;
      while (currentMs() < latest && this.#hasUnread()) await pause(LOOK_MS);
      await pause(END_MS);
      this.#child.kill("SIGTERM");
      await pause(KILL_MS);
      this.#child.kill("SIGKILL");
    } catch {
      // It has ended.
    }
  }

  /** Whether one of its pipes holds bytes. An end of them that was kept open would keep writers from seeing that it ended. */
  #hasUnread(): boolean {
    return OUTPUTS.some((number) => {
      try {
        return unreadIn(`/proc/${this.#child.pid}/fd/${number}`) > 0;
      } catch {
        // It has closed the descriptor, or become another user's.
        return false;
      }
    });
  }

  /** Ends the program of a process that could not be started. */
  kill(): void {
    this.#closed = true;
    this.#child.kill("SIGKILL");
  }

  /** The same, and closes the writing ends, which nobody has taken over. */
  abandon(): void {
    this.kill();
    closeDescriptor(this.stdout);
    closeDescriptor(this.stderr);
  }
}

/** The programs that are to end. They share a listener: of more than ten, Node warns that memory leaks. */
const ending = new Set<ChildProcess>();

function endAtExit(child: ChildProcess): void {
  if (ending.size === 0) process.on("exit", endAll);
  ending.add(child);
}

function forget(child: ChildProcess): void {
  ending.delete(child);
  if (ending.size === 0) process.off("exit", endAll);
}

function endAll(): void {
  for (const child of ending) child.kill("SIGTERM");
}

function commandOf(target: string): { path: string; args: string[] } {
  let url: URL;
  try {
    url = new URL(target);
  } catch (cause) {
    throw new Error(`cannot parse the URI ${target} of a logging program`, { cause });
  }
  const path = decodeURIComponent(url.pathname);
  if (!path.startsWith("/")) throw new Error(`the URI ${target} names no logging program`);
  const names = [...new Set(url.searchParams.keys())];
  return { path, args: names.flatMap((name) => [name, url.searchParams.get(name) ?? ""]) };
}

function pipeTo(theirs: Descriptors, ours: Descriptors): Pipe {
  const { reader, writer } = createPipe();
  return { reader: theirs.add(reader), writer: ours.add(writer) };
}

function pipeFrom(theirs: Descriptors, ours: Descriptors): Pipe {
  const { reader, writer } = createPipe();
  return { reader: ours.add(reader), writer: theirs.add(writer) };
}

/** Waits for a byte or the end of a pipe, which it closes. The older protocol takes the end alone for "ready". */
async function untilReady(reader: number, mustWrite: boolean): Promise<void> {
  const socket = socketOf(reader, { readable: true, writable: false });
  // A signal of AbortSignal.timeout() would keep the socket until then.
  const over = new AbortController();
  const timer = setTimeout(() => over.abort(), READY_MS);
  try {
    const { signal } = over;
    const first = (await Promise.race([
      once(socket, "data", { signal }),
      once(socket, "end", { signal }),
    ])) as unknown[];
    if (mustWrite && first.length === 0) throw new Error("it ended before it was ready");
  } catch (error) {
    if ((error as Error).name !== "AbortError") throw error;
    throw new Error(`it was not ready within ${READY_MS / 1000} s`, { cause: error });
  } finally {
    clearTimeout(timer);
    over.abort();
    socket.destroy();
  }
}
