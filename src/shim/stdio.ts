import { Descriptors } from "./descriptors.js";
import { Input } from "./input.js";
import { isLogger, Logger } from "./logging-program.js";
import { Output } from "./output.js";
import { createPipe } from "./pipe.js";
import {
  type CheckedOptions,
  checkedOptions,
  checkedPaths,
  type StdioOptions,
  type StdioPaths,
} from "./stdio-paths.js";

/**
 * The streams of a process without a terminal: pipes, whose bytes a thread of the addon passes on. Made by
 * {@link openStdio}.
 */
export class Stdio {
  /** For the option `stdio` of `spawn`. */
  readonly descriptors: readonly ["ignore" | number, "ignore" | number, "ignore" | number];
  /**
   * Resolves when every process that had the output streams has closed them and all that was written has been passed
   * on, to a logging program until that has ended. Resolves at once if there is no output.
   */
  readonly drained: Promise<void>;
  readonly #theirs = new Descriptors();
  readonly #ours = new Descriptors();
  readonly #starts: (() => void)[] = [];
  readonly #outputs: Output[] = [];
  readonly #logger: Logger | undefined;
  #input: Input | undefined;
  #started!: () => void;

  private constructor(paths: StdioPaths, options: CheckedOptions, logger: Logger | undefined) {
    this.#logger = logger;
    const started = new Promise<void>((resolve) => (this.#started = resolve));
    this.drained = started.then(async () => {
      await Promise.all([...this.#outputs.map((output) => output.ended), this.#logger?.ended]);
    });
    try {
      const logged = logger && [this.#theirs.add(logger.stdout), this.#theirs.add(logger.stderr)];
      const stdin = this.#stdin(paths.stdin, options);
      const [stdout = "ignore", stderr = "ignore"] = logged ?? [
        this.#stdout(paths.stdout, options),
        this.#stdout(paths.stderr, options),
      ];
      this.descriptors = [stdin, stdout, stderr];
    } catch (error) {
      this.abandon();
      throw error;
    }
  }

  /** @internal */
  static async open(paths: StdioPaths, options: StdioOptions | undefined): Promise<Stdio> {
    const from = checkedPaths(paths);
    const by = checkedOptions(options);
    return new Stdio(from, by, isLogger(from.stdout) ? await Logger.start(from.stdout, by) : undefined);
  }

  /** To be called once a process has been started with {@link descriptors}: bytes are passed on from now on. */
  handedOver(): void {
    this.#theirs.closeAll();
    try {
      for (const start of this.#starts.splice(0)) start();
    } finally {
      this.#started();
    }
  }

  /** Lets stdin end as soon as its last writer has closed it: what CloseIO asks for. */
  closeStdin(): void {
    this.#input?.endAfterWriters();
  }

  /**
   * Closes all streams. To be called when the process has ended: what has been written is still passed on, for 10 s at
   * most, and what other processes write later is not.
   */
  close(): void {
    this.#theirs.closeAll();
    this.#starts.length = 0;
    this.#ours.closeAll();
    this.#input?.close();
    for (const output of this.#outputs) output.close();
    this.#logger?.close();
    this.#started();
  }

  /** Closes all streams of a process that could not be started. Nothing is passed on. */
  abandon(): void {
    this.#logger?.kill();
    this.close();
  }

  #stdin(path: string, options: CheckedOptions): "ignore" | number {
    if (path === "") return "ignore";
    const input = new Input(path);
    this.#input = input;
    const { theirs, ours } = this.#pipe(true, options);
    this.#starts.push(() => void input.start(this.#ours.release(ours)).catch(warn));
    return theirs;
  }

  #stdout(target: string, options: CheckedOptions): "ignore" | number {
    if (target === "") return "ignore";
    const output = Output.open(target);
    this.#outputs.push(output);
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

/** Stdin that could not be passed on has ended for the process; nobody else would hear of the reason. */
function warn(error: Error): void {
  process.emitWarning(`stdin could not be passed on: ${error.message}`);
}

/**
 * Opens the streams that containerd names, for a process without a terminal, and makes pipes for the process. Never waits
 * for a reader or writer of a fifo, only for a logging program to be ready.
 *
 * ```ts
 * const stdio = await openStdio(request, { id: request.id, namespace: context.namespace });
 * const child = spawn("/bin/worker", { stdio: [...stdio.descriptors] });
 * stdio.handedOver();
 * child.once("exit", () => stdio.close());
 * ```
 *
 * A reader of a fifo may leave and come back, as long as it is there when the process ends: what nobody has read goes with
 * the last descriptor of a fifo. While it does not read, the process waits once its pipe, 64 KiB between and the fifo
 * are full. If a file takes no bytes, because its disk is full, they are dropped, and a warning says so.
 *
 * Rejects with a TypeError that names a path or option that is wrong, the system's error if a path cannot be opened, and
 * an Error if its scheme is unknown or its logging program does not start within 30 s.
 */
export async function openStdio(paths: StdioPaths, options?: StdioOptions): Promise<Stdio> {
  return Stdio.open(paths, options);
}
