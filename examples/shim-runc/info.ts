import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { create } from "@bufbuild/protobuf";
import { type Any, AnySchema } from "@bufbuild/protobuf/wkt";
import { optionsOf } from "./runtime-options.js";

const FEATURES = "types.containerd.io/opencontainers/runtime-spec/1/features/Features";

/** What this runtime and its runc can do. */
export async function runtimeInfo(options: Any | undefined) {
  const command = optionsOf(options).binaryName || "runc";
  const features = await promisify(execFile)(command, ["features"]).then(
    ({ stdout }) => create(AnySchema, { typeUrl: FEATURES, value: Buffer.from(stdout) }),
    // Not every runtime knows the command.
    () => undefined,
  );
  return { options, features };
}
