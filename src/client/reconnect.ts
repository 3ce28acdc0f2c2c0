import { clearInterval, clearTimeout, setInterval, setTimeout } from "node:timers";
import { currentMs } from "../clock.js";
import { listenToAbort, unlistenToAbort } from "../abort.js";
import { Code } from "../code.js";
import { callError, canceledError, TtrpcError } from "../error.js";
import { checkedMs, checkOptions, LONGEST_TIMER_MS, withDefaults } from "../options.js";
import { isPlain, kindOf, shown } from "../value-kinds.js";
import type { OpenConnection } from "./connector.js";

/** How a connection that has ended connects again. */
export interface ReconnectOptions {
  /** Milliseconds before the first attempt. Default 100. */
  readonly initialDelayMs?: number | undefined;
  /** The longest time between two attempts, in milliseconds; the delay doubles up to it. Default 5 000. */
  readonly maxDelayMs?: number | undefined;
  /** How many attempts may fail in a row before the connection is closed for good. No limit by default. */
  readonly maxAttempts?: number | undefined;
  /** Calls that may wait for the next attempt; any further call fails with `ResourceExhausted`. Default 1 000. */
  readonly maxWaitingCalls?: number | undefined;
}

const DEFAULTS = {
  initialDelayMs: 100,
  maxDelayMs: 5000,
  maxAttempts: Number.POSITIVE_INFINITY,
  maxWaitingCalls: 1000,
};

/** Checks the options. Throws a TypeError that names the one that is wrong. */
export function reconnectOptions(options: ReconnectOptions | true): typeof DEFAULTS {
  const given = options === true ? {} : options;
  if (!isPlain(given)) throw new TypeError(`reconnect must be a boolean or an object, not ${kindOf(given)}`);
  checkOptions("connect", given, Object.keys(DEFAULTS), "reconnect.");
  const checked = withDefaults(DEFAULTS, given);
  for (const name of ["initialDelayMs", "maxDelayMs"] as const) {
    checkedMs(checked[name], `reconnect.${name}`, 1);
  }
  for (const name of ["maxAttempts", "maxWaitingCalls"] as const) {
    if (typeof checked[name] !== "number" || !(checked[name] >= 0))
      throw new TypeError(`reconnect.${name} must be a number, 0 or more, not ${shown(checked[name])}`);
  }
  return checked;
}

interface Waiting {
  resolve(id: number): void;
  reject(error: unknown): void;
}

/** The place of a call that waits for a connection. */
export interface Place<T> {
  /** The connection that the next attempt makes. */
  readonly connection: Promise<T>;
  /** Gives the place up, if the call still waits. */
  leave(): void;
}

/** Where a {@link Reconnector} is. Whether it has been stopped, its signal says. */
type State =
  | { readonly is: "idle" }
  | { readonly is: "delayed"; readonly timer: NodeJS.Timeout }
  | { readonly is: "connecting"; readonly timer: NodeJS.Timeout }
  | { readonly is: "open"; readonly since: number };

/**
 * Makes a connection again: one attempt after the other with growing delays, until one succeeds or too many have failed.
 * Calls made meanwhile wait for the attempt that comes next, and share its fate.
 */
export class Reconnector {
  readonly #options: typeof DEFAULTS;
  readonly #open: (signal: AbortSignal) => Promise<OpenConnection>;
  readonly #waiting = new Set<Waiting>();
  #state: State = { is: "idle" };
  /** Whether calls that wait keep the process alive. */
  #holds = true;
  /** Attempts in a row that failed, or whose connection ended at once. */
  #failed = 0;
  readonly #stop = new AbortController();

  constructor(options: typeof DEFAULTS, open: (signal: AbortSignal) => Promise<OpenConnection>) {
    this.#options = options;
    this.#open = open;
  }

  /** Whether {@link stop} was called. Then {@link start} must not be. */
  get isStopped(): boolean {
    return this.#stop.signal.aborted;
  }

