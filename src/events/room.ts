// Not the global one, which tests put their own in place of.
import { setImmediate as inNextTurn } from "node:timers";
import { Fifo } from "./fifo.js";

interface Waiter {
  resolve(): void;
  reject(error: unknown): void;
}

/**
 * Those that wait for room in a queue. A place is promised to one of them, in the order in which they came. It is theirs
 * until it is used, or until the event loop's next turn: whoever went away meanwhile must not keep it from the others.
 */
export class Room {
  readonly #isThere: (promised: number) => boolean;
  readonly #waiting = new Fifo<Waiter>();
  /** Places that were promised and not used yet. */
  #promised = 0;
  #expiring = false;

  /** @param isThere - Whether there is room for one more behind `promised` others. */
  constructor(isThere: (promised: number) => boolean) {
    this.#isThere = isThere;
  }

  /** Resolves when there is room; rejects when {@link close} is called first. */
  wait(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
      this.changed();
    });
  }

  /** A place is taken up: one that was promised, if any was. {@link changed} is to be called then. */
  used(): void {
    if (this.#promised > 0) this.#promised--;
  }

  /** Gives what room there is to those that wait. */
  changed(): void {
    while (this.#waiting.length > 0 && this.#isThere(this.#promised)) {
      this.#promised++;
      this.#waiting.shift()?.resolve();
      this.#expire();
    }
  }

  #expire(): void {
    if (this.#expiring) return;
    this.#expiring = true;
    inNextTurn(() => {
      this.#expiring = false;
      this.#promised = 0;
      this.changed();
    });
  }

  /** Nobody waits any more, nor will. */
  close(error: unknown): void {
    for (const { reject } of this.#waiting.clear()) reject(error);
  }
}
