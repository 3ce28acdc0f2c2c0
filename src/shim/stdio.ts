import { Descriptors } from "./descriptors.js";
import { Input } from "./input.js";
import { isLogger, Logger } from "./logging-program.js";
import { Output } from "./output.js";
import { OwnStreams, type StdioStreams } from "./own-streams.js";
import { createPipe } from "./pipe.js";
import { currentMs } from "../clock.js";
import {
  type CheckedOptions,
  checkedOptions,
  checkedPaths,
  DRAIN_MS,
  FLUSH_MS,
  type StdioOptions,
  type StdioPaths,
} from "./stdio-paths.js";

/**
 * The streams of a process without a terminal: pipes, between which and containerd's streams a thread of the addon copies
 * bytes. Made by {@link openStdio}.
 */
export class Stdio {
  /** The process's ends of the pipes, for the option `stdio` of `spawn`. */
  readonly descriptors: readonly ["ignore" | number, "ignore" | number, "ignore" | number];
  /**
   * Resolves when every process that had the output streams has closed them and everything written has been delivered;
   * with a logging program, when that program has ended. Resolves at once if there is no output.
   */
  readonly drained: Promise<void>;
  readonly #theirs = new Descriptors();
  readonly #ours = new Descriptors();
  readonly #starts: (() => void)[] = [];
  readonly #outputs: readonly Output[];
  readonly #logger: Logger | undefined;
  readonly #input: Input | undefined;
  #streams: OwnStreams | undefined;
  #isOver = false;
  #started!: () => void;

