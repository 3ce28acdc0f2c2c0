import { checkSignal } from "../abort.js";
import { type Address, parseAddress } from "../address.js";
import { Connection } from "./connection.js";
import { checkConnectTimeout, CONNECT_TIMEOUT_MS, openConnection } from "./connector.js";
import type { Driver } from "../connection-types.js";
import { checkDriver } from "../native/driver.js";
import { checkBoolean, checkOptions } from "../options.js";
import { shown } from "../value-kinds.js";
import { type ReconnectOptions, reconnectOptions, Reconnector } from "./reconnect.js";

/** Options of {@link connect}. */
export interface ConnectOptions {
  /** Milliseconds until the attempt fails with `Unavailable` and cause code `ETIMEDOUT`. Default 10 000. */
  readonly connectTimeoutMs?: number | undefined;
  /** Aborts the attempt, which then fails with `Canceled`. */
  readonly signal?: AbortSignal | undefined;
  /**
   * Retries while nobody listens (`ENOENT`, `ECONNREFUSED`), within `connectTimeoutMs`. Meant for a server that is
   * still starting. Default false.
   */
  readonly waitForReady?: boolean | undefined;
  /**
   * Reconnects whenever the connection ends other than by `close()`. Calls in flight still fail, since the peer may
   * have carried them out. Calls made before the connection is back wait for the next attempt. Default false.
   */
  readonly reconnect?: ReconnectOptions | boolean | undefined;
  /**
   * What runs the connection's runtime; see {@link Driver}. Default `"loop"`, or `"thread"` without Node's event loop.
   */
  readonly driver?: Driver | undefined;
  /**
   * Milliseconds to poll for answers before the thread sleeps, after calls were sent and after each answer while others
   * are due: from 0 to 10, fractions allowed. Default 0: the thread sleeps at once, and the kernel wakes it.
   *
   * With one call in flight to a peer on the same machine, half of the latency is falling asleep and waking up. A value of
   * 0.05 avoids both, at the cost of keeping a processor busy: that of the JavaScript thread with `driver: "loop"`, which
   * does nothing else for that long, or of the I/O thread with `"thread"`. The option has no effect if the process has only
   * one processor. See docs/performance.md.
   */
  readonly busyPollMs?: number | undefined;
}

/** The longest look: the event loop waits for it. */
const LONGEST_LOOK_MS = 10;

const OPTIONS = [
  "connectTimeoutMs",
  "signal",
  "waitForReady",
  "reconnect",
  "driver",
  "busyPollMs",
] as const satisfies readonly (keyof ConnectOptions)[];

/**
 * Connects to a ttrpc server.
 *
 * ```ts
 * const connection = await connect("unix:///run/containerd/s/abc", { connectTimeoutMs: 1000 });
 * ```
 *
 * Rejects with a TypeError if the address or an option is wrong, and with a {@link TtrpcError} of code `Unavailable` if
 * the attempt fails; its `cause.code` is the system's error name (`ENOENT`, `ECONNREFUSED`, `ETIMEDOUT`).
 */
export async function connect(address: Address, options: ConnectOptions = {}): Promise<Connection> {
  checkOptions("connect", options, OPTIONS);
  const parsed = parseAddress(address);
  const {
    connectTimeoutMs: timeoutMs = CONNECT_TIMEOUT_MS,
    signal,
    waitForReady = false,
    reconnect,
    driver: given,
    busyPollMs = 0,
  } = options;
  checkConnectTimeout(timeoutMs);
  checkSignal(signal);
  checkBoolean(waitForReady, "waitForReady");
  if (typeof busyPollMs !== "number" || !(busyPollMs >= 0 && busyPollMs <= LONGEST_LOOK_MS)) {
    const range = `from 0 to ${LONGEST_LOOK_MS}`;
    throw new TypeError(`busyPollMs must be a number of milliseconds ${range}, not ${shown(busyPollMs)}`);
  }
  const busyPollUs = Math.ceil(busyPollMs * 1000);
  const driver = checkDriver(given);
  let reconnector: Reconnector | undefined;
  if (reconnect !== undefined && reconnect !== false) {
    if (parsed.binding === undefined) throw new TypeError(`${parsed.text} cannot be connected to again`);
    reconnector = new Reconnector(reconnectOptions(reconnect), (stop) =>
      openConnection(parsed, {
        driver,
        timeoutMs,
        waitForReady: false,
        signal: stop,
        isBackground: true,
        busyPollUs,
      }),
    );
  }
  const opened = await openConnection(parsed, { driver, timeoutMs, signal, waitForReady, busyPollUs });
  return new Connection(opened, parsed.text, reconnector);
}
