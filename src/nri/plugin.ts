import { create } from "@bufbuild/protobuf";
import { currentMs } from "../clock.js";
import { listenToAbort, unlistenToAbort } from "../abort.js";
import { Code } from "../code.js";
import { TtrpcError } from "../error.js";
import { loadNative } from "../native/addon.js";
import { checkedMs, checkOptions } from "../options.js";
import { fulfilledWithin, pause } from "../pause.js";
import {
  type ContainerUpdate,
  type UpdateContainersRequest,
  UpdateContainersRequestSchema,
} from "../protos/generated/nri/pkg/api/v1alpha1/nri_pb.js";
import type { RuntimeInfo } from "./context.js";
import type { Evictions, PluginHandlers, Updates } from "./handlers.js";
import { currentHandler } from "./inside.js";
import { type Launch, launchOf } from "./launch.js";
import { type PluginOptions, type PluginSettings, settingsOf } from "./options.js";
import { releaseProcess, takeProcess } from "./process.js";
import { evictionOf, updateOf } from "./resources.js";
import { PluginSession } from "./session.js";
import { divided } from "./synchronization.js";
import { checkedList } from "./values.js";

/** Why a plugin ended. */
export interface PluginClosed {
  /**
   * `"local"`: this side closed it. `"remote"`: the runtime closed the connection. `"error"`: the socket failed, nobody
   * listened, or the plugin could not be registered or synchronized. `"configure"`: its handler `configure` threw.
   */
  readonly reason: "local" | "remote" | "error" | "configure";
  /** What failed; undefined if either side closed the connection normally. */
  readonly error?: TtrpcError | undefined;
}

/** How {@link RunningPlugin.updateContainers} and {@link RunningPlugin.evict} call the runtime. */
export interface UpdateOptions {
  /** Milliseconds until the call fails with `DeadlineExceeded`, including its wait for earlier calls. Default 30 000. */
  readonly timeoutMs?: number | undefined;
}

/** Calls of {@link RunningPlugin.updateContainers} and {@link RunningPlugin.evict} that may wait for their turn. */
const WAITING_LIMIT = 1000;
/** A connection that lasted as long begins with the shortest delay again. */
const STABLE_MS = 10_000;

/** A plugin that runs, made by {@link runPlugin}. It keeps the process alive until it has ended. */
export class RunningPlugin implements AsyncDisposable {
  /** The plugin's name. */
  readonly name: string;
  /** The plugin's index: two digits. Runtimes call plugins in the order of their indexes. */
  readonly index: string;
  /**
   * Resolves when the plugin is registered and configured for the first time; rejects with a {@link TtrpcError} if it
   * ends before that.
   */
  readonly ready: Promise<void>;
  /** Resolves once, when the plugin has ended for good; never rejects. */
  readonly closed: Promise<PluginClosed>;
  readonly #launch: Launch;
  readonly #handlers: PluginHandlers;
  readonly #settings: PluginSettings;
  readonly #ending = new AbortController();
  #session: PluginSession | undefined;
  #resolveReady!: () => void;
  #rejectReady!: (error: TtrpcError) => void;
  #waiting = 0;
  #turn: Promise<unknown> = Promise.resolve();

