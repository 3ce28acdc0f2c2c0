import { constants } from "node:fs";
import { closeDescriptor, Descriptors, openStream } from "./descriptors.js";
import { Transfer } from "./pump.js";
import { withoutScheme } from "./stdio-paths.js";

const { O_RDONLY, O_WRONLY } = constants;

/** Where the stdin of a process comes from. Nothing is passed on before there is a destination. */
export class Input {
  readonly #transfer: Transfer;
  readonly #open = new Descriptors();
  /** Keeps the stream from ending before its writer comes and while no writer is there; -1 if it needs none. */
  readonly #hold: number;
  #closed = false;

  private constructor(transfer: Transfer, hold: number) {
    this.#transfer = transfer;
    this.#hold = this.#open.add(hold);
  }

  /** Opens a fifo or file. Never waits for a writer. Rejects with the system's error. */
  static async open(target: string): Promise<Input> {
    const path = withoutScheme(target);
    const { fd, isFifo } = await openStream(path, O_RDONLY);
    const transfer = new Transfer(fd, path);
    try {
      return new Input(transfer, isFifo ? (await openStream(path, O_WRONLY)).fd : -1);
    } catch (error) {
      transfer.stop();
      throw error;
    }
  }

  /**
   * Passes on to a descriptor, which it owns from now on. Resolves when that has ended, to whether it was the end of the
   * source that ended it.
   */
  async start(destination: number): Promise<boolean> {
    if (this.#closed) {
      closeDescriptor(destination);
      return false;
    }
    this.#transfer.startTo(destination);
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
    this.#closed = true;
    this.#transfer.stop();
    this.#open.closeAll();
  }
}
