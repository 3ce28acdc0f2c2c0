/**
 * containerd's sandbox service, which containerd calls on a shim that runs a group of containers in one environment,
 * such as a micro VM or a pod.
 *
 * ```ts
 * import { connect, createClient } from "containerd-shim-protos";
 * import { Sandbox } from "containerd-shim-protos/sandbox";
 *
 * await using connection = await connect("unix:///run/containerd/s/abc");
 * const sandbox = createClient(Sandbox, connection);
 * await sandbox.createSandbox({ sandboxId: "pod-1", bundlePath: "/run/pods/pod-1" });
 * const { pid } = await sandbox.startSandbox({ sandboxId: "pod-1" });
 * const { exitStatus } = await sandbox.waitSandbox({ sandboxId: "pod-1" });
 * ```
 *
 * `Sandbox` is the service; the message of that name, which describes a sandbox, is in
 * `containerd-shim-protos/types`.
 *
 * @module
 */

export {
  Sandbox,
  type CreateSandboxRequest,
  CreateSandboxRequestSchema,
  type CreateSandboxResponse,
  CreateSandboxResponseSchema,
  type StartSandboxRequest,
  StartSandboxRequestSchema,
  type StartSandboxResponse,
  StartSandboxResponseSchema,
  type PlatformRequest,
  PlatformRequestSchema,
  type PlatformResponse,
  PlatformResponseSchema,
  type StopSandboxRequest,
  StopSandboxRequestSchema,
  type StopSandboxResponse,
  StopSandboxResponseSchema,
  type UpdateSandboxRequest,
  UpdateSandboxRequestSchema,
  type WaitSandboxRequest,
  WaitSandboxRequestSchema,
  type WaitSandboxResponse,
  WaitSandboxResponseSchema,
  type UpdateSandboxResponse,
  UpdateSandboxResponseSchema,
  type SandboxStatusRequest,
  SandboxStatusRequestSchema,
  type SandboxStatusResponse,
  SandboxStatusResponseSchema,
  type PingRequest,
  PingRequestSchema,
  type PingResponse,
  PingResponseSchema,
  type ShutdownSandboxRequest,
  ShutdownSandboxRequestSchema,
  type ShutdownSandboxResponse,
  ShutdownSandboxResponseSchema,
  type SandboxMetricsRequest,
  SandboxMetricsRequestSchema,
  type SandboxMetricsResponse,
  SandboxMetricsResponseSchema,
} from "./generated/containerd/runtime/sandbox/v1/sandbox_pb.js";
// The types that its messages contain.
export { type Metric, MetricSchema } from "./generated/containerd/types/metrics_pb.js";
export { type Mount, MountSchema } from "./generated/containerd/types/mount_pb.js";
export { type Platform, PlatformSchema } from "./generated/containerd/types/platform_pb.js";
