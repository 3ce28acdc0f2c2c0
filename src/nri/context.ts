import type { HandlerContext } from "../server/context.js";
import type { PluginLog } from "./options.js";
import type { RunningPlugin } from "./plugin.js";

/** The runtime that a plugin is connected to. */
export interface RuntimeInfo {
  /** Its name, such as `containerd`. */
  readonly name: string;
  /** Its version. */
  readonly version: string;
  /** The version of NRI that it has; empty if it does not say. */
  readonly nriVersion: string;
  /** Milliseconds that it waits for a plugin to register. */
  readonly registrationTimeoutMs: number;
  /** Milliseconds that it waits for an answer before it disconnects the plugin. */
  readonly requestTimeoutMs: number;
}

/** What a handler gets besides the event. */
export interface PluginContext {
  /** The plugin. */
  readonly plugin: RunningPlugin;
  /** The runtime. */
  readonly runtime: RuntimeInfo;
  /** Milliseconds that the runtime waits for a plugin to register. */
  readonly registrationTimeoutMs: number;
  /** Milliseconds that the runtime waits for an answer before it disconnects the plugin. */
  readonly requestTimeoutMs: number;
  /** When the runtime stops waiting for this answer; undefined if it did not say. */
  readonly deadline: Date | undefined;
  /** Aborts when nobody waits for the answer any more: at the deadline, or when the connection has ended. */
  readonly signal: AbortSignal;
  /** The plugin's log. */
  readonly log: PluginLog;
}

/** Makes the context of one event. */
export function contextOf(
  plugin: RunningPlugin,
  runtime: RuntimeInfo,
  log: PluginLog,
  call: HandlerContext,
): PluginContext {
  return {
    plugin,
    runtime,
    registrationTimeoutMs: runtime.registrationTimeoutMs,
    requestTimeoutMs: runtime.requestTimeoutMs,
    deadline: call.deadline,
    get signal() {
      return call.signal;
    },
    log,
  };
}
