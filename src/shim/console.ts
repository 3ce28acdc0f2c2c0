import { rmSync } from "node:fs";
import { join } from "node:path";
import { makeSocketFolder } from "../socket-folder.js";
import { loadNative } from "../native/addon.js";
import { shown } from "../value-kinds.js";
import { closeDescriptor, Descriptors } from "./descriptors.js";
import { Input } from "./input.js";
import { isLogger, Logger } from "./logging-program.js";
import { Output } from "./output.js";
import { checkedOptions, checkedPaths, FLUSH_MS, type StdioOptions, type StdioPaths } from "./stdio-paths.js";
import { checked } from "./system.js";

/** The largest width and height that the kernel stores for a terminal. */
const LARGEST_SIZE = 0xffff;

/** The ends of a terminal's streams that are containerd's. */
interface Ends {
  readonly input: Input | undefined;
  readonly output: Output | undefined;
  readonly logger: Logger | undefined;
}

/**
 * The socket to which an OCI runtime sends the terminal of a container's process: its `--console-socket`. Made by
 * {@link listenConsole}.
 */
export class ConsoleSocket {
  /** The path to pass to the runtime. */
  readonly path: string;
  readonly #folder: string;
  readonly #open = new Descriptors();
  readonly #listener: number;
  #ends: Ends | undefined;
  #removed = false;

