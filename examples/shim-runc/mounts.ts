import { execFile } from "node:child_process";
import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import type { Mount } from "containerd-shim-protos/types";

const run = promisify(execFile);

/** Mounts what containerd's snapshotter has prepared, one on the other. */
export async function mountAll(mounts: readonly Mount[], rootfs: string): Promise<void> {
  if (mounts.length === 0) return;
  await mkdir(rootfs, { recursive: true, mode: 0o711 });
  for (const { type, source, target, options } of mounts) {
    // mount(8) knows bind mounts by their options, and takes a type of that name for a filesystem.
    const ofType = type === "bind" ? [] : ["--types", type];
    const withOptions = options.length > 0 ? ["--options", options.join(",")] : [];
    await run("mount", [
      "--internal-only",
      "--no-canonicalize",
      ...ofType,
      ...withOptions,
      source,
      join(rootfs, target),
    ]);
  }
}

/** Unmounts whatever is mounted at a folder and below it. */
export async function unmountAll(folder: string): Promise<void> {
  // In the order in which they were mounted; a path's spaces and the like are written in octal.
  const mounted = (await readFile("/proc/self/mountinfo", "utf8"))
    .split("\n")
    .map((line) =>
      (line.split(" ")[4] ?? "").replace(/\\(\d{3})/g, (_, code: string) =>
        String.fromCharCode(Number.parseInt(code, 8)),
      ),
    )
    .filter((path) => path === folder || path.startsWith(`${folder}/`));
  for (const path of mounted.toReversed()) await run("umount", ["--no-canonicalize", path]);
}