  private constructor(ends: Ends, options: CheckedOptions) {
    const { input, logger, outputs } = ends;
    this.#logger = logger;
    this.#input = input;
    this.#outputs = outputs.filter((output) => output !== undefined);
    const started = new Promise<void>((resolve) => (this.#started = resolve));
    this.drained = started.then(async () => {
      await Promise.all([...this.#outputs.map((output) => output.ended), this.#logger?.ended]);
    });
    try {
      const logged = logger && [this.#theirs.add(logger.stdout), this.#theirs.add(logger.stderr)];
      const stdin = this.#stdin(input, options);
      const [stdout, stderr] = outputs.map((output) => this.#stdout(output, options));
      this.descriptors = [stdin, logged?.[0] ?? stdout ?? "ignore", logged?.[1] ?? stderr ?? "ignore"];
    } catch (error) {
      this.abandon();
      throw error;
    }
  }

  /** @internal */
  static async open(paths: StdioPaths, options: StdioOptions | undefined): Promise<Stdio> {
    const by = checkedOptions(options);
    return new Stdio(await openEnds(checkedPaths(paths), by), by);
  }

  /** Call this once a process has been started with {@link descriptors}: from then on, bytes are delivered. */
  handedOver(): void {
    this.#isOver = true;
    this.#theirs.closeAll();
    try {
      for (const start of this.#starts.splice(0)) start();
    } finally {
      this.#started();
    }
  }

  /**
   * Returns the process's ends as Node streams. Use it in place of {@link descriptors} and {@link handedOver} for a
   * container that is not a process of this host, whose bytes come from the agent of a virtual machine or from a worker.
   * {@link flush} and {@link close} also deliver what has been written to these streams; `close` ends them.
   *
   * ```ts
   * const { stdin, stdout } = stdio.streams();
   * stdin?.pipe(guest);
   * guest.pipe(stdout);
   * ```
   *
   * A stream whose bytes cannot be passed on, because a logging program has gone, emits "error"; it needs no listener for
   * that. Throws an Error if the streams have been handed over or closed. Closes all streams and throws an Error if Node
   * may not make sockets, or the system's error if nothing can be passed on.
   */
  streams(): StdioStreams {
    if (this.#isOver) throw new Error("the streams have been handed over, or closed");
    try {
      this.#streams = new OwnStreams(this.descriptors, (end) => this.#theirs.release(end));
      this.handedOver();
      return this.#streams;
    } catch (error) {
      this.abandon();
      throw error;
    }
  }

  /** Whether the output goes to a logging program, which may run until {@link close} asks it to end. */
  get isLogged(): boolean {
    return this.#logger !== undefined;
  }

  /** Lets stdin end as soon as its last writer has closed it, which is what CloseIO asks for. */
  closeStdin(): void {
    this.#input?.endAfterWriters();
  }

  /**
   * Resolves once the output written so far has been delivered and the readers of fifos have read it, or after 250 ms. Await
   * it before you report the exit of a process: `ctr`, and any other program with containerd's Go client 1.7 or later,
   * stops reading when it learns of the exit.
   */
  async flush(): Promise<void> {
    const until = currentMs() + FLUSH_MS;
    await this.#streams?.flush(FLUSH_MS);
    await Promise.all(this.#outputs.map((output) => output.flush(Math.max(until - currentMs(), 0))));
  }

  /**
   * Closes all streams. Call it when the process has ended. Output that has been written is still delivered, for 10 s at
   * most; what other processes write later is lost. A logging program gets SIGTERM half a second after it has read
   * everything.
   */
  close(): void {
    this.#isOver = true;
    this.#theirs.closeAll();
    this.#starts.length = 0;
    this.#ours.closeAll();
    this.#input?.close();
    const written = this.#streams?.end(DRAIN_MS);
    for (const output of this.#outputs) output.close(written);
    this.#logger?.close(written);
    this.#started();
  }

  /** Closes all streams of a process that could not be started. Nothing is delivered. */
  abandon(): void {
    this.#streams?.destroy();
    this.#logger?.kill();
    this.close();
  }

  #stdin(input: Input | undefined, options: CheckedOptions): "ignore" | number {
    if (input === undefined) return "ignore";
    const { theirs, ours } = this.#pipe(true, options);
    this.#starts.push(() => void input.start(this.#ours.release(ours)).catch(warn));
    return theirs;
  }

  #stdout(output: Output | undefined, options: CheckedOptions): "ignore" | number {
    if (output === undefined) return "ignore";
    const { theirs, ours } = this.#pipe(false, options);
    this.#starts.push(() => output.start(this.#ours.release(ours)));
    return theirs;
  }

  /** A pipe whose one end is for the process. */
  #pipe(processReads: boolean, { uid, gid }: CheckedOptions): { theirs: number; ours: number } {
    const { reader, writer } = createPipe({ giveReader: processReads, uid, gid });
    const [theirs, ours] = processReads ? [reader, writer] : [writer, reader];
    return { theirs: this.#theirs.add(theirs), ours: this.#ours.add(ours) };
  }
}

/** What containerd names for the streams of a process, opened. */
interface Ends {
  readonly input: Input | undefined;
  readonly logger: Logger | undefined;
  readonly outputs: readonly (Output | undefined)[];
}

async function openEnds({ stdin, stdout, stderr }: StdioPaths, options: CheckedOptions): Promise<Ends> {
  const logger = isLogger(stdout) ? await Logger.start(stdout, options) : undefined;
  const opened: { close(): void }[] = [];
  const note = <T extends { close(): void } | undefined>(end: T): T => {
    if (end !== undefined) opened.push(end);
    return end;
  };
  try {
    const input = note(stdin === "" ? undefined : await Input.open(stdin));
    const outputs: (Output | undefined)[] = [];
    for (const target of logger === undefined ? [stdout, stderr] : []) {
      outputs.push(note(target === "" ? undefined : await Output.open(target)));
    }
    return { input, logger, outputs };
  } catch (error) {
    logger?.abandon();
    for (const one of opened) one.close();
    throw error;
  }
}

/** Stdin that could not be passed on has ended for the process; nobody else would hear of the reason. */
function warn(error: Error): void {
  process.emitWarning(`stdin could not be passed on: ${error.message}`);
}

/**
 * Opens the streams that containerd names, for a process without a terminal, and makes pipes for the process. It never
 * waits for a reader or writer of a fifo, only for a logging program to be ready or for a file's disk to answer.
 *
 * ```ts
 * const stdio = await openStdio(request, { id: request.id, namespace: context.namespace });
 * const child = spawn("/bin/worker", { stdio: [...stdio.descriptors] });
 * stdio.handedOver();
 * child.once("exit", async () => {
 *   await stdio.flush();
 *   stdio.close();
 * });
 * ```
 *
 * A reader of a fifo may leave and come back, and may even come for the first time up to 10 s after the end of output:
 * until then, a fifo without a reader keeps its unread bytes and has a writer, so that opening it does not block. While
 * nobody reads, the process waits once its pipe, the fifo and 64 KiB between them are full. If a file takes no bytes,
 * because its disk is full, they are dropped, and a warning says so. If the disk does not answer, only that file's stream
 * waits.
 *
 * Rejects with a TypeError that names a wrong path or option; with the system's error if a path cannot be opened, or with
 * EAGAIN if 512 streams to or from files are open already; and with an Error if the scheme of a path is unknown or a
 * logging program does not start within 30 s.
 */
export async function openStdio(paths: StdioPaths, options?: StdioOptions): Promise<Stdio> {
  return Stdio.open(paths, options);
}
