// The global one may be mocked by tests.
import { setImmediate as inNextTurn } from "node:timers";
import { Fifo } from "./fifo.js";

interface Waiter {
  resolve(): void;
  reject(error: unknown): void;
}

/**
 * The callers that wait for room in a queue. Each free place is promised to one of them, in the order in which they came.
 * It is theirs until they use it, or until the event loop's next turn: a caller that left must not keep it from the others.
 */
export class FreePlaces {
  readonly #isThere: (promised: number) => boolean;
  readonly #waiting = new Fifo<Waiter>();
  /** Places promised but not used yet. */
  #promised = 0;
  #expiring = false;

  /** @param isThere - Whether there is room for one more after `promised` others. */
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

  /** Uses a place: a promised one, if there is any. Call {@link changed} afterwards. */
  used(): void {
    if (this.#promised > 0) this.#promised--;
  }

  /** Gives the free places to the callers that wait. */
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

  /** Rejects every waiting caller. Nobody may wait afterwards. */
  close(error: unknown): void {
    for (const { reject } of this.#waiting.clear()) reject(error);
  }
}
