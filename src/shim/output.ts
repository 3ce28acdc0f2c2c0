import { clearTimeout, setTimeout } from "node:timers";
import { constants } from "node:fs";
import { closeDescriptor, openStream } from "./descriptors.js";
import { Transfer } from "./pump.js";
import { DRAIN_MS, pathOfUri, schemeOf, withoutScheme } from "./stdio-paths.js";
import { errorName } from "./system.js";

const { O_APPEND, O_CREAT, O_RDWR, O_WRONLY } = constants;
const ECANCELED = 125;

/** Where one output stream of a process goes. Nothing is passed on before there is a source. */
export class Output {
  readonly #target: string;
  readonly #transfer: Transfer;
  #state: "open" | "started" | "closed" = "open";

  private constructor(target: string, destination: number) {
    this.#target = target;
    const dropped = (errno: number) =>
      void process.emitWarning(`output for ${target} is being lost: ${errorName(-errno)}`);
    this.#transfer = new Transfer(destination, target, { dropped });
  }

  /** Opens a fifo or file. Rejects with the system's error. */
  static async open(target: string): Promise<Output> {
    return new Output(target, await openOutput(target));
  }

  /** Passes on to a descriptor, which it owns from now on. */
  static to(target: string, destination: number): Output {
    return new Output(target, destination);
  }

  /** Passes on what a descriptor, which it owns from now on, has to give. */
  start(source: number): void {
    if (this.#state !== "open") return closeDescriptor(source);
    this.#transfer.startFrom(source);
    this.#state = "started";
    void this.#transfer.ended.then((errno) => this.#report(errno));
  }

  /** Resolves when all has been passed on and everything is closed. */
  get ended(): Promise<unknown> {
    return this.#state === "started" ? this.#transfer.ended : Promise.resolve();
  }

  /** Resolves once readers have read the output written so far, or when the time is up. */
  async flush(milliseconds: number): Promise<void> {
    if (this.#state === "started") await this.#transfer.flush(milliseconds);
  }

  /** Passes on what has been written, and what is to come until `written` resolves, for 10 s at most, and closes. */
  close(written?: Promise<unknown>): void {
    if (this.#state !== "started") {
      if (this.#state === "open") this.#transfer.stop();
      this.#state = "closed";
      return;
    }
    const transfer = this.#transfer;
    if (written === undefined) transfer.finish();
    else void written.then(() => transfer.finish());
    const timer = setTimeout(() => transfer.stop(), DRAIN_MS);
    void transfer.ended.then(() => clearTimeout(timer));
  }

  #report(errno: number): void {
    if (errno === 0) return;
    const why = errno === ECANCELED ? "it was not taken in time" : errorName(-errno);
    process.emitWarning(`output for ${this.#target} was lost: ${why}`);
  }
}

/** Opens the destination of a stream that a process writes. Never waits for a reader. */
async function openOutput(target: string): Promise<number> {
  const scheme = schemeOf(target);
  if (scheme === "file") {
    const { fd } = await openStream(pathOfUri(target), O_WRONLY | O_CREAT | O_APPEND, { parents: true });
    return fd;
  }
  if (scheme !== "fifo") throw new Error(`unknown STDIO scheme ${scheme}`);
  const path = withoutScheme(target);
  // Open for reading too, so that readers may leave and come back.
  const fifo = await openStream(path, O_RDWR);
  if (fifo.isFifo) return fifo.fd;
  closeDescriptor(fifo.fd);
  return (await openStream(path, O_WRONLY | O_APPEND)).fd;
}
