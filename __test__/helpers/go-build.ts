import { spawnSync } from "node:child_process";
import path from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

/** Builds the peer in Go and gives the path of its executable. */
export function buildGoPeer(): string {
  const executable = path.join(ROOT, "target", "go-peer");
  const { status } = spawnSync("go", ["build", "-mod=readonly", "-o", executable, "."], {
    cwd: path.join(ROOT, "__test__", "peers", "go"),
    stdio: ["ignore", "inherit", "inherit"],
  });
  if (status !== 0) {
    throw new Error(
      "go did not build __test__/peers/go: the first time, it needs the network, for the Go module proxy",
    );
  }
  return executable;
}
