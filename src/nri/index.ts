/**
 * NRI, the Node Resource Interface: plugins that a container runtime calls for every pod and container, and that may
 * change how containers are created.
 *
 * ```ts
 * import { Adjustment, runPlugin } from "containerd-shim-protos/nri";
 *
 * runPlugin("injector", "10", {
 *   createContainer({ pod, container }) {
 *     console.log(`${pod.namespace}/${pod.name}: ${container.name}`);
 *     return new Adjustment().env("NODE_NAME", "worker-1");
 *   },
 * });
 * ```
 *
 * Services, messages and enums have the names of NRI's own protocol.
 *
 * @module
 */

/// <reference types="node" preserve="true" />

export * from "../protos/generated/nri/pkg/api/v1alpha1/nri_pb.js";
export type {
  AdjustmentSpec,
  DeviceSpec,
  HookPhase,
  HookSpec,
  HooksSpec,
  IoPrioritySpec,
  MemoryPolicySpec,
  RlimitSpec,
} from "./adjustment-spec.js";
export { Adjustment } from "./adjustment.js";
export type { PluginContext, RuntimeInfo } from "./context.js";
export { createTestRuntime } from "./create-test-runtime.js";
export type { EventName } from "./events.js";
export type {
  Awaitable,
  ContainerEvent,
  ContainerResourcesEvent,
  CreateResult,
  Evictions,
  Inventory,
  PluginConfiguration,
  PluginHandlers,
  PodEvent,
  PodResourcesEvent,
  UpdateResult,
  Updates,
  ValidationEvent,
} from "./handlers.js";
export {
  Mux,
  type MuxConnectOptions,
  type MuxOptions,
  PLUGIN_CONNECTION,
  RUNTIME_CONNECTION,
} from "./mux.js";
export type { PluginLog, PluginOptions, PluginReconnectOptions } from "./options.js";
export type { RdtSpec, SeccompConditionSpec, SeccompRuleSpec, SeccompSpec } from "./parts.js";
export { type PluginClosed, runPlugin, RunningPlugin, type UpdateOptions } from "./plugin.js";
export {
  type CpuSpec,
  type EvictionSpec,
  type MemorySpec,
  resources,
  type ResourcesSpec,
  type UpdateSpec,
} from "./resources.js";
export type { TestRuntimeOptions } from "./test-options.js";
export { type CreatedContainer, TestRuntime } from "./test-runtime.js";
export type { Integer } from "./ranges.js";
