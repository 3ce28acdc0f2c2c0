import { listenToAbort, unlistenToAbort } from "../abort.js";
import { Code } from "../code.js";
import { canceledError, TtrpcError } from "../error.js";
import { LONGEST_TIMER_MS, checkOptions, withDefaults } from "../options.js";
import { isPlain, kindOf, shown } from "../values.js";
import type { OpenConnection } from "./connector.js";

/** How a connection that ended is reopened. */
export interface ReconnectOptions {
  /** Milliseconds before the first attempt. Default 100. */
  readonly initialDelayMs?: number;
  /** The longest delay between two attempts, in milliseconds; the delay doubles up to it. Default 5 000. */
  readonly maxDelayMs?: number;
  /** Attempts that may fail in a row before the connection is closed for good. Default no limit. */
  readonly maxAttempts?: number;
  /** Calls that may wait for the next attempt; one more fails with `ResourceExhausted`. Default 1 000. */
  readonly maxWaitingCalls?: number;
}

const DEFAULTS = {
  initialDelayMs: 100,
  maxDelayMs: 5000,
  maxAttempts: Number.POSITIVE_INFINITY,
  maxWaitingCalls: 1000,
};

/** Checks the options. Throws a TypeError that names the wrong one. */
export function reconnectOptions(options: ReconnectOptions | true): typeof DEFAULTS {
  const given = options === true ? {} : options;
  if (!isPlain(given)) throw new TypeError(`reconnect must be a boolean or an object, not ${kindOf(given)}`);
  checkOptions("connect", given, Object.keys(DEFAULTS), "reconnect.");
  const checked = withDefaults(DEFAULTS, given);
  for (const name of Object.keys(DEFAULTS) as (keyof typeof DEFAULTS)[]) {
    const least = name === "initialDelayMs" || name === "maxDelayMs" ? 1 : 0;
    if (typeof checked[name] !== "number" || !(checked[name] >= least)) {
      throw new TypeError(`reconnect.${name} must be a number from ${least} on, not ${shown(checked[name])}`);
    }
  }
  return checked;
}

interface Waiting {
  resolve(id: number): void;
  reject(error: unknown): void;
}

/**
 * Reopens a connection: one attempt after another, with growing delays, until one succeeds or too many have failed.
 * Calls made meanwhile wait for the next attempt and share its outcome.
 */
export class Reconnector {
  readonly #options: typeof DEFAULTS;
  readonly #open: (signal: AbortSignal) => Promise<OpenConnection>;
  readonly #waiting = new Set<Waiting>();
  #timer: NodeJS.Timeout | undefined;
  #failed = 0;
  /** When the last connection was made; minus infinity after it has been judged, or if there was none. */
  #openedAt = Number.NEGATIVE_INFINITY;
  readonly #stop = new AbortController();

  constructor(options: typeof DEFAULTS, open: (signal: AbortSignal) => Promise<OpenConnection>) {
    this.#options = options;
    this.#open = open;
  }

  /** Starts the attempts. Calls `opened` with the connection, or `gaveUp` with the reason why there is none. */
  start(opened: (connection: OpenConnection) => void, gaveUp: (error: TtrpcError) => void): void {
    const { initialDelayMs, maxDelayMs, maxAttempts } = this.#options;
    const livedMs = performance.now() - this.#openedAt;
    this.#openedAt = Number.NEGATIVE_INFINITY;
    if (livedMs < Math.min(initialDelayMs * 2 ** this.#failed, maxDelayMs)) {
      // A peer that accepts and hangs up counts as a failed attempt.
      this.#failed++;
      if (this.#failed >= maxAttempts) {
        gaveUp(
          new TtrpcError(
            `the connection ended ${this.#failed} times as soon as it was made`,
            Code.Unavailable,
          ),
        );
        return;
      }
    } else if (livedMs < Number.POSITIVE_INFINITY) this.#failed = 0;
    const delay = Math.min(initialDelayMs * 2 ** this.#failed, maxDelayMs);
    // Varied by up to a quarter either way, so that the many clients of one server do not all return at once.
    const spread = Math.min(delay * (0.75 + Math.random() / 2), LONGEST_TIMER_MS);
    this.#timer = setTimeout(() => void attempt(), spread);
    // Waiting for a server keeps the process alive only while calls wait too.
    if (this.#waiting.size === 0) this.#timer.unref();
    const attempt = async () => {
      this.#timer = undefined;
      try {
        const connection = await this.#open(this.#stop.signal);
        if (this.#stop.signal.aborted) {
          // close() was called between the connection's opening and this callback.
          connection.bridge.close(connection.id);
          return;
        }
        this.#openedAt = performance.now();
        opened(connection);
        for (const { resolve } of this.#take()) resolve(connection.id);
      } catch (reason) {
        const error = TtrpcError.from(reason);
        for (const { reject } of this.#take()) reject(error);
        if (this.#stop.signal.aborted) return;
        this.#failed++;
        if (this.#failed >= maxAttempts) gaveUp(error);
        else this.start(opened, gaveUp);
      }
    };
  }

  /** Makes no further attempt. Waiting calls fail. */
  stop(error: TtrpcError): void {
    this.#stop.abort();
    clearTimeout(this.#timer);
    for (const { reject } of this.#take()) reject(error);
  }

  /** Waits for the connection of the next attempt, within the call's own deadline. Resolves to its id. */
  wait(timeoutMs: number | undefined, signal: AbortSignal | undefined): Promise<number> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) {
        reject(canceledError(signal));
        return;
      }
      if (this.#waiting.size >= this.#options.maxWaitingCalls) {
        const text = `${this.#waiting.size} calls wait for the connection to be made again`;
        reject(new TtrpcError(text, Code.ResourceExhausted));
        return;
      }
      const done = () => {
        this.#waiting.delete(waiting);
        clearTimeout(timer);
        if (signal !== undefined) unlistenToAbort(signal, onAbort);
        if (this.#waiting.size === 0) this.#timer?.unref();
      };
      const onAbort = { aborted: (by: AbortSignal) => waiting.reject(canceledError(by)) };
      const late = () =>
        waiting.reject(new TtrpcError("the deadline passed before the call was sent", Code.DeadlineExceeded));
      const timer = timeoutMs ? setTimeout(late, Math.min(timeoutMs, LONGEST_TIMER_MS)) : undefined;
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
      if (signal !== undefined) listenToAbort(signal, onAbort);
      this.#waiting.add(waiting);
      this.#timer?.ref();
    });
  }

  #take(): Waiting[] {
    return [...this.#waiting];
  }
}
