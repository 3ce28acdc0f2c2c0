import { clearTimeout, setTimeout } from "node:timers";
import { currentMs } from "../clock.js";
import { textOf } from "../error.js";
import { LONGEST_TIMER_MS } from "../options.js";
import { placeOf } from "../place.js";
import type { Container, PodSandbox } from "../protos/generated/nri/pkg/api/v1alpha1/nri_pb.js";
import type { HandlerContext } from "../server/context.js";
import { shortened } from "../value-kinds.js";
import { contextOf, type PluginContext, type RuntimeInfo } from "./context.js";
import type { PluginHandlers } from "./handlers.js";
import { insideHandler } from "./inside.js";
import type { PluginSettings } from "./options.js";
import type { RunningPlugin } from "./plugin.js";

/** Go's defaults, for runtimes that do not send theirs. */
export const TIMEOUTS = { registrationTimeoutMs: 5000, requestTimeoutMs: 2000 };
/** A warning is logged when a handler has taken this share of the runtime's timeout. */
const WARN_AT = 0.8;

/** What an event is about, if it is about either. */
export interface Subject {
  readonly pod?: PodSandbox | undefined;
  readonly container?: Container | undefined;
}

/** A plugin, and what it does. */
export interface Handling {
  readonly plugin: RunningPlugin;
  readonly handlers: PluginHandlers;
  readonly settings: PluginSettings;
}

/** Runs the handlers of a plugin for one connection. */
export class HandlerCalls {
  /** The runtime at the other end, which says who it is when it configures the plugin. */
  runtime: RuntimeInfo = { name: "", version: "", nriVersion: "", ...TIMEOUTS };
  readonly #handling: Handling;

  constructor(handling: Handling) {
    this.#handling = handling;
  }

  /**
   * Runs a handler and checks what it returned. Both failures are logged, and answer the call. The service sends `read`'s
   * result only, so no value of a handler goes unchecked.
   */
  async run<Name extends keyof PluginHandlers, T, Reply = void>(
    name: Name,
    call: HandlerContext,
    subject: Subject,
    use: (handler: NonNullable<PluginHandlers[Name]>, context: PluginContext) => T,
    read?: (returned: Awaited<T>) => Reply,
  ): Promise<Reply | undefined> {
    const { plugin, handlers, settings } = this.#handling;
    const { runtime } = this;
    const handler = handlers[name];
    if (handler === undefined) return undefined;
    const { log } = settings;
    const about = `${plugin}: ${name}${subjectOf(subject)}`;
    const timeoutMs = Math.ceil(call.timeoutMs ?? runtime.requestTimeoutMs);
    const began = currentMs();
    const near = (how: string) =>
      log.warn(`${about} ${how} the ${timeoutMs} ms after which the runtime disconnects`);
    const warnAt = timeoutMs * WARN_AT;
    // A longer timer would fire at once.
    const timer =
      warnAt > LONGEST_TIMER_MS
        ? undefined
        : setTimeout(() => near(`still runs, ${Math.round(warnAt)} ms of`), warnAt);
    let failure: string | undefined;
    try {
      const context = contextOf(plugin, runtime, log, call);
      let returned: Awaited<T>;
      try {
        returned = await insideHandler(name, () =>
          use(handler.bind(handlers) as NonNullable<PluginHandlers[Name]>, context),
        );
      } catch (error) {
        failure = `${about} failed: ${textOf(error)}${placeOf(error)}`;
        throw error;
      }
      try {
        return read?.(returned);
      } catch (cause) {
        failure = `${about} returned a wrong value: ${textOf(cause)}`;
        // The runtime gets the whole text: nobody else says whose value it was.
        throw new TypeError(failure, { cause });
      }
    } finally {
      clearTimeout(timer);
      const tookMs = currentMs() - began;
      if (failure !== undefined) log.error(failure);
      else if (tookMs >= warnAt) near(`took ${Math.round(tookMs)} ms of`);
    }
  }
}

/** ` of default/web/nginx (ID)`: what an event is about, for a log. Empty if it is about neither pod nor container. */
function subjectOf({ pod, container }: Subject): string {
  const { name, id } = container ?? pod ?? {};
  if (name === undefined && id === undefined) return "";
  const names = [pod?.namespace, pod?.name, container?.name].map((part) => shortened(part ?? ""));
  return ` of ${names.filter(Boolean).join("/")} (${shortened(String(id))})`;
}