  private constructor(ends: Ends) {
    // Not in the bundle: its path may be longer than a socket's may be.
    this.#folder = makeSocketFolder("pty");
    this.path = join(this.#folder, "pty.sock");
    this.#ends = ends;
    try {
      const what = `listen for a terminal on ${this.path}`;
      this.#listener = this.#open.add(checked(what, loadNative().listenConsole(this.path)));
    } catch (error) {
      rmSync(this.#folder, { recursive: true });
      throw error;
    }
  }

  /** @internal */
  static async listen(paths: StdioPaths, options: StdioOptions | undefined): Promise<ConsoleSocket> {
    const { stdin, stdout } = checkedPaths(paths);
    const ends = await openEnds(stdin, stdout, options);
    try {
      return new ConsoleSocket(ends);
    } catch (error) {
      closeEnds(ends);
      throw error;
    }
  }

  /**
   * Returns the terminal that the runtime sent, connected to containerd's streams. Call it once the runtime has
   * succeeded. Throws an Error if the runtime sent no terminal, or if one has been received already.
   */
  receive(): Console {
    if (this.#removed) throw new Error("the console socket has been removed");
    const ends = this.#ends;
    if (ends === undefined) throw new Error("the terminal has been received already");
    const terminal = checked("receive the terminal", loadNative().receiveConsole(this.#listener));
    this.#ends = undefined;
    return new Console(terminal, ends);
  }

  /** Removes the socket, and closes containerd's streams if no terminal was received. */
  [Symbol.dispose](): void {
    // A second time, the descriptor and the path may belong to something else.
    if (this.#removed) return;
    this.#removed = true;
    this.#open.closeAll();
    if (this.#ends !== undefined) closeEnds(this.#ends);
    try {
      rmSync(this.#folder, { recursive: true, force: true });
    } catch (error) {
      // The container that has the terminal runs all the same.
      process.emitWarning(`the socket of a terminal could not be removed: ${(error as Error).message}`);
    }
  }
}

/** The shim's end (the pty master) of the terminal of a container's process. A thread of the addon copies its bytes. */
export class Console {
  /**
   * Resolves when no process has the terminal open any more and all output has been delivered; with a logging program,
   * when that program has ended.
   */
  readonly drained: Promise<void>;
  readonly #ends: Ends;
  readonly #open = new Descriptors();
  readonly #terminal: number;
  #closed = false;

  /** @internal */
  constructor(terminal: number, ends: Ends) {
    if (!Number.isInteger(terminal)) throw new TypeError("terminal must be a descriptor that was received");
    this.#terminal = this.#open.add(terminal);
    this.#ends = ends;
    const { input, output, logger } = ends;
    try {
      output?.start(this.#duplicate());
      if (input !== undefined) this.#connectInput(input);
    } catch (error) {
      // A peer may send anything.
      this.#open.closeAll();
      closeEnds(ends);
      throw error;
    }
    this.drained = Promise.all([output?.ended, logger?.ended]).then(() => undefined);
    // Nothing more can come out of it, and its number may soon be another's.
    void output?.ended.then(() => this.#hangUp());
  }

  /** Whether the output goes to a logging program, which may run until {@link close} asks it to end. */
  get isLogged(): boolean {
    return this.#ends.logger !== undefined;
  }

  /** Sets the size of the terminal, in characters. Nothing happens once it is closed. */
  resize(width: number, height: number): void {
    for (const [name, value] of Object.entries({ width, height })) {
      if (!Number.isInteger(value) || value < 0 || value > LARGEST_SIZE) {
        throw new TypeError(`${name} must be an integer from 0 to ${LARGEST_SIZE}, not ${shown(value)}`);
      }
    }
    if (this.#closed) return;
    checked("resize the terminal", loadNative().resizeConsole(this.#terminal, width, height));
  }

  /**
   * Lets stdin end once its last writer has closed it. Then, as with containerd's own shim, the terminal is hung up, so
   * its process gets SIGHUP.
   */
  closeStdin(): void {
    this.#ends.input?.endAfterWriters();
  }

  /**
   * Resolves once the output written so far has been delivered and the readers of fifos have read it, or after 250 ms. Await
   * it before you report the exit of a process: `ctr`, and any other program with containerd's Go client 1.7 or later,
   * stops reading when it learns of the exit.
   */
  async flush(): Promise<void> {
    await this.#ends.output?.flush(FLUSH_MS);
  }

  /**
   * Closes the terminal, even if a process still has it open. Remaining output is still delivered, for 10 s at most, and
   * a logging program is asked to end once it has read that output.
   */
  close(): void {
    closeEnds(this.#ends);
    this.#hangUp();
  }

  #connectInput(input: Input): void {
    const terminal = this.#duplicate();
    const started = input.start(terminal).then((ended) => {
      // Otherwise the process has ended, and what it has printed is still to be read.
      if (!ended) return;
      this.#ends.output?.close();
      this.#hangUp();
    });
    started.catch((error: Error) => {
      process.emitWarning(`the input of a terminal could not be passed on: ${error.message}`);
    });
  }

  /** The process is sent SIGHUP as soon as no other descriptor of the terminal is open. */
  #hangUp(): void {
    this.#closed = true;
    this.#open.closeAll();
  }

  #duplicate(): number {
    return checked("duplicate the terminal", loadNative().duplicateDescriptor(this.#terminal));
  }
}

async function openEnds(stdin: string, stdout: string, options: StdioOptions | undefined): Promise<Ends> {
  const checkedBy = checkedOptions(options);
  const input = stdin === "" ? undefined : await Input.open(stdin);
  try {
    if (!isLogger(stdout)) {
      // Its output must be read, or its process would wait.
      return { input, output: await Output.open(stdout || "/dev/null"), logger: undefined };
    }
    const logger = await Logger.start(stdout, checkedBy);
    closeDescriptor(logger.stderr);
    return { input, output: Output.to(stdout, logger.stdout), logger };
  } catch (error) {
    input?.close();
    throw error;
  }
}

function closeEnds({ input, output, logger }: Ends): void {
  input?.close();
  output?.close();
  logger?.close(output?.ended);
}

/**
 * Creates a socket for the terminal of a process that is about to be created, and opens the streams that containerd
 * names, so that no process is started whose streams cannot be opened. `paths.stderr` is not used: a terminal has one
 * output.
 *
 * ```ts
 * using socket = await listenConsole(request);
 * await run("runc", ["create", "--console-socket", socket.path, "--bundle", bundle, id]);
 * const console = socket.receive();
 * ```
 *
 * Rejects as `openStdio` does.
 */
export async function listenConsole(paths: StdioPaths, options?: StdioOptions): Promise<ConsoleSocket> {
  return ConsoleSocket.listen(paths, options);
}