  /** @internal */
  constructor(launch: Launch, handlers: PluginHandlers, settings: PluginSettings) {
    // Without the addon, no attempt to connect could succeed.
    loadNative();
    this.name = launch.name;
    this.index = launch.index;
    this.#launch = launch;
    this.#handlers = handlers;
    this.#settings = settings;
    this.ready = new Promise((resolve, reject) => {
      this.#resolveReady = resolve;
      this.#rejectReady = reject;
    });
    // A caller that does not await it learns of a failure from `closed` and from the log.
    this.ready.catch(() => undefined);
    const end = () => void this.close();
    const { signal } = settings;
    const onAbort = { aborted: end };
    listenToAbort(signal, onAbort);
    if (settings.ownsProcess) takeProcess(this);
    this.closed = this.#run().then((why) => {
      unlistenToAbort(signal, onAbort);
      const error = why.error ?? new TtrpcError(`the plugin ${this} has ended`, Code.Unavailable);
      this.#rejectReady(error);
      const isLost = why.reason !== "local";
      if (isLost) settings.log.error(`${this} has ended: ${reasonOf(why)}`);
      if (settings.ownsProcess) releaseProcess(this, isLost);
      return why;
    });
    if (signal?.aborted) end();
  }

  /** The runtime that it is connected to; undefined while there is none. */
  get runtime(): RuntimeInfo | undefined {
    return this.#session?.runtime;
  }

  /**
   * Changes containers that exist. Call it at any time but inside a handler: the runtime does nothing else until a
   * handler has answered, so return the updates from the handler instead. At this call, containerd before 2.4 and CRI-O
   * can hang for good; the log warns of it. Many updates are sent in parts. Resolves to the updates that the runtime
   * could not make. containerd does not say which these are: the call rejects with `Unknown` once containerd has tried
   * all updates.
   *
   * ```ts
   * await plugin.updateContainers([{ containerId, resources: { cpu: { cpus: "0-3" } } }]);
   * ```
   *
   * Rejects with a TypeError if an argument is wrong, and with a {@link TtrpcError}: `FailedPrecondition` inside a
   * handler, `Unavailable` without a runtime, `ResourceExhausted` if 1 000 calls are waiting already.
   */
  async updateContainers(updates: Updates, options: UpdateOptions = {}): Promise<ContainerUpdate[]> {
    const until = deadlineOf("updateContainers", options);
    const list = checkedList(updates, "updates") as Updates;
    const messages = list.map((update, index) => updateOf(update, `updates[${index}]`));
    const failed: ContainerUpdate[] = [];
    let refusal: TtrpcError | undefined;
    for (const update of divided(messages)) {
      const request = create(UpdateContainersRequestSchema, { update });
      try {
        failed.push(...(await this.#update("updateContainers", request, until)));
      } catch (error) {
        // This runtime has made the other updates of the part, and would make those of the next ones in one request.
        refusal ??= TtrpcError.from(error);
        if (TtrpcError.from(error).code !== Code.Unknown) break;
      }
    }
    if (refusal !== undefined) throw refusal;
    return failed;
  }

  /**
   * Asks the runtime to evict containers, which runtimes, as of NRI 0.12.5, ignore. Rejects as {@link updateContainers} does.
   */
  async evict(evictions: Evictions, options: UpdateOptions = {}): Promise<void> {
    const until = deadlineOf("evict", options);
    const list = checkedList(evictions, "evictions") as Evictions;
    const evict = list.map((eviction, index) => evictionOf(eviction, `evictions[${index}]`));
    await this.#update("evict", create(UpdateContainersRequestSchema, { evict }), until);
  }

  /** One call after the other: the mux of a runtime in Go closes when 256 frames wait. */
  async #update(what: string, request: UpdateContainersRequest, until: number): Promise<ContainerUpdate[]> {
    const handler = currentHandler();
    if (handler !== undefined) {
      const text = `${what} would wait for ${handler}, which calls it: return the updates from ${handler}`;
      throw new TtrpcError(text, Code.FailedPrecondition);
    }
    if (this.#waiting >= WAITING_LIMIT)
      throw new TtrpcError(`${WAITING_LIMIT} calls of ${what} wait already`, Code.ResourceExhausted);
    this.#waiting++;
    const previous = this.#turn;
    const call = (async () => {
      if (!(await fulfilledWithin(previous, until - currentMs()))) {
        const text = `the deadline of ${what} passed before the calls that came first had ended`;
        throw new TtrpcError(text, Code.DeadlineExceeded);
      }
      const session = this.#session;
      if (session === undefined) throw new TtrpcError(`${this} is not connected`, Code.Unavailable);
      const timeoutMs = until === Number.POSITIVE_INFINITY ? 0 : Math.max(until - currentMs(), 1);
      return session.update(request, timeoutMs);
    })();
    // A call that did not wait any longer does not let the next ones pass those before it.
    this.#turn = Promise.allSettled([previous, call]).then(() => undefined);
    try {
      return await call;
    } finally {
      this.#waiting--;
    }
  }

  /**
   * Disconnects at once, without waiting for handlers, and does not connect again. The runtime continues without the
   * plugin. Resolves when the connection is closed.
   */
  async close(): Promise<void> {
    this.#ending.abort();
    await this.#session?.close();
    await this.closed;
  }

  /** Closes the plugin, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** The plugin's index and name, as in `10-logger`. */
  toString(): string {
    return `${this.index}-${this.name}`;
  }

  async #run(): Promise<PluginClosed> {
    // The caller gets the plugin before anything happens.
    await Promise.resolve();
    const { reconnect, log } = this.#settings;
    const canReconnect = reconnect !== undefined && typeof this.#launch.socket === "string";
    const { signal } = this.#ending;
    let delayMs = reconnect?.initialDelayMs ?? 0;
    let lastSeen = currentMs();
    for (;;) {
      if (signal.aborted) return { reason: "local" };
      const began = currentMs();
      const { why, isConfigured } = await this.#connect();
      if (signal.aborted) return { reason: "local" };
      if (why.reason === "configure" || !canReconnect) return why;
      const now = currentMs();
      if (isConfigured) {
        lastSeen = now;
        if (now - began >= STABLE_MS) delayMs = reconnect.initialDelayMs;
      }
      if (now + delayMs - lastSeen > reconnect.giveUpMs) return why;
      log.warn(`${this} is not connected: ${reasonOf(why)}; connecting again in ${delayMs} ms`);
      await pause(delayMs, signal);
      delayMs = Math.min(delayMs * 2, reconnect.maxDelayMs);
    }
  }

  async #connect(): Promise<{ why: PluginClosed; isConfigured: boolean }> {
    let isConfigured = false;
    const session = new PluginSession(
      this,
      this.#launch,
      this.#handlers,
      this.#settings,
      this.#ending.signal,
    );
    try {
      await session.register();
      isConfigured = true;
      this.#session = session;
      this.#settings.log.info(
        `${this} is registered with ${session.runtime?.name} ${session.runtime?.version}`,
      );
      this.#resolveReady();
      if (this.#ending.signal.aborted) await session.close();
      return { why: await session.closed, isConfigured };
    } catch (error) {
      return {
        why: { reason: session.refused ? "configure" : "error", error: TtrpcError.from(error) },
        isConfigured,
      };
    } finally {
      this.#session = undefined;
      await session.close();
    }
  }
}

