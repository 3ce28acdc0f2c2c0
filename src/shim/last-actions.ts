import { currentMs } from "../clock.js";
import { fulfilledWithin } from "../pause.js";
import { kindOf } from "../value-kinds.js";
import type { ShimLog } from "./log.js";
import type { MaybePromise } from "../server/service.js";

/** How long they may take, as in containerd's own shim. */
export const LAST_ACTIONS_MS = 5000;

/** What a service wants done before its shim ends. */
export class LastActions {
  readonly #actions: (() => MaybePromise<void>)[] = [];
  readonly #log: ShimLog;

  constructor(log: ShimLog) {
    this.#log = log;
  }

  /** Notes one. Throws a TypeError if it is no function. */
  readonly add = (action: () => MaybePromise<void>): void => {
    if (typeof action !== "function") throw new TypeError(`action must be a function, not ${kindOf(action)}`);
    this.#actions.push(action);
  };

  /** Does all of them, once. Resolves when they have ended, or when the time is up; it never rejects. */
  async run(): Promise<void> {
    const until = currentMs() + LAST_ACTIONS_MS;
    // Requests are still served meanwhile, and their handlers may add more.
    while (this.#actions.length > 0) {
      const all = this.#actions.splice(0).map((action) => this.#do(action));
      if ((await fulfilledWithin(Promise.all(all), until - currentMs())) && currentMs() < until) continue;
      this.#log.error("what was to be done at shutdown has not ended in time");
      return;
    }
  }

  async #do(action: () => MaybePromise<void>): Promise<void> {
    try {
      await action();
    } catch (error) {
      this.#log.error("what was to be done at shutdown failed", { error });
    }
  }
}
