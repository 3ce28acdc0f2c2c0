/**
 * The messages and topics of containerd's events, and the service that carries them. Part of
 * `containerd-shim-protos/events`.
 *
 * @module
 */

export {
  Events,
  type ForwardRequest,
  ForwardRequestSchema,
} from "./generated/containerd/services/events/ttrpc/v1/events_pb.js";
export { type Envelope, EnvelopeSchema } from "./generated/containerd/types/event_pb.js";

export {
  type TaskCreate,
  TaskCreateSchema,
  type TaskStart,
  TaskStartSchema,
  type TaskDelete,
  TaskDeleteSchema,
  type TaskIO,
  TaskIOSchema,
  type TaskExit,
  TaskExitSchema,
  type TaskOOM,
  TaskOOMSchema,
  type TaskExecAdded,
  TaskExecAddedSchema,
  type TaskExecStarted,
  TaskExecStartedSchema,
  type TaskPaused,
  TaskPausedSchema,
  type TaskResumed,
  TaskResumedSchema,
  type TaskCheckpointed,
  TaskCheckpointedSchema,
} from "./generated/containerd/events/task_pb.js";
export {
  type ContainerCreate,
  ContainerCreateSchema,
  type ContainerCreate_Runtime,
  ContainerCreate_RuntimeSchema,
  type ContainerUpdate,
  ContainerUpdateSchema,
  type ContainerDelete,
  ContainerDeleteSchema,
} from "./generated/containerd/events/container_pb.js";
export {
  type SandboxCreate,
  SandboxCreateSchema,
  type SandboxStart,
  SandboxStartSchema,
  type SandboxExit,
  SandboxExitSchema,
} from "./generated/containerd/events/sandbox_pb.js";
export {
  type ContentCreate,
  ContentCreateSchema,
  type ContentDelete,
  ContentDeleteSchema,
} from "./generated/containerd/events/content_pb.js";
export {
  type SnapshotPrepare,
  SnapshotPrepareSchema,
  type SnapshotCommit,
  SnapshotCommitSchema,
  type SnapshotRemove,
  SnapshotRemoveSchema,
} from "./generated/containerd/events/snapshot_pb.js";
export {
  type NamespaceCreate,
  NamespaceCreateSchema,
  type NamespaceUpdate,
  NamespaceUpdateSchema,
  type NamespaceDelete,
  NamespaceDeleteSchema,
} from "./generated/containerd/events/namespace_pb.js";
// From a different proto package than the other events, but containerd publishes them in the same way.
export {
  type ImageCreate,
  ImageCreateSchema,
  type ImageUpdate,
  ImageUpdateSchema,
  type ImageDelete,
  ImageDeleteSchema,
} from "./generated/containerd/services/images/v1/image_pb.js";
// TaskCreate carries the mounts of the root file system.
export { type Mount, MountSchema } from "./generated/containerd/types/mount_pb.js";
export * from "./event-topics.js";
