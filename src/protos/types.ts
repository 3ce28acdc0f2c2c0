/**
 * The messages that several of containerd's services share: those of the packages `containerd.types` and
 * `containerd.v1.types`.
 *
 * ```ts
 * import { create, toBinary } from "@bufbuild/protobuf";
 * import { MountSchema } from "containerd-shim-protos/types";
 *
 * const mount = create(MountSchema, { type: "overlay", source: "overlay", options: ["lowerdir=/a:/b"] });
 * const bytes = toBinary(MountSchema, mount);
 * ```
 *
 * `Sandbox` is the message that describes a sandbox; the service of that name is in
 * `containerd-shim-protos/sandbox`. `Status` is the status of a task's process, not that of a call.
 *
 * @module
 */

export { type Descriptor, DescriptorSchema } from "./generated/containerd/types/descriptor_pb.js";
export { type Envelope, EnvelopeSchema } from "./generated/containerd/types/event_pb.js";
export { fieldpath_all, fieldpath } from "./generated/containerd/types/fieldpath_pb.js";
export {
  type RuntimeRequest,
  RuntimeRequestSchema,
  type RuntimeVersion,
  RuntimeVersionSchema,
  type RuntimeInfo,
  RuntimeInfoSchema,
} from "./generated/containerd/types/introspection_pb.js";
export { type Metric, MetricSchema } from "./generated/containerd/types/metrics_pb.js";
export {
  type Mount,
  MountSchema,
  type ActiveMount,
  ActiveMountSchema,
  type ActivationInfo,
  ActivationInfoSchema,
} from "./generated/containerd/types/mount_pb.js";
export { type Platform, PlatformSchema } from "./generated/containerd/types/platform_pb.js";
export {
  type Sandbox,
  SandboxSchema,
  type Sandbox_Runtime,
  Sandbox_RuntimeSchema,
} from "./generated/containerd/types/sandbox_pb.js";
export {
  type Process,
  ProcessSchema,
  type ProcessInfo,
  ProcessInfoSchema,
  Status,
  StatusSchema,
} from "./generated/containerd/v1/types/task_pb.js";
