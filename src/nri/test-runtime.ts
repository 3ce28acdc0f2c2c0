import { rmSync } from "node:fs";
import { createServer as createSocketServer, type Server as SocketServer, type Socket } from "node:net";
import { join } from "node:path";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { Code } from "../code.js";
import { validate } from "../codec/validate.js";
import { TtrpcError } from "../error.js";
import { checkedString, checkOptions, definedFields } from "../options.js";
import {
  type Container,
  type ContainerAdjustment,
  type ContainerEviction,
  ContainerSchema,
  ContainerState,
  type ContainerUpdate,
  LinuxContainerSchema,
  type LinuxResources,
  type PodSandbox,
  PodSandboxSchema,
} from "../protos/generated/nri/pkg/api/v1alpha1/nri_pb.js";
import { created, withResources } from "./apply.js";
import { CollectedUpdates } from "./collected-updates.js";
import { ConnectedPlugins } from "./connected-plugins.js";
import { Creation } from "./creation.js";
import type { ContainerEventName, EventName, PodEventName } from "./events.js";
import type { PluginHandlers } from "./handlers.js";
import { PLUGIN_OPTIONS, type PluginOptions } from "./options.js";
import { Owners } from "./owners.js";
import { runPlugin, type RunningPlugin } from "./plugin.js";
import { type ResourcesSpec, resourcesOf } from "./resources.js";
import { type TestRuntimeOptions, type TestSettings, testSettingsOf } from "./test-options.js";
import { ConnectedPlugin, type PluginCall } from "./test-plugin.js";
import type { Subject } from "./handler-calls.js";

/** A container that a test created, with what the plugins asked for. */
export interface CreatedContainer {
  /** The container, with all adjustments. */
  readonly container: Container;
  /** The adjustment of each plugin that made one, by the plugin's index and name. */
  readonly adjustments: ReadonlyMap<string, ContainerAdjustment>;
}

/**
 * A runtime for tests of plugins, made by {@link createTestRuntime}. It calls plugins as containerd does, over a socket,
 * in the order of their indexes, and keeps pods and containers in memory. It merges what the plugins ask for as NRI
 * 0.12.5 does, and does not create a container that they disagree about. Its methods reject with a TypeError if an
 * argument is wrong, and with a {@link TtrpcError} if a handler of a plugin throws.
 */
export class TestRuntime implements AsyncDisposable {
  /** The socket's address, for plugins in other processes. */
  readonly socket: string;
  /** The pods that exist. */
  readonly pods: PodSandbox[] = [];
  /** The containers that exist, as they are with all adjustments and updates. */
  readonly containers: Container[] = [];
  /** The updates that plugins have asked for, oldest first. */
  readonly updates: ContainerUpdate[] = [];
  /** The evictions that plugins have asked for, oldest first. */
  readonly evictions: ContainerEviction[] = [];
  readonly #options: TestSettings;
  readonly #folder: string;
  readonly #listener: SocketServer;
  readonly #plugins = new ConnectedPlugins();
  readonly #started = new Set<RunningPlugin>();
  /** The ids of pods that are stopped. */
  readonly #stopped = new Set<string>();
  #made = 0;

