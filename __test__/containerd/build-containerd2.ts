import { fileURLToPath } from "node:url";
import { buildGoTools } from "./go-tools.js";

/**
 * Builds containerd, ctr and containerd-shim-runc-v2 of the release in go.mod, and returns their folder. The first build
 * takes a minute or two. All suites have the same programs, with CRI, since a second build without it costs more.
 */
export function buildContainerd2(): string {
  return buildGoTools({
    folder: fileURLToPath(new URL("go", import.meta.url)),
    module: "github.com/containerd/containerd/v2",
    cache: "containerd",
    tags: ["no_btrfs", "no_devmapper", "no_systemd", "no_tracing", "no_zfs"],
    versionIn: ["github.com/containerd/containerd/v2/version.Version"],
  });
}
