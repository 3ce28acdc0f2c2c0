import { clearTimeout, setImmediate, setTimeout } from "node:timers";
import { constants } from "node:os";
import { setBusyPoll } from "../busy-poll.js";
import { currentMs } from "../clock.js";
import { listenToAbort, unlistenToAbort } from "../abort.js";
import type { ParsedAddress } from "../address.js";
import { Code } from "../code.js";
import { duplexFailure, join } from "../duplex.js";
import { canceledError, transportError, TtrpcError } from "../error.js";
import { LONGEST_TIMER_MS } from "../options.js";
import { pause } from "../pause.js";
import type { BindingOpened } from "../native/addon.js";
import { type Bridge, bridgeOf } from "../native/bridge.js";
import type { ConnectionClosed, Driver } from "../connection-types.js";

/** Whether a connection keeps the process alive. */
export const Hold = { WhileBusy: 0, Always: 1, Never: 2 } as const;

/** An open connection. */
export interface OpenConnection {
  readonly bridge: Bridge;
  readonly id: number;
  /** Sets who hears of its end. An end that came before is reported at once. */
  onClosed(listener: (why: ConnectionClosed) => void): void;
}

/** How to open a connection. */
export interface OpenOptions {
  readonly driver: Driver;
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
  /** Retry while nobody listens. */
  readonly waitForReady: boolean;
  /** Nothing of the attempt keeps the process alive; the connection does not either, until its hold is set. */
  readonly isBackground?: boolean | undefined;
  /** Microseconds to poll for answers before the thread sleeps; undefined to poll while that pays. */
  readonly busyPollUs: number | undefined;
}

const { EAGAIN, ECONNREFUSED, ECONNRESET, EEXIST, ENODEV, ENOENT, ETIMEDOUT } = constants.errno;

/** The errors of an address at which nobody listens. */
const NOBODY: ReadonlySet<number> = new Set([ENOENT, ECONNREFUSED]);
/**
 * Those of vsock: the other side refuses by a reset, a guest that was not started is no device, and one that has not loaded its
 * driver does not answer within the kernel's two seconds.
 */
const NOBODY_BY_VSOCK: ReadonlySet<number> = new Set([ECONNRESET, ENODEV, ETIMEDOUT]);

/** The default limit of an attempt to connect, in milliseconds. */
export const CONNECT_TIMEOUT_MS = 10_000;

/**
 * Milliseconds between two attempts while a unix socket's backlog is full: the kernel queues no one until the server
 * accepts.
 */
const BACKLOG_RETRY_MS = 5;
/**
 * Milliseconds between two attempts while nobody listens: a starting server appears within milliseconds, or not for a
 * while.
 */
const READY_RETRY_MS = 30;

/** Opens a connection. Rejects with `Unavailable`, or with `Canceled` if the signal aborts. */
export async function openConnection(address: ParsedAddress, options: OpenOptions): Promise<OpenConnection> {
  try {
    return await attempts(address, options);
  } catch (error) {
    // It was made where an event was read. Here the stack has whoever awaits the connection.
    if (error instanceof TtrpcError) Error.captureStackTrace(error, openConnection);
    throw error;
  }
}

async function attempts(address: ParsedAddress, options: OpenOptions): Promise<OpenConnection> {
  const { driver, timeoutMs, signal, waitForReady, isBackground = false, busyPollUs } = options;
  const bridge = bridgeOf(driver);
  const until = currentMs() + timeoutMs;
  for (;;) {
    // What was given open is the package's, so it is closed by the attempt.
    if (signal?.aborted && address.binding !== undefined) throw canceledError(signal, attemptTo(address));
    let failure: TtrpcError;
    let retryMs: number | undefined;
    try {
      const begun = open(bridge, address);
      if (begun.id !== 0) {
        if (isBackground) bridge.hold(begun.id, Hold.Never);
        const timer = { ms: Math.max(until - currentMs(), 1), holds: !isBackground };
        const connection = await established(bridge, begun.id, address, timer, signal);
        setBusyPoll(bridge, connection.id, busyPollUs);
        return connection;
      }
      failure = openError(address, begun);
      if (begun.errno === EAGAIN) retryMs = BACKLOG_RETRY_MS;
    } catch (error) {
      failure = TtrpcError.from(error);
    }
    const errno = -((failure.cause as { errno?: number } | undefined)?.errno ?? 0);
    const nobody = address.binding?.kind === "vsock" ? NOBODY_BY_VSOCK : NOBODY;
    if (waitForReady && nobody.has(errno)) retryMs = READY_RETRY_MS;
    if (retryMs === undefined) throw failure;
    if (currentMs() + retryMs >= until) {
      throw waitForReady ? failure : openError(address, { errno: ETIMEDOUT, text: null });
    }
    await pause(retryMs, signal, !isBackground);
  }
}

