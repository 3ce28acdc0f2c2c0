import { fileURLToPath } from "node:url";
import { buildGoTools } from "../containerd/go-tools.js";

/** Builds dockerd and docker of the release in go.mod, and returns their folder. The first build takes some minutes. */
export function buildDocker(): string {
  return buildGoTools({
    folder: fileURLToPath(new URL("go", import.meta.url)),
    module: "github.com/docker/docker",
    cache: "docker",
    tags: ["exclude_graphdriver_btrfs", "exclude_graphdriver_zfs"],
    versionIn: [
      "github.com/docker/docker/dockerversion.Version",
      "github.com/docker/cli/cli/version.Version",
    ],
  });
}
