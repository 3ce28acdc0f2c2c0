/**
 * The messages that containerd and a shim exchange when the shim starts: containerd writes `BootstrapParams` to the
 * shim's stdin, and the shim answers with `BootstrapResult` on its stdout.
 *
 * ```ts
 * import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
 * import { BootstrapParamsSchema, BootstrapResultSchema } from "containerd-shim-protos/bootstrap";
 *
 * const { instanceId } = fromBinary(BootstrapParamsSchema, bytesOfStdin);
 * const address = `unix:///run/containerd/s/${instanceId}`;
 * process.stdout.write(
 *   toBinary(BootstrapResultSchema, create(BootstrapResultSchema, { version: 3, address, protocol: "ttrpc" })),
 * );
 * ```
 *
 * @module
 */

export {
  type BootstrapParams,
  BootstrapParamsSchema,
  type Extension,
  ExtensionSchema,
  type BootstrapResult,
  BootstrapResultSchema,
  LogLevel,
  LogLevelSchema,
  Capability,
  CapabilitySchema,
} from "./generated/containerd/runtime/bootstrap/v1/bootstrap_pb.js";