/** When a call that is made now has failed, by `currentMs()`. Throws a TypeError if an option is wrong. */
function deadlineOf(what: string, options: UpdateOptions): number {
  checkOptions(what, options, ["timeoutMs"]);
  const { timeoutMs = 30_000 } = options;
  checkedMs(timeoutMs, "timeoutMs", 0);
  return timeoutMs === 0 ? Number.POSITIVE_INFINITY : currentMs() + timeoutMs;
}

function reasonOf({ reason, error }: PluginClosed): string {
  return error?.message ?? (reason === "remote" ? "the runtime closed the connection" : reason);
}

/**
 * Runs an NRI plugin: connects to the runtime, registers, subscribes to the events that have handlers, and connects again
 * when the runtime restarts. Works as an external plugin, and as one that the runtime launches from its plugin folder;
 * then the runtime gives it its name, index and socket.
 *
 * ```ts
 * runPlugin("logger", "10", {
 *   runPodSandbox: ({ pod }) => console.log(`${pod.namespace}/${pod.name}`),
 *   createContainer: () => new Adjustment().env("SEEN_BY", "logger"),
 * });
 * ```
 *
 * Throws a TypeError if an argument is wrong, and a {@link TtrpcError} of code `FailedPrecondition` if the descriptor that
 * the runtime passed is not a socket, or if another plugin has it.
 *
 * @param name - Letters, digits and `-_.+`.
 * @param index - Two digits. Runtimes call plugins in the order of their indexes.
 */
export function runPlugin(
  name: string,
  index: string,
  handlers: PluginHandlers,
  options: PluginOptions = {},
): RunningPlugin {
  const settings = settingsOf(handlers, options);
  return new RunningPlugin(launchOf(name, index, settings.socket), handlers, settings);
}
