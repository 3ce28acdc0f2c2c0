import { checkSignal } from "../abort.js";
import { type Address, parseAddress } from "../address.js";
import { checkBusyPoll } from "../busy-poll.js";
import { Connection } from "./connection.js";
import { CONNECT_TIMEOUT_MS, openConnection } from "./connector.js";
import type { Driver } from "../connection-types.js";
import { checkDriver } from "../native/driver.js";
import { checkedBoolean, checkedMs, checkOptions } from "../options.js";
import { type ReconnectOptions, reconnectOptions, Reconnector } from "./reconnect.js";

/** Options of {@link connect}. */
export interface ConnectOptions {
  /** Milliseconds until the attempt fails with `Unavailable` and cause code `ETIMEDOUT`. Default 10 000. */
  readonly connectTimeoutMs?: number | undefined;
  /** Aborts the attempt, which then fails with `Canceled`. */
  readonly signal?: AbortSignal | undefined;
  /**
   * Retries while nobody listens (`ENOENT`, `ECONNREFUSED`; with vsock `ECONNRESET`, `ENODEV`, `ETIMEDOUT`), within
   * `connectTimeoutMs`. Meant for a server, or a guest, that is still starting. Default false.
   */
  readonly waitForReady?: boolean | undefined;
  /**
   * Reconnects whenever the connection ends other than by `close()`. Calls in flight still fail, since the peer may
   * have carried them out. Calls made before the connection is back wait for the next attempt. Default false.
   */
  readonly reconnect?: ReconnectOptions | boolean | undefined;
  /** What runs the connection's runtime; see {@link Driver}. Default `"loop"`, or `"thread"` without Node's event loop. */
  readonly driver?: Driver | undefined;
  /**
   * Milliseconds to poll for answers before the thread sleeps: from 0 to 10, fractions allowed. Polling begins once bytes
   * of a call or a stream have been sent, continues after each answer while more are due, and gives way to whatever else
   * the event loop has to do.
   *
   * With few calls in flight to a peer on the same machine, most of the latency is falling asleep and waking up. So by
   * default, a connection polls for up to 0.1 ms as long as that pays: where answers take longer, it soon polls only one
   * time in 64. A number given here applies to every call: 0 turns polling off, and 1 keeps a processor busy for up to a
   * millisecond. On a single processor, nothing polls. See docs/performance.md.
   */
  readonly busyPollMs?: number | undefined;
}

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
    busyPollMs,
  } = options;
  checkedMs(timeoutMs, "connectTimeoutMs", "above 0");
  checkSignal(signal);
  checkedBoolean(waitForReady, "waitForReady");
  const busyPollUs = checkBusyPoll(busyPollMs);
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
