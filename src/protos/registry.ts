/**
 * A registry of all services, messages and enums of this package except those of NRI, and of the well-known protobuf types
 * that they use. With it, `unpackAny` unpacks an Any that holds any of these messages.
 *
 * ```ts
 * import { isMessage, toJsonString } from "@bufbuild/protobuf";
 * import { unpackAny } from "containerd-shim-protos";
 * import { EnvelopeSchema, TaskExitSchema } from "containerd-shim-protos/events";
 * import { registry } from "containerd-shim-protos/registry";
 *
 * const message = envelope.event && unpackAny(envelope.event, registry);
 * if (isMessage(message, TaskExitSchema)) console.log(message.containerId, message.exitStatus);
 * console.log(toJsonString(EnvelopeSchema, envelope, { registry })); // with the event's own fields
 * ```
 *
 * It is a separate entry because it loads all the others.
 *
 * @module
 */

import { createRegistry, type Registry } from "@bufbuild/protobuf";
import {
  file_google_protobuf_any,
  file_google_protobuf_empty,
  file_google_protobuf_timestamp,
} from "../descriptors/well-known.js";
import { eventFiles } from "./event-files.js";
import { file_containerd_runc_v1_oci } from "./generated/containerd/runc/v1/oci_pb.js";
import { file_containerd_runhcs_stats_v1_stats } from "./generated/containerd/runhcs/stats/v1/stats_pb.js";
import { file_containerd_runtime_bootstrap_v1_bootstrap } from "./generated/containerd/runtime/bootstrap/v1/bootstrap_pb.js";
import { file_containerd_runtime_sandbox_v1_sandbox } from "./generated/containerd/runtime/sandbox/v1/sandbox_pb.js";
import { file_containerd_services_events_ttrpc_v1_events } from "./generated/containerd/services/events/ttrpc/v1/events_pb.js";
import { file_containerd_services_streaming_v1_streaming } from "./generated/containerd/services/streaming/v1/streaming_pb.js";
import { file_containerd_task_v2_shim } from "./generated/containerd/task/v2/shim_pb.js";
import { file_containerd_task_v3_shim } from "./generated/containerd/task/v3/shim_pb.js";
import { file_containerd_types_descriptor } from "./generated/containerd/types/descriptor_pb.js";
import { file_containerd_types_event } from "./generated/containerd/types/event_pb.js";
import { file_containerd_types_fieldpath } from "./generated/containerd/types/fieldpath_pb.js";
import { file_containerd_types_introspection } from "./generated/containerd/types/introspection_pb.js";
import { file_containerd_types_metrics } from "./generated/containerd/types/metrics_pb.js";
import { file_containerd_types_mount } from "./generated/containerd/types/mount_pb.js";
import { file_containerd_types_platform } from "./generated/containerd/types/platform_pb.js";
import { file_containerd_types_sandbox } from "./generated/containerd/types/sandbox_pb.js";
import { file_containerd_v1_types_task } from "./generated/containerd/v1/types/task_pb.js";
import { file_io_containerd_cgroups_v1_metrics } from "./generated/io/containerd/cgroups/v1/metrics_pb.js";
import { file_io_containerd_cgroups_v2_metrics } from "./generated/io/containerd/cgroups/v2/metrics_pb.js";
import { file_runtimeoptions_v1_runtimeoptions } from "./generated/runtimeoptions/v1/runtimeoptions_pb.js";

/** All types of this package by their full names. */
export const registry: Registry = createRegistry(
  ...eventFiles,
  file_google_protobuf_any,
  file_google_protobuf_empty,
  file_google_protobuf_timestamp,
  file_containerd_runc_v1_oci,
  file_containerd_runhcs_stats_v1_stats,
  file_containerd_runtime_bootstrap_v1_bootstrap,
  file_containerd_runtime_sandbox_v1_sandbox,
  file_containerd_services_events_ttrpc_v1_events,
  file_containerd_services_streaming_v1_streaming,
  file_containerd_task_v2_shim,
  file_containerd_task_v3_shim,
  file_containerd_types_descriptor,
  file_containerd_types_event,
  file_containerd_types_fieldpath,
  file_containerd_types_introspection,
  file_containerd_types_metrics,
  file_containerd_types_mount,
  file_containerd_types_platform,
  file_containerd_types_sandbox,
  file_containerd_v1_types_task,
  file_io_containerd_cgroups_v1_metrics,
  file_io_containerd_cgroups_v2_metrics,
  file_runtimeoptions_v1_runtimeoptions,
);
