import { checkSignal } from "../abort.js";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { type Address, parseAddress } from "../address.js";
import type { Driver } from "../connection-types.js";
import { escaped } from "../escaped.js";
import { checkDriver } from "../native/driver.js";
import { checkedBoolean, checkedMs, checkLimits, checkOptions, withDefaults } from "../options.js";
import { type FailurePolicy, FailurePolicySchema } from "../protos/generated/nri/pkg/api/v1alpha1/nri_pb.js";
import { isArray, isPlain, isRevoked, kindOf, shown } from "../value-kinds.js";
import { checkedEvents, EVENT_NAMES, type EventName } from "./events.js";
import type { PluginHandlers } from "./handlers.js";
import { checkedMessage } from "./values.js";

/** Where a plugin logs. `console` is one. */
export interface PluginLog {
  /** Logs normal operation. */
  info(message: string): void;
  /** Logs a problem that was handled. */
  warn(message: string): void;
  /** Logs a failure. */
  error(message: string): void;
}

/** How a plugin that has lost its runtime connects again. */
export interface PluginReconnectOptions {
  /** Milliseconds before the first attempt; the delay doubles with each failed attempt. Default 100. */
  readonly initialDelayMs?: number | undefined;
  /** The longest delay, in milliseconds. Default 5 000. */
  readonly maxDelayMs?: number | undefined;
  /** Milliseconds without a runtime after which the plugin ends. Default 60 000; with `Infinity` it never does. */
  readonly giveUpMs?: number | undefined;
}

/** Options of `runPlugin`. */
export interface PluginOptions {
  /**
   * The runtime's socket. Default `unix:///var/run/nri/nri.sock`, or the descriptor in `NRI_PLUGIN_SOCKET` if the runtime
   * launched the plugin. A descriptor or a Duplex can be connected only once.
   */
  readonly socket?: Address | undefined;
  /** The events to subscribe to, a subset of those that have handlers. Default all of those. */
  readonly events?: readonly EventName[] | undefined;
  /**
   * Whether and how to connect again. Default true for a socket with an address. A plugin that the runtime launched does
   * not connect again, because the runtime launches it anew.
   */
  readonly reconnect?: boolean | PluginReconnectOptions | undefined;
  /**
   * What the runtime does when the plugin does not answer. Runtimes with NRI before 0.12.4 ignore this, and the log says
   * so.
   */
  readonly failurePolicy?: MessageInitShape<typeof FailurePolicySchema> | undefined;
  /** Milliseconds for connecting, and for registration. Default 5 000. */
  readonly registrationTimeoutMs?: number | undefined;
  /** Where to log. By default to stderr, a line for each message. */
  readonly log?: PluginLog | undefined;
  /**
   * Whether the process is there only for the plugin. If so, SIGINT and SIGTERM end the plugin and the process at once,
   * and when the connection is lost for good, the process exits with code 1, within 5 seconds whatever else it is doing.
   * Default true.
   */
  readonly ownsProcess?: boolean | undefined;
  /** Ends the plugin when it aborts. */
  readonly signal?: AbortSignal | undefined;
  /** What runs the connections' runtime; see {@link Driver}. */
  readonly driver?: Driver | undefined;
}

/** Checked options and handlers. */
export interface PluginSettings {
  readonly socket: Address | undefined;
  readonly events: readonly EventName[];
  readonly reconnect: Required<PluginReconnectOptions> | undefined;
  readonly failurePolicy: FailurePolicy | undefined;
  readonly registrationTimeoutMs: number;
  readonly log: PluginLog;
  readonly ownsProcess: boolean;
  readonly signal: AbortSignal | undefined;
  readonly driver: Driver | undefined;
}

/** The names of {@link PluginOptions}. */
export const PLUGIN_OPTIONS = [
  "socket",
  "events",
  "reconnect",
  "failurePolicy",
  "registrationTimeoutMs",
  "log",
  "ownsProcess",
  "signal",
  "driver",
] as const satisfies readonly (keyof PluginOptions)[];
const HANDLERS = [...EVENT_NAMES, "configure", "synchronize", "shutdown"];
const RECONNECT = { initialDelayMs: 100, maxDelayMs: 5000, giveUpMs: 60_000 };

/** Checks what `runPlugin` got. Throws a TypeError that names what is wrong. */
export function settingsOf(handlers: PluginHandlers, options: PluginOptions): PluginSettings {
  checkOptions("runPlugin", options, PLUGIN_OPTIONS);
  const handled = handledEvents(handlers);
  const { socket, events, reconnect = true, failurePolicy, ownsProcess = true, signal } = options;
  const { registrationTimeoutMs = 5000, log = STDERR, driver } = options;
  if (socket !== undefined) parseAddress(socket, "socket");
  checkLimits({ registrationTimeoutMs });
  checkedBoolean(ownsProcess, "ownsProcess");
  checkSignal(signal);
  for (const level of ["info", "warn", "error"] as const) {
    if (isRevoked(log) || typeof log?.[level] !== "function")
      throw new TypeError(`log must have a function ${level}`);
  }
  return {
    socket,
    events: events === undefined ? handled : checkedEvents(events, handled, "events"),
    reconnect: reconnectOf(reconnect),
    failurePolicy:
      failurePolicy === undefined
        ? undefined
        : checkedMessage(FailurePolicySchema, failurePolicy, "failurePolicy"),
    registrationTimeoutMs,
    log,
    ownsProcess,
    signal,
    driver: driver === undefined ? undefined : checkDriver(driver),
  };
}

function handledEvents(handlers: PluginHandlers): EventName[] {
  // An instance of a class has its handlers on the prototype.
  if (typeof handlers !== "object" || handlers === null || isRevoked(handlers) || isArray(handlers))
    throw new TypeError(`the handlers must be an object, not ${kindOf(handlers)}`);
  if (isPlain(handlers) && Object.getPrototypeOf(handlers) === Object.prototype) {
    const unknown = Object.keys(handlers).find((name) => !HANDLERS.includes(name));
    if (unknown !== undefined)
      throw new TypeError(`${shown(unknown)} is not a handler; the handlers are ${HANDLERS.join(", ")}`);
  }
  for (const name of HANDLERS as (keyof PluginHandlers)[]) {
    const handler: unknown = handlers[name];
    if (handler !== undefined && typeof handler !== "function")
      throw new TypeError(`the handler ${name} must be a function, not ${kindOf(handler)}`);
  }
  return EVENT_NAMES.filter((name) => handlers[name] !== undefined);
}

function reconnectOf(given: boolean | PluginReconnectOptions): Required<PluginReconnectOptions> | undefined {
  if (given === false) return undefined;
  const options = given === true ? {} : given;
  checkOptions("runPlugin", options, Object.keys(RECONNECT), "reconnect.");
  const checked = withDefaults(RECONNECT, options);
  for (const [name, value] of Object.entries(checked)) checkedMs(value, `reconnect.${name}`, 1);
  return checked;
}

/** One line for each message, whatever a runtime or a pod is called; containerd's log gets what a launched plugin writes. */
const STDERR: PluginLog = {
  info: (message) => write("info", message),
  warn: (message) => write("warning", message),
  error: (message) => write("error", message),
};

function write(level: string, message: string): void {
  process.stderr.write(`${new Date().toISOString()} ${level} ${escaped(message)}\n`);
}
