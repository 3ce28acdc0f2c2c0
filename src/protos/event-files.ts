import { file_containerd_events_container } from "./generated/containerd/events/container_pb.js";
import { file_containerd_events_content } from "./generated/containerd/events/content_pb.js";
import { file_containerd_events_namespace } from "./generated/containerd/events/namespace_pb.js";
import { file_containerd_events_sandbox } from "./generated/containerd/events/sandbox_pb.js";
import { file_containerd_events_snapshot } from "./generated/containerd/events/snapshot_pb.js";
import { file_containerd_events_task } from "./generated/containerd/events/task_pb.js";
import { file_containerd_services_images_v1_image } from "./generated/containerd/services/images/v1/image_pb.js";

/** The files that describe the events of containerd. */
export const eventFiles = [
  file_containerd_events_container,
  file_containerd_events_content,
  file_containerd_events_namespace,
  file_containerd_events_sandbox,
  file_containerd_events_snapshot,
  file_containerd_events_task,
  file_containerd_services_images_v1_image,
] as const;
