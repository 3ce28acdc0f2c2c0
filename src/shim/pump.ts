import { closeSync } from "node:fs";
import { type NativePump, loadNative } from "../native/addon.js";
import { checked } from "./system.js";

/** The thread of this environment, made for its first transfer. */
let pump: NativePump | undefined;

/** The transfers whose end has not been reported, by their numbers. */
const transfers = new Map<number, (errno: number) => void>();

/** How many of them keep the process alive. */
let held = 0;

/** Bytes that the addon's thread moves from one descriptor to another, whatever JavaScript does meanwhile. */
export class Transfer {
  /**
   * Resolves when both descriptors are closed: to 0 if all that was read has been written, or to the number of the error
   * that ended the transfer or cost it bytes. ECANCELED if it was stopped.
   */
  readonly ended: Promise<number>;
  readonly #number: number;

  /**
   * Moves bytes from one descriptor to another. Takes over both, also if it throws the system's error. Until it has
   * ended, it keeps the process alive, unless it is told not to.
   */
  constructor(source: number, destination: number, { holds = true } = {}) {
    pump ??= newPump([source, destination]);
    this.#number = checked("start a transfer", pump.start(source, destination));
    if (holds) hold(1);
    this.ended = new Promise((resolve) => {
      transfers.set(this.#number, (errno) => {
        if (holds) hold(-1);
        resolve(errno);
      });
    });
  }

  /** Ends as soon as nothing is left to read, though somebody could still write. */
  finish(): void {
    pump?.finish(this.#number);
  }

  /** Ends at once. What has not been passed on is lost. */
  stop(): void {
    pump?.stop(this.#number);
  }
}

/** A thread may be one too many for the process. The descriptors are closed then, as for any transfer that cannot start. */
function newPump(descriptors: readonly number[]): NativePump {
  try {
    return new (loadNative().BindingPump)(onEnded);
  } catch (error) {
    for (const fd of descriptors) closeSync(fd);
    throw error;
  }
}

function hold(change: number): void {
  const before = held;
  held += change;
  if (before === 0 || held === 0) pump?.hold(held > 0);
}

function onEnded(): void {
  const ended = pump?.takeEnded() ?? [];
  for (let index = 0; index < ended.length; index += 2) {
    const [number = 0, errno = 0] = ended.slice(index);
    transfers.get(number)?.(errno);
    transfers.delete(number);
  }
}