function open(bridge: Bridge, { binding, fd, duplex }: ParsedAddress): BindingOpened {
  if (binding !== undefined) return bridge.connect(binding);
  if (fd !== undefined) return bridge.adopt(fd);
  const { errno, text, ...pair } = bridge.pair();
  if (errno !== 0 || duplex === undefined) return { id: 0, bound: null, errno, text };
  void join(duplex, pair);
  return bridge.adopt(pair.ours);
}

function established(
  bridge: Bridge,
  id: number,
  address: ParsedAddress,
  timeout: { readonly ms: number; readonly holds: boolean },
  signal?: AbortSignal,
): Promise<OpenConnection> {
  return new Promise((resolve, reject) => {
    let error: TtrpcError | undefined;
    const giveUp = (reason: TtrpcError) => {
      if (error !== undefined) return;
      error = reason;
      bridge.close(id);
    };
    const onAbort = { aborted: (by: AbortSignal) => giveUp(canceledError(by, attemptTo(address))) };
    let isSettled = false;
    const late = () => {
      if (!isSettled) giveUp(openError(address, { errno: ETIMEDOUT, text: null }));
    };
    // Node runs timers before it looks at sockets. If it was busy, the connection may have opened in time.
    const timer = setTimeout(() => setImmediate(late), Math.min(timeout.ms, LONGEST_TIMER_MS));
    if (!timeout.holds) timer.unref();
    const settle = () => {
      isSettled = true;
      clearTimeout(timer);
      unlistenToAbort(signal, onAbort);
    };
    if (signal?.aborted) onAbort.aborted(signal);
    else listenToAbort(signal, onAbort);
    bridge.observeConnection(id, {
      connected() {
        // This event was already on its way when the attempt was given up. Its end follows.
        if (error !== undefined) return;
        settle();
        resolve(opened(bridge, id, address));
      },
      closed(why) {
        settle();
        const cause = why.error?.cause as { errno?: number; message?: string } | undefined;
        // The cause says more than the error's code does.
        const text = cause?.message ?? why.error?.message ?? null;
        reject(error ?? openError(address, { errno: -(cause?.errno ?? 0), text }));
      },
    });
  });
}

function opened(bridge: Bridge, id: number, { duplex }: ParsedAddress): OpenConnection {
  let ended: ConnectionClosed | undefined;
  let listener: ((why: ConnectionClosed) => void) | undefined;
  bridge.observeConnection(id, {
    failure: () => duplexFailure(duplex),
    closed(why) {
      const error = why.reason === "local" ? undefined : duplexFailure(duplex);
      ended = error === undefined ? why : { reason: "error", error };
      listener?.(ended);
    },
  });
  return {
    bridge,
    id,
    onClosed(given) {
      listener = given;
      if (ended !== undefined) given(ended);
    },
  };
}

/** The error of an address that cannot be opened. */
export function openError(
  { text: address, fd, binding }: ParsedAddress,
  { errno, text }: Pick<BindingOpened, "errno" | "text">,
  what = "cannot connect to",
): TtrpcError {
  if (fd !== undefined && errno === EEXIST) {
    const { cause } = transportError(what, errno);
    const why = "Node or this package uses the descriptor already, and still does";
    return new TtrpcError(`${what} ${address}: ${why}`, Code.FailedPrecondition, { cause });
  }
  const failure = transportError(`${what} ${address}`, errno, text ?? "");
  if (binding?.kind !== "hvsock" || errno !== ECONNREFUSED || text === null) return failure;
  // It is the hypervisor that refused, and it may have said why.
  const why = text.replace(/^connect: /, "");
  return new TtrpcError(`${what} ${address}: ECONNREFUSED, ${why}`, failure.code, { cause: failure.cause });
}

function attemptTo({ text }: ParsedAddress): string {
  return `the attempt to connect to ${text}`;
}
