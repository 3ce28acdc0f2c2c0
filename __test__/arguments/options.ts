import {
  createContextValues,
  type CallOptions,
  type ClientOptions,
  type CloseOptions,
  type ConnectOptions,
  type ListenOptions,
  type ReconnectOptions,
  type ServerOptions,
  type SyncCallOptions,
  type TtrpcErrorOptions,
} from "containerd-shim-protos";
import type { EventSinkOptions, PublisherOptions, PublishOptions } from "containerd-shim-protos/events";
import type { StdioOptions } from "containerd-shim-protos/shim/io";
import type { OtelOptions } from "containerd-shim-protos/otel";
import type { UnmountOptions } from "containerd-shim-protos/shim/mount";
import { registry } from "containerd-shim-protos/registry";

/** An argument of a function, or an option of it. */
export interface Argument {
  /** A right value, or a function that makes a new one for each use. */
  readonly right: unknown;
  /** How an error names it. */
  readonly named: RegExp;
  /** Which of the wrong values this argument accepts. */
  readonly takes: (value: unknown) => boolean;
}

const never = () => false;
export const left = (value: unknown) => value === undefined;
export const isEmpty = (value: unknown) => isObject(value) && Reflect.ownKeys(value).length === 0;

function isController(value: unknown): boolean {
  try {
    return value instanceof AbortController;
  } catch {
    return false;
  }
}

export function isNoItems(value: unknown): boolean {
  try {
    return Array.isArray(value) && value.length === 0;
  } catch {
    return false;
  }
}

function isObject(value: unknown): value is object {
  try {
    return Object.prototype.toString.call(value) === "[object Object]";
  } catch {
    return false;
  }
}

export const argument = (
  right: unknown,
  named: RegExp,
  takes: (value: unknown) => boolean = never,
): Argument => ({
  right,
  named,
  takes,
});

/** Options. Their names are checked. */
export const optionsOf = (owner: string, right: unknown = undefined): Argument =>
  argument(
    right,
    new RegExp(`the options of ${owner} must be an object|is not an option of ${owner}`),
    // An AbortController has a signal, as the options of a call do.
    (value) => left(value) || isEmpty(value) || (owner === "a call" && isController(value)),
  );

export const ms = (named: RegExp, least: number): Argument =>
  argument(5, named, (value) => left(value) || (typeof value === "number" && value >= least));
export const flag = (named: RegExp): Argument =>
  argument(false, named, (value) => left(value) || typeof value === "boolean");
export const limit = (named: RegExp): Argument =>
  argument(5, named, (value) => left(value) || (Number.isInteger(value) && (value as number) >= 1));
export const driver = argument("loop", /driver/, left);
export const signal = argument(() => new AbortController().signal, /signal/, left);
const interceptors = argument([], /interceptors/, (value) => left(value) || isNoItems(value));
export const text = (named: RegExp): Argument =>
  argument("text", named, (value) => typeof value === "string" && value !== "");
const EMPTY = new Uint8Array();
export const payload = argument(EMPTY, /payload/);
async function* nothing(): AsyncGenerator<never> {}
export const requests = argument(nothing, /requests/, (value) => {
  return isIterable(value);
});

function isIterable(value: unknown): boolean {
  try {
    return typeof value === "object" && value !== null && Symbol.iterator in value;
  } catch {
    return false;
  }
}

const isMessage = isEmpty;
export const message = (named: RegExp): Argument => argument({}, named, isMessage);
export const address = (named: RegExp): Argument =>
  argument(({ free }: { free: () => string }) => free(), named);

/** An argument for each option of a type. */
export type Options<Type> = Readonly<Record<keyof Required<Type>, Argument>>;

