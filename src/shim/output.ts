import { closeSync, constants, fstatSync, mkdirSync, openSync } from "node:fs";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { getSystemErrorName } from "node:util";
import { forAddon } from "./descriptors.js";
import { Transfer } from "./pump.js";
import { DRAIN_MS, schemeOf, withoutScheme } from "./stdio-paths.js";

const { O_APPEND, O_CREAT, O_NONBLOCK, O_RDWR, O_WRONLY } = constants;
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

/** Opens the destination of a stream that a process writes. Never waits. */
function openOutput(target: string): number {
  const scheme = schemeOf(target);
  if (scheme === "file") {
    const path = fileURLToPath(target);
    mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
    return forAddon(openSync(path, O_WRONLY | O_CREAT | O_APPEND, 0o644));
  }
  if (scheme !== "fifo") throw new Error(`unknown STDIO scheme ${scheme}`);
  const path = withoutScheme(target);
  // Open for reading too, so that readers may leave and come back.
  const fifo = openSync(path, O_RDWR | O_NONBLOCK);
  try {
    if (fstatSync(fifo).isFIFO()) return forAddon(fifo);
  } catch (error) {
    closeSync(fifo);
    throw error;
  }
  closeSync(fifo);
  return forAddon(openSync(path, O_WRONLY | O_APPEND));
}
