import { spawnSync } from "node:child_process";
import path from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

/** Builds the peer in Go and returns the path of its executable. */
export const buildGoPeer = (): string => buildGo("go", "go-peer");

/** Builds the Go program in a folder of `__test__/peers`, and returns the path of its executable. */
export function buildGo(folder: string, name: string): string {
  const executable = path.join(ROOT, "target", name);
  const { status } = spawnSync("go", ["build", "-mod=readonly", "-o", executable, "."], {
    cwd: path.join(ROOT, "__test__", "peers", folder),
    stdio: ["ignore", "inherit", "inherit"],
  });
  if (status !== 0) {
    throw new Error(
      `go did not build __test__/peers/${folder}: the first time, it needs the network, for the Go module proxy`,
    );
  }
  return executable;
}