  /** @internal */
  constructor(options: TestRuntimeOptions, folder: string) {
    this.#options = testSettingsOf(options);
    this.#folder = folder;
    this.socket = join(folder, "nri.sock");
    this.#listener = createSocketServer((socket) => {
      // A plugin that fails knows why: it has answered with the error, or has gone.
      this.#connected(socket).catch(() => undefined);
    });
  }

  /** @internal */
  listen(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#listener.once("error", reject).listen(this.socket, resolve);
    });
  }

  /** The plugins that are connected and synchronized, in the order in which they are called. */
  get plugins(): readonly string[] {
    return this.#plugins.inOrder.map(({ id }) => id);
  }

  /** Runs a plugin in this process; resolves when it is synchronized. Rejects if it ends before that. */
  async start(
    name: string,
    index: string,
    handlers: PluginHandlers,
    options: PluginOptions = {},
  ): Promise<RunningPlugin> {
    checkOptions("start", options, PLUGIN_OPTIONS);
    const { reconnect = false, log = QUIET } = options;
    // A socket of its own tells its connections from those of another plugin with its name and index.
    const socket = join(this.#folder, `plugin-${this.#started.size}.sock`);
    const fixed = { reconnect, log, socket, ownsProcess: false };
    const plugin = runPlugin(name, index, handlers, { ...options, ...fixed });
    this.#started.add(plugin);
    let failure: unknown;
    const synchronized = new Promise<void>((resolve, reject) => {
      const listener = createSocketServer((accepted) => {
        this.#connected(accepted).then(resolve, (error: unknown) => (failure = error));
      });
      listener.once("error", reject).listen(socket);
      void plugin.closed.then(({ error }) => {
        listener.close();
        reject(error ?? failure ?? new TtrpcError(`the plugin ${plugin} has ended`, Code.Unavailable));
      });
    });
    await Promise.all([plugin.ready, synchronized]);
    return plugin;
  }

  /** Resolves when the plugin with this index and name, as in `10-logger`, is connected and synchronized. */
  async joined(id: string): Promise<void> {
    checkedString(id, "id");
    await this.#plugins.joined(id);
  }

  /** Creates a pod. Its id, name, uid and namespace have defaults. Rejects if a plugin throws. */
  async runPod(init: MessageInitShape<typeof PodSandboxSchema> = {}): Promise<PodSandbox> {
    validate(PodSandboxSchema, init, "init");
    const id = `pod-${++this.#made}`;
    const pod = create(PodSandboxSchema, {
      id,
      name: id,
      uid: id,
      namespace: "default",
      ...definedFields(init),
    });
    await this.#orUndo(
      this.#tell("runPodSandbox", { pod }),
      () => this.#tell("stopPodSandbox", { pod }),
      () => this.#tell("removePodSandbox", { pod }),
    );
    this.pods.push(pod);
    return pod;
  }

  /** Changes a pod's resources. */
  async updatePod(
    pod: PodSandbox,
    resources: ResourcesSpec | LinuxResources,
    overhead: ResourcesSpec = {},
  ): Promise<void> {
    validate(PodSandboxSchema, pod, "pod");
    const linuxResources = resourcesOf(resources, "resources");
    const request = { pod, linuxResources, overheadLinuxResources: resourcesOf(overhead, "overhead") };
    await this.#call("updatePodSandbox", ({ client }, options) => client.updatePodSandbox(request, options));
    await this.#tell("postUpdatePodSandbox", { pod });
  }

  /** Stops a pod and its containers. */
  async stopPod(pod: PodSandbox): Promise<void> {
    validate(PodSandboxSchema, pod, "pod");
    for (const container of this.containers.filter(({ podSandboxId }) => podSandboxId === pod.id)) {
      if (container.state === ContainerState.CONTAINER_RUNNING) await this.stopContainer(container);
    }
    if (this.#stopped.has(pod.id)) return;
    await this.#tell("stopPodSandbox", { pod });
    this.#stopped.add(pod.id);
  }

  /** Removes a pod and its containers, after stopping them all. */
  async removePod(pod: PodSandbox): Promise<void> {
    await this.stopPod(pod);
    for (const container of this.containers.filter(({ podSandboxId }) => podSandboxId === pod.id)) {
      await this.removeContainer(container);
    }
    await this.#tell("removePodSandbox", { pod });
    remove(this.pods, pod);
  }

  /** Creates a container with the adjustments of all plugins. Rejects if a plugin throws or rejects it. */
  async createContainer(
    pod: PodSandbox,
    init: MessageInitShape<typeof ContainerSchema> = {},
  ): Promise<CreatedContainer> {
    validate(PodSandboxSchema, pod, "pod");
    validate(ContainerSchema, init, "init");
    this.#pod(pod.id);
    const id = `container-${++this.#made}`;
    const defaults = { id, name: id, podSandboxId: pod.id, args: ["sh"] };
    const pristine = create(ContainerSchema, { ...defaults, ...definedFields(init) });
    // containerd knows no state until the container is created.
    pristine.state = ContainerState.CONTAINER_UNKNOWN;
    const adjustments = new Map<string, ContainerAdjustment>();
    const creation = new Creation(pristine);
    const asked = this.#plugins.alone(async () => {
      await this.#plugins.call("createContainer", async (plugin, options) => {
        const reply = await plugin.client.createContainer({ pod, container: creation.seen }, options);
        const { adjust, update, evict } = reply;
        if (adjust !== undefined) {
          creation.add(plugin.id, adjust);
          adjustments.set(plugin.id, adjust);
        }
        creation.updates.add(plugin.id, update);
        this.evictions.push(...evict);
      });
      await this.#validate(pod, pristine, creation);
      this.#make(creation.updates);
    });
    await this.#orUndo(
      asked,
      () => this.#stop(pod, pristine),
      () => this.#remove(pod, pristine),
    );
    const container = created(pristine, creation.adjust);
    container.state = ContainerState.CONTAINER_CREATED;
    this.containers.push(container);
    await this.#tell("postCreateContainer", { pod, container });
    return { container, adjustments };
  }

  async #validate(pod: PodSandbox, container: Container, creation: Creation): Promise<void> {
    const plugins = this.#plugins.inOrder.map(({ name, index }) => ({ name, index }));
    const { adjust, owners, updates } = creation;
    const request = { pod, container, adjust, update: updates.merged, owners: owners.message, plugins };
    await this.#plugins.call("validateContainerAdjustment", async ({ client, id }, options) => {
      const { reject, reason } = await client.validateContainerAdjustment(request, options);
      if (!reject) return;
      throw new TtrpcError(
        `validator "${id}" rejected container adjustment, reason: ${reason}`,
        Code.Unknown,
      );
    });
  }

  /** Starts a container. */
  async startContainer(container: Container): Promise<void> {
    const pod = this.#podOf(container);
    const started = this.#tell("startContainer", { pod, container });
    await this.#orUndo(started, () => this.#stop(pod, container));
    container.state = ContainerState.CONTAINER_RUNNING;
    await this.#tell("postStartContainer", { pod, container });
  }

  /** Changes a container's resources, and those of other containers as the plugins ask. */
  async updateContainer(container: Container, resources: ResourcesSpec | LinuxResources): Promise<void> {
    const pod = this.#podOf(container);
    const linuxResources = resourcesOf(resources, "resources");
    const linux = (container.linux ??= create(LinuxContainerSchema));
    const updates = new CollectedUpdates(new Owners(), {
      updated: { id: container.id, resources: linuxResources },
    });
    await this.#call("updateContainer", async ({ client, id }, options) => {
      const request = { pod, container, linuxResources: updates.requested };
      const reply = await client.updateContainer(request, options);
      updates.add(id, reply.update);
      this.evictions.push(...reply.evict);
    });
    if (!updates.hasUpdated(container.id)) linux.resources = withResources(linux.resources, linuxResources);
    this.#make(updates);
    await this.#tell("postUpdateContainer", { pod, container });
  }

  /** Stops a container, unless it has been stopped. */
  async stopContainer(container: Container): Promise<void> {
    const pod = this.#podOf(container);
    if (container.state !== ContainerState.CONTAINER_STOPPED) await this.#stop(pod, container);
  }

  /** Removes a container, after stopping it. */
  async removeContainer(container: Container): Promise<void> {
    const pod = this.#podOf(container);
    await this.stopContainer(container);
    await this.#remove(pod, container);
    remove(this.containers, container);
  }

  async #stop(pod: PodSandbox, container: Container): Promise<void> {
    const updates = new CollectedUpdates(new Owners());
    await this.#call("stopContainer", async ({ client, id }, options) => {
      updates.add(id, (await client.stopContainer({ pod, container }, options)).update);
    });
    this.#make(updates);
    container.state = ContainerState.CONTAINER_STOPPED;
  }

  #remove(pod: PodSandbox, container: Container): Promise<void> {
    return this.#tell("removeContainer", { pod, container });
  }

  /** Tells the plugins that what has failed is undone, as containerd does, whatever they say to it. */
  async #orUndo(made: Promise<void>, ...undoing: (() => Promise<void>)[]): Promise<void> {
    try {
      await made;
    } catch (error) {
      for (const undo of undoing) await undo().catch(() => undefined);
      throw error;
    }
  }

  /** Ends all plugins of this process, disconnects the other plugins, and removes the socket. */
  async close(): Promise<void> {
    this.#listener.close();
    await Promise.all([...this.#started].map((plugin) => plugin.close()));
    await this.#plugins.close();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  /** Closes the runtime, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #podOf(container: Container): PodSandbox {
    validate(ContainerSchema, container, "container");
    return this.#pod(container.podSandboxId);
  }

  #pod(id: string): PodSandbox {
    const pod = this.pods.find((each) => each.id === id);
    if (pod === undefined) throw new TypeError(`there is no pod ${id}`);
    return pod;
  }

  /** Makes updates that plugins replied with. */
  #make({ asked, merged }: CollectedUpdates): void {
    this.updates.push(...asked);
    this.#apply(merged);
  }

  /** Makes updates of containers, and gives those of containers that do not exist. */
  #update(updates: readonly ContainerUpdate[]): ContainerUpdate[] {
    this.updates.push(...updates);
    return this.#apply(updates);
  }

  #apply(updates: readonly ContainerUpdate[]): ContainerUpdate[] {
    const failed: ContainerUpdate[] = [];
    for (const update of updates) {
      const container = this.containers.find(({ id }) => id === update.containerId);
      if (container === undefined) failed.push(update);
      else if (update.linux?.resources !== undefined) {
        const linux = (container.linux ??= create(LinuxContainerSchema));
        linux.resources = withResources(linux.resources, update.linux.resources);
      }
    }
    return failed;
  }

  /** Resolves when a plugin is synchronized. Disconnects one that is not, and rejects. */
  async #connected(socket: Socket): Promise<void> {
    const plugin = new ConnectedPlugin(socket, this.#options, (update, evict) =>
      this.#plugins.alone(() => {
        this.evictions.push(...evict);
        return this.#update(update);
      }),
    );
    try {
      await plugin.configure();
      await this.#plugins.alone(async () => {
        this.#update(await plugin.synchronize(this.pods, this.containers));
        this.#plugins.add(plugin);
      });
    } catch (error) {
      void plugin.close();
      throw error;
    }
  }

  #call(name: EventName, call: PluginCall): Promise<void> {
    return this.#plugins.alone(() => this.#plugins.call(name, call));
  }

  #tell(name: PodEventName | ContainerEventName, about: Subject): Promise<void> {
    return this.#call(name, (plugin, options) => plugin.tell(name, about, options));
  }
}

const QUIET = { info: () => undefined, warn: () => undefined, error: () => undefined };

function remove<T>(list: T[], value: T): void {
  const index = list.indexOf(value);
  if (index !== -1) list.splice(index, 1);
}
