import { existsSync } from "node:fs";
import type { Any } from "@bufbuild/protobuf/wkt";
import { optionsOf } from "./runtime-options.js";
import { supportsIdMapping } from "containerd-shim-protos/shim/mount";
import { runProcess } from "containerd-shim-protos/shim/process";

const FEATURES = "types.containerd.io/opencontainers/runtime-spec/1/features/Features";

/** Where containerd has its snapshots, unless it is told otherwise. */
const SNAPSHOTS = "/var/lib/containerd";

/** What of the features of an OCI runtime is looked at here. */
interface Features {
  readonly linux?: { readonly mountExtensions?: { readonly idmap?: { enabled?: boolean } } };
}

/** What this runtime and its runc can do. */
export async function runtimeInfo(options: Any | undefined) {
  const command = optionsOf(options).binaryName || "runc";
  const { status, stdout } = await runProcess(command, ["features"], { endsWithShim: true }).catch(
    (cause) => {
      throw new Error(`cannot run ${command}: ${(cause as Error).message}`, { cause });
    },
  );
  // Not every runtime knows the command.
  if (status !== 0) return { options };
  try {
    const features = {
      typeUrl: FEATURES,
      value: Buffer.from(await possible(Buffer.from(stdout).toString())),
    };
    return { options, features };
  } catch {
    // It has printed something else.
    return { options };
  }
}

/** The features of a runtime, without user namespaces of pods where their root filesystems cannot be mounted. */
async function possible(json: string): Promise<string> {
  const features = JSON.parse(json) as Features;
  const idmap = features.linux?.mountExtensions?.idmap;
  if (idmap?.enabled !== true) return json;
  if (await supportsIdMapping(existsSync(SNAPSHOTS) ? SNAPSHOTS : "/")) return json;
  idmap.enabled = false;
  return JSON.stringify(features);
}