export const callOptions: Options<CallOptions> = {
  timeoutMs: ms(/timeoutMs/, 0),
  metadata: argument({}, /metadata/, (value) => left(value) || isEmpty(value)),
  signal,
  contextValues: argument(() => createContextValues(), /contextValues/, left),
  parent: argument(undefined, /parent/, left),
};
export const syncCallOptions: Options<SyncCallOptions> = {
  timeoutMs: callOptions.timeoutMs,
  metadata: callOptions.metadata,
};
export const connectOptions: Options<ConnectOptions> = {
  connectTimeoutMs: ms(/connectTimeoutMs/, 1),
  busyPollMs: argument(0.05, /busyPollMs/, (v) => left(v) || (typeof v === "number" && v >= 0 && v <= 10)),
  signal,
  waitForReady: flag(/waitForReady/),
  reconnect: argument(
    true,
    /reconnect/,
    (value) => left(value) || typeof value === "boolean" || isEmpty(value),
  ),
  driver,
};
export const reconnectOptions: Options<ReconnectOptions> = {
  initialDelayMs: ms(/reconnect\.initialDelayMs/, 1),
  maxDelayMs: ms(/reconnect\.maxDelayMs/, 1),
  maxAttempts: ms(/reconnect\.maxAttempts/, 0),
  maxWaitingCalls: ms(/reconnect\.maxWaitingCalls/, 0),
};
export const serverOptions: Options<ServerOptions> = {
  busyPollMs: connectOptions.busyPollMs,
  maxConnections: limit(/maxConnections/),
  maxConcurrentCalls: limit(/maxConcurrentCalls/),
  maxQueuedBytes: limit(/maxQueuedBytes/),
  requireSameUser: flag(/requireSameUser/),
  interceptors,
  driver,
};
export const listenOptions: Options<ListenOptions> = {
  mode: argument(0o600, /mode/, (value) => left(value) || Number.isInteger(value)),
  reclaimStale: flag(/reclaimStale/),
};
export const closeOptions: Options<CloseOptions> = { graceMs: ms(/graceMs/, 0) };
export const errorOptions: Options<TtrpcErrorOptions> = {
  details: argument([], /details/, (value) => left(value) || isNoItems(value)),
  cause: argument(undefined, /cause/, () => true),
};
export const texts = (named: RegExp): Argument =>
  argument([], named, (value) => left(value) || isNoItems(value));
export const sinkOptions: Options<EventSinkOptions> = {
  ...listenOptions,
  topics: texts(/topics/),
  namespaces: texts(/namespaces/),
  registry: argument(registry, /registry/, left),
  acknowledge: argument("done", /acknowledge/, left),
  maxQueuedEvents: limit(/maxQueuedEvents/),
  maxQueuedBytes: limit(/maxQueuedBytes/),
  whenFull: argument("fail", /whenFull/, left),
  requireSameUser: flag(/requireSameUser/),
  driver,
};
const namespace = (value: unknown) => typeof value === "string" && value !== "";
export const publisherOptions: Options<PublisherOptions> = {
  namespace: argument("default", /namespace/, namespace),
  timeoutMs: limit(/timeoutMs/),
  retryForMs: limit(/retryForMs/),
  maxQueuedEvents: limit(/maxQueuedEvents/),
  maxQueuedBytes: limit(/maxQueuedBytes/),
  maxInFlight: limit(/maxInFlight/),
  driver,
};
export const publishOptions: Options<PublishOptions> = {
  timestamp: argument({}, /timestamp/, (value) => left(value) || isMessage(value)),
  namespace: argument("other", /namespace/, (value) => left(value) || namespace(value)),
};
export const unmountOptions: Options<UnmountOptions> = {
  busyTimeoutMs: ms(/busyTimeoutMs/, 0),
  detach: flag(/detach/),
};
export const otelOptions: Options<OtelOptions> = {
  tracerProvider: argument(undefined, /tracerProvider/, left),
  meterProvider: argument(undefined, /meterProvider/, left),
  propagator: argument(undefined, /propagator/, left),
};
const id = (named: RegExp): Argument =>
  argument(0, named, (value) => left(value) || (Number.isInteger(value) && (value as number) >= 0));
const name = (named: RegExp): Argument =>
  argument("text", named, (value) => left(value) || (typeof value === "string" && !value.includes("\0")));
export const stdioOptions: Options<StdioOptions> = {
  uid: id(/uid/),
  gid: id(/gid/),
  id: name(/id/),
  namespace: name(/namespace/),
};
export const clientOptions: Options<ClientOptions> = { interceptors };
