import { closeSync } from "node:fs";
import { getSystemErrorName } from "node:util";
import { Transfer } from "./pump.js";
import { DRAIN_MS, openOutput } from "./stdio-paths.js";

const ECANCELED = 125;

/** Where one output stream of a process goes. Nothing is passed on before there is a source. */
export class Output {
  readonly #target: string;
  #destination: number | undefined;
  #transfer: Transfer | undefined;

  private constructor(target: string, destination: number) {
    this.#target = target;
    this.#destination = destination;
  }

  /** Opens a fifo or file. Throws the system's error. */
  static open(target: string): Output {
    return new Output(target, openOutput(target));
  }

  /** Passes on to a descriptor, which it owns from now on. */
  static to(target: string, destination: number): Output {
    return new Output(target, destination);
  }

  /** Passes on what a descriptor, which it owns from now on, has to give. */
  start(source: number): void {
    const destination = this.#destination;
    if (destination === undefined) return closeSync(source);
    this.#destination = undefined;
    this.#transfer = new Transfer(source, destination);
    void this.#transfer.ended.then((errno) => this.#report(errno));
  }

  /** Resolves when all has been passed on and everything is closed. */
  get ended(): Promise<unknown> {
    return this.#transfer?.ended ?? Promise.resolve();
  }

  /** Passes on what has been written, for 10 s at most, and closes. */
  close(): void {
    const destination = this.#destination;
    this.#destination = undefined;
    if (destination !== undefined) closeSync(destination);
    const transfer = this.#transfer;
    if (transfer === undefined) return;
    transfer.finish();
    const timer = setTimeout(() => transfer.stop(), DRAIN_MS);
    void transfer.ended.then(() => clearTimeout(timer));
  }

  #report(errno: number): void {
    if (errno === 0) return;
    const why = errno === ECANCELED ? "nobody read it in time" : getSystemErrorName(-errno);
    process.emitWarning(`output for ${this.#target} was lost: ${why}`);
  }
}
