import { closeSync, constants, mkdtempSync, openSync, rmSync } from "node:fs";
import { Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ReadStream } from "node:tty";
import { loadNative } from "../native/addon.js";
import { shown } from "../values.js";
import { checkedPaths } from "./stdio.js";
import { checked } from "./system.js";

const { O_NONBLOCK, O_RDONLY, O_RDWR, O_WRONLY } = constants;

/** The largest width and height that the kernel stores for a terminal. */
const LARGEST_SIZE = 0xffff;

/** The fifos that a terminal is connected to, as containerd names them. Empty means none. */
export interface ConsolePaths {
  /** Where input comes from. */
  readonly stdin: string;
  /** Where output goes. */
  readonly stdout: string;
}

/**
 * The socket to which an OCI runtime sends the terminal of a container's process: its `--console-socket`. Made by
 * {@link listenConsole}.
 */
export class ConsoleSocket {
  /** The path to pass to the runtime. */
  readonly path: string;
  readonly #folder: string;
  #listener: number | undefined;

  /** @internal */
  constructor() {
    // Not in the bundle: its path may be longer than a socket's may be.
    this.#folder = mkdtempSync(join(tmpdir(), "pty"));
    this.path = join(this.#folder, "pty.sock");
    try {
      this.#listener = checked("listen", loadNative().listenConsole(this.path));
    } catch (error) {
      rmSync(this.#folder, { recursive: true });
      throw error;
    }
  }

  /** The terminal that the runtime sent; to be called once the runtime has succeeded. Throws an Error if it sent none. */
  receive(): Console {
    if (this.#listener === undefined) throw new Error("the console socket has been removed");
    return new Console(checked("receive the terminal", loadNative().receiveConsole(this.#listener)));
  }

  /** Removes the socket. */
  [Symbol.dispose](): void {
    const listener = this.#listener;
    // A second time, the descriptor and the path may belong to something else.
    this.#listener = undefined;
    if (listener === undefined) return;
    closeSync(listener);
    rmSync(this.#folder, { recursive: true });
  }
}

/** The outer end of the terminal of a container's process. */
export class Console {
  readonly #terminal: number;
  readonly #stream: ReadStream;
  #output: Socket | undefined;
  #stdin: Socket | undefined;
  #stdinHold: number | undefined;
  /** Resolves when all output has been passed on and no process has the terminal open any more. */
  readonly drained: Promise<void>;

  /** @internal */
  constructor(terminal: number) {
    if (!Number.isInteger(terminal)) throw new TypeError("terminal must be a descriptor that was received");
    this.#terminal = terminal;
    this.#stream = streamOf(terminal);
    // EIO: the last process that had the terminal has ended. All that it printed was read before.
    this.#stream.on("error", () => undefined);
    this.drained = new Promise((resolve) => {
      this.#stream.once("close", () => {
        this.closeStdin();
        if (this.#output === undefined || this.#output.destroyed) resolve();
        else this.#output.once("close", resolve).end();
      });
    });
  }

  /** Connects the terminal to containerd's fifos. A slow reader holds the process back. */
  connect(paths: ConsolePaths): void {
    const { stdin, stdout } = checkedPaths(paths, ["stdin", "stdout"]);
    if (stdout === "") this.#stream.resume();
    else {
      // Readers may come and go, as with `ctr attach`.
      const reader = openSync(stdout, O_RDONLY | O_NONBLOCK);
      const fd = openOr(() => closeSync(reader), stdout, O_WRONLY);
      this.#output = new Socket({ fd, readable: false, writable: true });
      this.#output.on("error", () => this.#stream.resume());
      this.#output.once("close", () => closeSync(reader));
      this.#stream.pipe(this.#output);
    }
    if (stdin === "") return;
    const both = openSync(stdin, O_RDWR | O_NONBLOCK);
    const fd = openOr(() => closeSync(both), stdin, O_RDONLY);
    this.#stdin = new Socket({ fd, readable: true, writable: false });
    this.#stdinHold = openOr(() => closeSync(both), stdin, O_WRONLY);
    closeSync(both);
    this.#stdin.on("error", () => undefined);
    this.#stdin.pipe(this.#stream as unknown as Socket, { end: false });
  }

  /** Sets the size of the terminal, in characters. */
  resize(width: number, height: number): void {
    for (const [name, value] of Object.entries({ width, height })) {
      if (!Number.isInteger(value) || value < 0 || value > LARGEST_SIZE) {
        throw new TypeError(`${name} must be an integer from 0 to ${LARGEST_SIZE}, not ${shown(value)}`);
      }
    }
    // Something else may have its descriptor by now.
    if (this.#stream.destroyed) return;
    checked("resize the terminal", loadNative().resizeConsole(this.#terminal, width, height));
  }

  /** Lets stdin end once its last writer has closed it. */
  closeStdin(): void {
    const hold = this.#stdinHold;
    this.#stdinHold = undefined;
    if (hold !== undefined) closeSync(hold);
    if (this.#stream.destroyed) this.#stdin?.destroy();
  }

  /** Closes the terminal, even if a process still has it open. */
  close(): void {
    this.#stream.destroy();
    this.#output?.destroy();
  }
}

/** The output of a terminal, whose descriptor it owns. */
function streamOf(terminal: number): ReadStream {
  try {
    return new ReadStream(terminal);
  } catch (error) {
    // A peer may send anything.
    closeSync(terminal);
    throw error;
  }
}

function openOr(giveUp: () => void, path: string, flags: number): number {
  try {
    return openSync(path, flags | O_NONBLOCK);
  } catch (error) {
    giveUp();
    throw error;
  }
}

/**
 * Creates a socket for the terminal of a process that is about to be created.
 *
 * ```ts
 * using socket = listenConsole();
 * await run("runc", ["create", "--console-socket", socket.path, "--bundle", bundle, id]);
 * const console = socket.receive();
 * console.connect(request);
 * ```
 */
export function listenConsole(): ConsoleSocket {
  return new ConsoleSocket();
}
