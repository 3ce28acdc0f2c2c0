/**
 * containerd's events: a server that receives them, a publisher, a forwarder between shims and containerd, the
 * service that all three speak, every event message, and the topics that shims publish under.
 *
 * ```ts
 * import { isMessage } from "@bufbuild/protobuf";
 * import { listenEvents, TaskExitSchema } from "containerd-shim-protos/events";
 *
 * for await (const { namespace, message } of listenEvents("unix:///run/my-events.sock")) {
 *   if (isMessage(message, TaskExitSchema)) console.log(namespace, message.containerId, message.exitStatus);
 * }
 * ```
 *
 * @module
 */

export {
  Events,
  type ForwardRequest,
  ForwardRequestSchema,
} from "../protos/generated/containerd/services/events/ttrpc/v1/events_pb.js";
export { type Envelope, EnvelopeSchema } from "../protos/generated/containerd/types/event_pb.js";

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
} from "../protos/generated/containerd/events/task_pb.js";
export {
  type ContainerCreate,
  ContainerCreateSchema,
  type ContainerCreate_Runtime,
  ContainerCreate_RuntimeSchema,
  type ContainerUpdate,
  ContainerUpdateSchema,
  type ContainerDelete,
  ContainerDeleteSchema,
} from "../protos/generated/containerd/events/container_pb.js";
export {
  type SandboxCreate,
  SandboxCreateSchema,
  type SandboxStart,
  SandboxStartSchema,
  type SandboxExit,
  SandboxExitSchema,
} from "../protos/generated/containerd/events/sandbox_pb.js";
export {
  type ContentCreate,
  ContentCreateSchema,
  type ContentDelete,
  ContentDeleteSchema,
} from "../protos/generated/containerd/events/content_pb.js";
export {
  type SnapshotPrepare,
  SnapshotPrepareSchema,
  type SnapshotCommit,
  SnapshotCommitSchema,
  type SnapshotRemove,
  SnapshotRemoveSchema,
} from "../protos/generated/containerd/events/snapshot_pb.js";
export {
  type NamespaceCreate,
  NamespaceCreateSchema,
  type NamespaceUpdate,
  NamespaceUpdateSchema,
  type NamespaceDelete,
  NamespaceDeleteSchema,
} from "../protos/generated/containerd/events/namespace_pb.js";
// From a different proto package than the other events, but containerd publishes them in the same way.
export {
  type ImageCreate,
  ImageCreateSchema,
  type ImageUpdate,
  ImageUpdateSchema,
  type ImageDelete,
  ImageDeleteSchema,
} from "../protos/generated/containerd/services/images/v1/image_pb.js";
// TaskCreate carries the mounts of the root file system.
export { type Mount, MountSchema } from "../protos/generated/containerd/types/mount_pb.js";

export * from "./topics.js";
export type { ContainerdEvent } from "./event.js";
export { forwardEvents } from "./forwarder.js";
export {
  createPublisher,
  Publisher,
  type PublisherEvents,
  type PublisherOptions,
  type PublishOptions,
  type Undelivered,
} from "./publisher.js";
export { EventSink, listenEvents } from "./sink.js";
export type { EventCounts, EventSinkOptions } from "./sink-options.js";