  /**
   * Calls `opened` with a connection, or `gaveUp` with why there is none. If the last connection failed, `last` says how.
   */
  start(
    opened: (connection: OpenConnection) => void,
    gaveUp: (error: TtrpcError) => void,
    last?: TtrpcError,
  ): void {
    if (this.#state.is === "open") {
      const livedMs = currentMs() - this.#state.since;
      // A peer that accepts and hangs up is no better than one that is not there.
      const isFailure = livedMs < this.#delayMs();
      this.#failed = isFailure ? this.#failed + 1 : 0;
      if (isFailure && this.#failed >= this.#options.maxAttempts) {
        const text = `the connection ended ${this.#failed} times as soon as it was made`;
        const how = last === undefined ? "" : `: ${last.message}`;
        gaveUp(new TtrpcError(text + how, Code.Unavailable, last && { cause: last.cause }));
        return;
      }
    }
    // A quarter less or more, so that the many clients of one server do not come back at once.
    const spread = this.#delayMs() * (0.75 + Math.random() / 2);
    const timer = setTimeout(() => void this.#attempt(opened, gaveUp), Math.min(spread, LONGEST_TIMER_MS));
    this.#state = { is: "delayed", timer };
    this.#hold();
  }

  #delayMs(): number {
    return Math.min(this.#options.initialDelayMs * 2 ** this.#failed, this.#options.maxDelayMs);
  }

  async #attempt(
    opened: (connection: OpenConnection) => void,
    gaveUp: (error: TtrpcError) => void,
  ): Promise<void> {
    // The attempt itself does not keep the process alive; this does.
    const timer = setInterval(() => undefined, LONGEST_TIMER_MS);
    this.#state = { is: "connecting", timer };
    this.#hold();
    try {
      const connection = await this.#open(this.#stop.signal).finally(() => clearInterval(timer));
      if (this.isStopped) {
        // close() came after the connection was made and before this.
        connection.bridge.close(connection.id);
        return;
      }
      this.#state = { is: "open", since: currentMs() };
      opened(connection);
      for (const { resolve } of this.#take()) resolve(connection.id);
    } catch (reason) {
      const error = TtrpcError.from(reason);
      for (const { reject } of this.#take()) reject(error);
      if (this.isStopped) return;
      this.#failed++;
      if (this.#failed >= this.#options.maxAttempts) gaveUp(error);
      else this.start(opened, gaveUp);
    }
  }

  /** Sets whether calls that wait keep the process alive. */
  setHolds(holds: boolean): void {
    this.#holds = holds;
    this.#hold();
  }

  /** Waiting for a server keeps the process alive only while a call does. */
  #hold(): void {
    if (this.#state.is !== "delayed" && this.#state.is !== "connecting") return;
    if (this.#holds && this.#waiting.size > 0) this.#state.timer.ref();
    else this.#state.timer.unref();
  }

  /** Makes no further attempt. Calls that wait fail. */
  stop(error: TtrpcError): void {
    this.#stop.abort();
    if (this.#state.is === "delayed") clearTimeout(this.#state.timer);
    for (const { reject } of this.#take()) reject(error);
  }

  /** Waits for the connection that the next attempt makes; within the call's own time. */
  wait(timeoutMs: number | undefined, signal: AbortSignal | undefined): Place<number> {
    let place: Waiting | undefined;
    const connection = new Promise<number>((resolve, reject) => {
      if (signal?.aborted) {
        reject(canceledError(signal));
        return;
      }
      if (this.#waiting.size >= this.#options.maxWaitingCalls) {
        const text = `${this.#waiting.size} calls wait for the connection to be made again`;
        reject(callError(text, Code.ResourceExhausted));
        return;
      }
      const done = () => {
        this.#waiting.delete(waiting);
        clearTimeout(timer);
        unlistenToAbort(signal, onAbort);
        this.#hold();
      };
      const onAbort = { aborted: (by: AbortSignal) => waiting.reject(canceledError(by)) };
      const late = () =>
        waiting.reject(callError("the deadline passed before the call was sent", Code.DeadlineExceeded));
      const timer = timeoutMs ? setTimeout(late, Math.min(timeoutMs, LONGEST_TIMER_MS)) : undefined;
      // The attempt keeps the process alive, if anything does.
      timer?.unref();
      const waiting: Waiting = {
        resolve(id) {
          done();
          resolve(id);
        },
        reject(error) {
          done();
          reject(error);
        },
      };
      listenToAbort(signal, onAbort);
      this.#waiting.add(waiting);
      this.#hold();
      place = waiting;
    });
    return { connection, leave: () => place?.reject(callError("nobody waits for the call", Code.Canceled)) };
  }

  #take(): Waiting[] {
    return [...this.#waiting];
  }
}
