/**
 * The options that containerd's CRI plugin and Docker send to a runtime other than `io.containerd.runc.v2`: those of the
 * runtime's handler, as TOML. A shim finds them as an Any in `CreateTaskRequest.options`.
 *
 * ```ts
 * import { unpackAny } from "containerd-shim-protos";
 * import { OptionsSchema } from "containerd-shim-protos/runtimeoptions";
 *
 * const options = request.options && unpackAny(request.options, OptionsSchema);
 * const toml = new TextDecoder().decode(options?.configBody);
 * ```
 *
 * @module
 */

export { type Options, OptionsSchema } from "./generated/runtimeoptions/v1/runtimeoptions_pb.js";
