/**
 * The options of containerd's runc shim, which travel as an Any: `Options` in `CreateTaskRequest.options`,
 * `CheckpointOptions` in `CheckpointTaskRequest.options`, and `ProcessDetails` in `ProcessInfo.info`.
 *
 * ```ts
 * import { connect, createClient, packAny } from "containerd-shim-protos";
 * import { OptionsSchema } from "containerd-shim-protos/runc";
 * import { Task } from "containerd-shim-protos/task/v3";
 *
 * await using connection = await connect("unix:///run/containerd/s/abc");
 * await createClient(Task, connection).create({
 *   id: "my-container",
 *   bundle: "/run/bundles/my-container",
 *   options: packAny(OptionsSchema, { binaryName: "/usr/bin/crun", systemdCgroup: true }),
 * });
 * ```
 *
 * @module
 */

export {
  type Options,
  OptionsSchema,
  type CheckpointOptions,
  CheckpointOptionsSchema,
  type ProcessDetails,
  ProcessDetailsSchema,
} from "./generated/containerd/runc/v1/oci_pb.js";
