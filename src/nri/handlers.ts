import type {
  Container,
  ContainerAdjustment,
  ContainerEviction,
  ContainerUpdate,
  LinuxResources,
  OwningPlugins,
  PluginInstance,
  PodSandbox,
} from "../protos/generated/nri/pkg/api/v1alpha1/nri_pb.js";
import type { AdjustmentSpec } from "./adjustment-spec.js";
import type { Adjustment } from "./adjustment.js";
import type { PluginContext } from "./context.js";
import type { EventName } from "./events.js";
import type { EvictionSpec, UpdateSpec } from "./resources.js";

/** What the runtime tells a plugin about itself. */
export interface PluginConfiguration {
  /** The text of the plugin's configuration file; empty if there is none, or if the runtime did not launch the plugin. */
  readonly config: string;
  /** The events that the plugin has handlers for; `configure` may return a subset of them. */
  readonly events: readonly EventName[];
}

/** All pods and containers that exist when a plugin connects. */
export interface Inventory {
  /** The pods. */
  readonly pods: readonly PodSandbox[];
  /** The containers; `podSandboxId` names a container's pod. */
  readonly containers: readonly Container[];
}

/** An event of a pod. */
export interface PodEvent {
  /** The pod. */
  readonly pod: PodSandbox;
}

/** New resources of a pod. */
export interface PodResourcesEvent extends PodEvent {
  /** The resources that the pod needs besides those of its containers. */
  readonly overhead?: LinuxResources | undefined;
  /** The sum of its containers' resources. */
  readonly resources?: LinuxResources | undefined;
}

/** An event of a container. */
export interface ContainerEvent extends PodEvent {
  /** The container. */
  readonly container: Container;
}

/** New resources of a container. */
export interface ContainerResourcesEvent extends ContainerEvent {
  /** The new resources, as requested. */
  readonly resources?: LinuxResources | undefined;
}

/** The changes that all plugins together want to make to a new container. */
export interface ValidationEvent extends ContainerEvent {
  /** The adjustment of the new container. */
  readonly adjust?: ContainerAdjustment | undefined;
  /** Updates of other containers. */
  readonly update: readonly ContainerUpdate[];
  /** Which plugin set what. */
  readonly owners?: OwningPlugins | undefined;
  /** The plugins that were asked. */
  readonly plugins: readonly PluginInstance[];
}

/** Updates of containers that exist. */
export type Updates = readonly (UpdateSpec | ContainerUpdate)[];
/** Containers to evict. */
export type Evictions = readonly (EvictionSpec | ContainerEviction)[];

/** What a plugin asks for when a container is updated. */
export interface UpdateResult {
  /** Updates, of this container and of others. */
  readonly update?: Updates | undefined;
  /** Containers to evict. Runtimes, as of NRI 0.12.5, ignore them. */
  readonly evict?: Evictions | undefined;
}

/** What a plugin asks for when a container is created. */
export interface CreateResult {
  /** How the new container changes. */
  readonly adjust?: Adjustment | AdjustmentSpec | ContainerAdjustment | undefined;
  /** Updates of other containers. */
  readonly update?: Updates | undefined;
  /** Other containers to evict. Runtimes, as of NRI 0.12.5, ignore them. */
  readonly evict?: Evictions | undefined;
}

/** A value, or a promise of one. */
export type Awaitable<T> = T | PromiseLike<T>;

/**
 * What a plugin does at each event. A plugin subscribes to the events that have a handler here; any other event is
 * answered with an empty reply. The runtime waits for each answer before it continues. If a handler throws, or returns a
 * wrong value, what the runtime was doing fails: a pod or container then does not start. If it is a `post…`, `stop…` or
 * `remove…` handler, containerd only logs the error, and continues.
 */
export interface PluginHandlers {
  /**
   * The runtime has accepted the plugin. May return the events to subscribe to, a subset of those that have handlers. If
   * it throws, the plugin ends.
   */
  configure?:
    | ((configuration: PluginConfiguration, context: PluginContext) => Awaitable<void | readonly EventName[]>)
    | undefined;
  /**
   * Gets all pods and containers that exist, once for each connection, before any event. May return updates of
   * containers.
   */
  synchronize?: ((inventory: Inventory, context: PluginContext) => Awaitable<void | Updates>) | undefined;
  /** The runtime shuts down. Runtimes, as of NRI 0.12.5, do not call it; the plugin's `closed` tells when it has ended. */
  shutdown?: ((context: PluginContext) => Awaitable<void>) | undefined;
  /** A pod is being created. */
  runPodSandbox?: ((event: PodEvent, context: PluginContext) => Awaitable<void>) | undefined;
  /** A pod's resources are about to change. */
  updatePodSandbox?: ((event: PodResourcesEvent, context: PluginContext) => Awaitable<void>) | undefined;
  /** A pod's resources have changed. */
  postUpdatePodSandbox?: ((event: PodEvent, context: PluginContext) => Awaitable<void>) | undefined;
  /** A pod is being stopped. */
  stopPodSandbox?: ((event: PodEvent, context: PluginContext) => Awaitable<void>) | undefined;
  /** A pod has been removed. */
  removePodSandbox?: ((event: PodEvent, context: PluginContext) => Awaitable<void>) | undefined;
  /** A container is being created. May return how it changes, alone or with updates of other containers. */
  createContainer?:
    | ((event: ContainerEvent, context: PluginContext) => Awaitable<void | Adjustment | CreateResult>)
    | undefined;
  /** A container has been created, with the changes of all plugins. */
  postCreateContainer?: ((event: ContainerEvent, context: PluginContext) => Awaitable<void>) | undefined;
  /** A container is about to start. */
  startContainer?: ((event: ContainerEvent, context: PluginContext) => Awaitable<void>) | undefined;
  /** A container has started. */
  postStartContainer?: ((event: ContainerEvent, context: PluginContext) => Awaitable<void>) | undefined;
  /** A container's resources are about to change. May return updates. */
  updateContainer?:
    | ((event: ContainerResourcesEvent, context: PluginContext) => Awaitable<void | UpdateResult>)
    | undefined;
  /** A container's resources have changed. */
  postUpdateContainer?: ((event: ContainerEvent, context: PluginContext) => Awaitable<void>) | undefined;
  /** A container is being stopped. May return updates of other containers. */
  stopContainer?: ((event: ContainerEvent, context: PluginContext) => Awaitable<void | Updates>) | undefined;
  /** A container has been removed. */
  removeContainer?: ((event: ContainerEvent, context: PluginContext) => Awaitable<void>) | undefined;
  /** Checks what all plugins together want to change. To reject the container, return a reason or throw an error. */
  validateContainerAdjustment?:
    | ((event: ValidationEvent, context: PluginContext) => Awaitable<void | string>)
    | undefined;
}
