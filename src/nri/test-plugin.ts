import { clearTimeout, setTimeout } from "node:timers";
import type { Duplex } from "node:stream";
import { currentMs } from "../clock.js";
import { type Client, createClient } from "../client/client.js";
import { connect } from "../client/connect.js";
import type { Connection } from "../client/connection.js";
import { Code } from "../code.js";
import { TtrpcError } from "../error.js";
import { LONGEST_TIMER_MS } from "../options.js";
import {
  type Container,
  type ContainerEviction,
  type ContainerUpdate,
  type FailurePolicy,
  Plugin,
  type PodSandbox,
  Runtime,
} from "../protos/generated/nri/pkg/api/v1alpha1/nri_pb.js";
import { createServer, type Server } from "../server/server.js";
import { NRI_VERSION } from "./constants.js";
import {
  type ContainerEventName,
  EVENT_NAMES,
  type EventName,
  EVENTS,
  namesOf,
  type PodEventName,
} from "./events.js";
import { Mux, PLUGIN_CONNECTION, RUNTIME_CONNECTION } from "./mux.js";
import type { Subject } from "./handler-calls.js";

/** What a connected plugin is told about its runtime. */
interface About {
  readonly name: string;
  readonly version: string;
  readonly config: string;
  readonly registrationTimeoutMs: number;
  readonly requestTimeoutMs: number;
  readonly partSize: number;
}

/** A call of a plugin. */
export type PluginCall = (
  plugin: ConnectedPlugin,
  options: { readonly timeoutMs: number },
) => Promise<unknown>;

/** A plugin, as a runtime sees it. */
export class ConnectedPlugin {
  name = "";
  index = "";
  events: readonly EventName[] = [];
  client!: Client<typeof Plugin>;
  readonly closed: Promise<unknown>;
  readonly #mux: Mux;
  readonly #server: Server;
  readonly #about: About;
  readonly #registered: Promise<void>;
  #connection: Connection | undefined;
  #policy: FailurePolicy | undefined;
  /** Whether it was made before NRI 0.12, which has only StateChange for most events. */
  #isOld = false;

  constructor(
    socket: Duplex,
    about: About,
    update: (updates: ContainerUpdate[], evictions: ContainerEviction[]) => Promise<ContainerUpdate[]>,
  ) {
    this.#about = about;
    this.#mux = new Mux(socket);
    this.closed = this.#mux.closed;
    this.#server = createServer();
    this.#registered = new Promise((resolve, reject) => {
      this.#server.add(Runtime, {
        registerPlugin: ({ pluginName, pluginIdx }) => {
          this.name = pluginName;
          this.index = pluginIdx;
          resolve();
          return {};
        },
        updateContainers: async (request) => ({ failed: await update(request.update, request.evict) }),
      });
      void this.closed.then(() => reject(new TtrpcError("the plugin has gone", Code.Unavailable)));
    });
    this.#registered.catch(() => undefined);
  }

  /** Its index and name, as in `10-logger`. */
  get id(): string {
    return `${this.index}-${this.name}`;
  }

  /** Waits for the registration and configures the plugin. */
  async configure(): Promise<void> {
    const { name, version, config, registrationTimeoutMs, requestTimeoutMs } = this.#about;
    // Both connections are open before anything is read.
    const toPlugin = this.#mux.open(PLUGIN_CONNECTION);
    await this.#server.listen(this.#mux.open(RUNTIME_CONNECTION));
    this.#connection = await connect(toPlugin);
    this.client = createClient(Plugin, this.#connection);
    const timer = setTimeout(() => void this.close(), Math.min(registrationTimeoutMs, LONGEST_TIMER_MS));
    await this.#registered.finally(() => clearTimeout(timer));
    const { events, failurePolicy } = await this.client.configure(
      {
        config,
        runtimeName: name,
        runtimeVersion: version,
        registrationTimeout: BigInt(registrationTimeoutMs),
        requestTimeout: BigInt(requestTimeoutMs),
        NRIVersion: NRI_VERSION,
      },
      { timeoutMs: requestTimeoutMs },
    );
    this.#policy = failurePolicy;
    this.events = events === 0 ? EVENT_NAMES : namesOf(events);
  }

  /** Tells the plugin what exists, in parts; gives the updates that it asks for. */
  async synchronize(
    pods: readonly PodSandbox[],
    containers: readonly Container[],
  ): Promise<ContainerUpdate[]> {
    const { partSize, requestTimeoutMs: timeoutMs } = this.#about;
    for (let at = 0; ; at += partSize) {
      const until = at + partSize;
      const more = Math.max(pods.length, containers.length) > until;
      const part = { pods: pods.slice(at, until), containers: containers.slice(at, until), more };
      const reply = await this.client.synchronize(part, { timeoutMs });
      if (!more) return reply.update;
      if (reply.more && reply.update.length === 0) continue;
      throw new TtrpcError("the plugin does not take Synchronize in parts", Code.FailedPrecondition);
    }
  }

  /** Tells of an event. A plugin that does not know its method gets StateChange from then on, as from NRI. */
  async tell(
    name: PodEventName | ContainerEventName,
    about: Subject,
    options: { readonly timeoutMs: number },
  ): Promise<void> {
    if (!this.#isOld) {
      try {
        await this.client[name](about, options);
        return;
      } catch (error) {
        if (TtrpcError.from(error).code !== Code.Unimplemented) throw error;
        this.#isOld = true;
      }
    }
    await this.client.stateChange({ event: EVENTS[name], ...about }, options);
  }

  /**
   * Makes a call. A plugin that does not answer is disconnected, and fails the call, as its failure policy says. Without one
   * the runtime continues.
   */
  async ask(event: EventName, call: PluginCall): Promise<void> {
    const { requestTimeoutMs: timeoutMs } = this.#about;
    const began = currentMs();
    try {
      await call(this, { timeoutMs });
    } catch (error) {
      // With either code the plugin may have answered: then the runtime fails.
      const { code, cause, message } = TtrpcError.from(error);
      const isLate = code === Code.DeadlineExceeded && currentMs() - began >= timeoutMs;
      const isLost = code === Code.Unavailable && cause !== undefined;
      if (!isLate && !isLost) throw error;
      if (isLost || !this.#policy?.keepConnected) await this.close();
      // Who is asked to judge cannot be passed over.
      if (event === "validateContainerAdjustment")
        throw new TtrpcError(`validator plugin ${this.id} failed: ${message}`, Code.Unknown, {
          cause: error,
        });
      if (!this.#policy?.failRequest) return;
      const request = `${event.charAt(0).toUpperCase()}${event.slice(1)} request`;
      const text = `plugin ${this.id} failed to handle ${request}: ${message}`;
      throw new TtrpcError(text, Code.Unknown, { cause: error });
    }
  }

  /** Disconnects the plugin. */
  async close(): Promise<void> {
    await this.#mux.close();
    await this.#connection?.close();
    await this.#server.close({ graceMs: 0 });
  }
}
