import { closeSync, constants, fstatSync, openSync } from "node:fs";
import { Descriptors, forAddon } from "./descriptors.js";
import { Transfer } from "./pump.js";
import { withoutScheme } from "./stdio-paths.js";

const { O_NONBLOCK, O_RDONLY, O_WRONLY } = constants;

/** Where the stdin of a process comes from. Nothing is passed on before there is a destination. */
export class Input {
  readonly #open = new Descriptors();
  readonly #source: number;
  readonly #hold: number;
  #transfer: Transfer | undefined;

  /** Opens a fifo. Throws the system's error. */
  constructor(path: string) {
    const { source, hold } = openInput(path);
    this.#source = this.#open.add(source);
    this.#hold = this.#open.add(hold);
  }

  /**
   * Passes on to a descriptor, which it owns from now on. Resolves when that has ended, to whether it was the end of the
   * source that ended it.
   */
  async start(destination: number): Promise<boolean> {
    this.#transfer = new Transfer(this.#open.release(this.#source), destination);
    const errno = await this.#transfer.ended;
    this.endAfterWriters();
    return errno === 0;
  }

  /** Lets the stream end once its last writer has closed it. */
  endAfterWriters(): void {
    if (this.#hold >= 0) this.#open.close(this.#hold);
  }

  /** Ends it at once. */
  close(): void {
    this.#transfer?.stop();
    this.#open.closeAll();
  }
}

/** An opened source of stdin. */
interface OpenedInput {
  readonly source: number;
  /** Keeps the stream from ending before its writer comes and while no writer is there; -1 if it needs none. */
  readonly hold: number;
}

/** Opens the source of a stream that a process reads. Never waits. */
function openInput(path: string): OpenedInput {
  const opened = openSync(withoutScheme(path), O_RDONLY | O_NONBLOCK);
  let hold = -1;
  try {
    if (fstatSync(opened).isFIFO()) hold = openSync(withoutScheme(path), O_WRONLY | O_NONBLOCK);
    return { source: forAddon(opened), hold };
  } catch (error) {
    closeSync(opened);
    if (hold >= 0) closeSync(hold);
    throw error;
  }
}
