import { clearTimeout, setImmediate, setTimeout } from "node:timers";
import { once } from "node:events";
import type { Duplex } from "node:stream";
import { type Client, createClient } from "../client/client.js";
import { connect } from "../client/connect.js";
import type { Connection } from "../client/connection.js";
import { Code } from "../code.js";
import type { ConnectionClosed } from "../connection-types.js";
import { TtrpcError } from "../error.js";
import { LONGEST_TIMER_MS } from "../options.js";
import {
  type ContainerUpdate,
  Plugin,
  Runtime,
  type UpdateContainersRequest,
} from "../protos/generated/nri/pkg/api/v1alpha1/nri_pb.js";
import { createServer, type Server } from "../server/server.js";
import { NRI_VERSION } from "./constants.js";
import type { RuntimeInfo } from "./context.js";
import type { PluginHandlers, Updates } from "./handlers.js";
import type { Launch } from "./launch.js";
import { Mux, PLUGIN_CONNECTION, RUNTIME_CONNECTION } from "./mux.js";
import type { PluginSettings } from "./options.js";
import type { PluginClosed, RunningPlugin } from "./plugin.js";
import { pluginService } from "./service.js";
import { canBlock } from "./versions.js";

/** Milliseconds for the reply of a plugin that could not be configured or synchronized. */
const REFUSAL_GRACE_MS = 500;

/** One connection of a plugin to its runtime, from registration to end. */
export class PluginSession {
  /** Resolves when the connection has ended; set once it is open. */
  closed: Promise<PluginClosed> = Promise.resolve({ reason: "local" });
  /** Set when the runtime has configured the plugin. */
  runtime: RuntimeInfo | undefined;
  /** Whether the plugin's own handler refused to be configured. */
  refused = false;
  readonly #plugin: RunningPlugin;
  readonly #launch: Launch;
  readonly #handlers: PluginHandlers;
  readonly #settings: PluginSettings;
  readonly #signal: AbortSignal;
  #client!: Client<typeof Runtime>;
  #hasUpdated = false;
  #mux: Mux | undefined;
  #server: Server | undefined;
  /** The connection that the server serves. */
  #served: Duplex | undefined;
  #connection: Connection | undefined;
  /** Why the plugin is not synchronized. */
  #unsynchronized: TtrpcError | undefined;
  #ending: Promise<void> | undefined;

  constructor(
    plugin: RunningPlugin,
    launch: Launch,
    handlers: PluginHandlers,
    settings: PluginSettings,
    signal: AbortSignal,
  ) {
    this.#plugin = plugin;
    this.#launch = launch;
    this.#handlers = handlers;
    this.#settings = settings;
    this.#signal = signal;
  }

