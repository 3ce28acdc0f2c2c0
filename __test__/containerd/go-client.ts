import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { Containerd } from "./containerd.js";
import type { Shim } from "./shims.js";

const MODULE = fileURLToPath(new URL("go", import.meta.url));
const PROGRAM = fileURLToPath(new URL("../../target/run-with-options", import.meta.url));

/** Builds the program of {@link runWithOptions}. */
export function buildRunWithOptions(): void {
  const args = [
    "build",
    "-mod=readonly",
    "-trimpath",
    "-buildvcs=false",
    "-o",
    PROGRAM,
    "./run-with-options",
  ];
  const env = { ...process.env, CGO_ENABLED: "0" };
  execFileSync("go", args, { cwd: MODULE, env, stdio: ["ignore", "inherit", "inherit"] });
}

/** Runs a container in the background, with runc's options as JSON: containerd's own client passes them on to the shim. */
export function runWithOptions(
  { folder, ctr }: Containerd,
  { runtime }: Shim,
  id: string,
  options: object,
  args: readonly string[],
): void {
  const all = [ctr.address, ctr.namespace, runtime, JSON.stringify(options), `${folder}/rootfs`, id, ...args];
  execFileSync(PROGRAM, all, { stdio: ["ignore", "inherit", "pipe"] });
}
