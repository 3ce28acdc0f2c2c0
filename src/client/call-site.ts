import { AsyncResource } from "node:async_hooks";
import { Code } from "../code.js";
import type { ConnectionClosed } from "../connection-types.js";
import { addFrames, callError, lacksFrames, nameCall, transportCause, type TtrpcError } from "../error.js";
import type { Bridge } from "../native/bridge.js";

/** Where calls are made: a connection, as the errors of its calls name it. */
export interface CallSite {
  readonly bridge: Bridge;
  readonly address: string;
}

/**
 * Names the call in an error that this package made for it. With `below`, which is what the caller called, the stack is
 * that of the caller now; otherwise {@link rejectLater} or {@link addFrames} adds it. Returns the error.
 */
export function named(
  error: unknown,
  { bridge, address }: CallSite,
  route: number,
  below?: (...parts: never) => unknown,
): unknown {
  nameCall(error, bridge.nameOf(route), address);
  if (below !== undefined) addFrames(error, below);
  return error;
}

/**
 * The async context of the caller, for its code that runs when a call ends: whoever ends the call, such as the owner of
 * a signal, has another context. It is an AsyncResource, because AsyncLocalStorage.snapshot() takes 25 µs on Node 20.
 */
export function callerContext(): AsyncResource {
  return new AsyncResource("ttrpc.Call");
}

/** The most errors that wait for their stacks at once; a connection may end with a hundred thousand calls. */
const MOST_WAITING = 100;

let waiting = 0;

/**
 * Rejects a promise with an error whose stack has the async functions that await the promise, so it ends in the line
 * that made the call. Nothing is captured at the call: a call that succeeds costs no more.
 *
 * V8 finds the awaiting functions only if the stack is captured in a microtask whose promise they await. So the promise
 * is resolved with that of an async function, which captures the stack.
 */
export function rejectLater(
  resolve: (error: Promise<never>) => void,
  reject: (error: unknown) => void,
  error: unknown,
): void {
  if (!lacksFrames(error) || waiting === MOST_WAITING) reject(error);
  else resolve(framed(error));
}

async function framed(error: unknown): Promise<never> {
  waiting++;
  await undefined;
  // The promise that was resolved with this one follows it from now on.
  await undefined;
  waiting--;
  addFrames(error, framed);
  throw error;
}

/** The error of a call on a connection that has ended. */
export function closedError(address: string, { reason, error }: ConnectionClosed): TtrpcError {
  const by = error?.message ?? (reason === "local" ? "by this side" : "by the peer");
  const [text, closed] = transportCause(`the connection to ${address} is closed`, 0, by);
  return callError(text, Code.Unavailable, { cause: error?.cause ?? closed });
}