  /** Connects, registers, and waits until the runtime has configured the plugin. Rejects if any of it fails. */
  async register(): Promise<void> {
    const { registrationTimeoutMs: timeoutMs, driver } = this.#settings;
    const { socket, name, index } = this.#launch;
    const mux = await Mux.connect(socket, { connectTimeoutMs: timeoutMs, signal: this.#signal });
    this.#mux = mux;
    const closed = mux.closed.then((why) => this.#closedOf(why));
    this.closed = closed;
    const configured = this.#serve(mux, closed);
    // Whatever ends the registration first is reported; the other must not go unhandled.
    configured.catch(() => undefined);
    const abort = () => void this.close();
    this.#signal.addEventListener("abort", abort);
    try {
      this.#served = mux.open(PLUGIN_CONNECTION);
      await this.#server?.listen(this.#served);
      this.#connection = await connect(mux.open(RUNTIME_CONNECTION), { driver });
      this.#client = createClient(Runtime, this.#connection);
      const request = { pluginName: name, pluginIdx: index, NRIVersion: NRI_VERSION };
      await Promise.all([
        this.#client.registerPlugin(request, { timeoutMs }),
        withTimeout(configured, timeoutMs),
      ]);
    } catch (error) {
      throw await this.#failure(error);
    } finally {
      this.#signal.removeEventListener("abort", abort);
    }
  }

  /** Asks the runtime to update or to evict containers; resolves to the updates that it could not make. */
  async update(request: UpdateContainersRequest, timeoutMs: number): Promise<ContainerUpdate[]> {
    if (!this.#hasUpdated && this.runtime !== undefined && canBlock(this.runtime)) {
      const { name, version } = this.runtime;
      const text = `${name} ${version} can hang when a plugin updates containers while it does anything else: return updates from handlers`;
      this.#settings.log.warn(`${this.#plugin}: ${text}`);
    }
    this.#hasUpdated = true;
    return (await this.#client.updateContainers(request, { timeoutMs })).failed;
  }

  /** Prepares the server; resolves when the runtime has configured the plugin. */
  #serve(mux: Mux, closed: Promise<PluginClosed>): Promise<void> {
    return new Promise((resolve, reject) => {
      const service = pluginService({
        plugin: this.#plugin,
        handlers: this.#handlers,
        settings: this.#settings,
        configured: (runtime, error) => {
          this.runtime = runtime;
          this.refused = error !== undefined;
          if (error === undefined) resolve();
          else reject(error);
        },
        unsynchronized: (error) => {
          // NRI before 0.8 would stay connected, and never call the plugin.
          this.#unsynchronized ??= error;
          void this.close();
        },
        updateLater: (updates) => void this.#updateLater(updates),
      });
      this.#server = createServer({ driver: this.#settings.driver }).add(Plugin, service);
      void closed.then(({ error }) =>
        reject(
          error ??
            new TtrpcError(
              "the runtime closed the connection before it configured the plugin",
              Code.Unavailable,
            ),
        ),
      );
      // A server whose connection failed must not leave the runtime waiting on the other one.
      void mux.closed.then(() => this.close());
    });
  }

  /** Sends what did not fit the reply to Synchronize, once that has left. */
  async #updateLater(updates: Updates): Promise<void> {
    await new Promise(setImmediate);
    try {
      const failed = await this.#plugin.updateContainers(updates);
      if (failed.length > 0)
        this.#settings.log.warn(`the runtime could not make ${failed.length} updates of synchronize`);
    } catch (error) {
      this.#settings.log.error(`updates of synchronize failed: ${TtrpcError.from(error).message}`);
    }
  }

  /** The cause of the connection's end says more than what failed because of it. */
  async #failure(error: unknown): Promise<TtrpcError> {
    const failure = TtrpcError.from(error);
    if (failure.code !== Code.Unavailable) return failure;
    const why = await Promise.race([
      this.closed,
      new Promise<undefined>((resolve) => setImmediate(() => resolve(undefined))),
    ]);
    return why?.error ?? failure;
  }

  /** Ends the connection at once. */
  close(): Promise<void> {
    return (this.#ending ??= this.#close());
  }

  async #close(): Promise<void> {
    // The runtime logs why.
    if (this.refused || this.#unsynchronized !== undefined) {
      await this.#server?.close({ graceMs: REFUSAL_GRACE_MS });
      // The engine's last bytes are on their way to the socket until then.
      if (this.#served?.closed === false) await once(this.#served, "close");
    }
    // The socket first: the runtime learns of the end from it.
    await this.#mux?.close();
    await this.#connection?.close();
    await this.#server?.close({ graceMs: 0 });
  }

  #closedOf({ reason, error }: ConnectionClosed): PluginClosed {
    // Whichever side closed it.
    if (this.#unsynchronized !== undefined) return { reason: "error", error: this.#unsynchronized };
    return { reason: reason === "protocol" ? "error" : reason, error };
  }
}

async function withTimeout(promise: Promise<void>, timeoutMs: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    const text = `the runtime did not configure the plugin within ${timeoutMs} ms`;
    timer = setTimeout(
      () => reject(new TtrpcError(text, Code.DeadlineExceeded)),
      Math.min(timeoutMs, LONGEST_TIMER_MS),
    );
  });
  try {
    await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
