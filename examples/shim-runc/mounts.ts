import { mkdirSync } from "node:fs";
import { mountAll as mountInside } from "containerd-shim-protos/shim/mount";
import type { Mount } from "containerd-shim-protos/types";

export { unmountAll } from "containerd-shim-protos/shim/mount";

/** Mounts what containerd's snapshotter has prepared, in a folder that is made if it is missing. */
export async function mountAll(mounts: readonly Mount[], rootfs: string): Promise<void> {
  if (mounts.length === 0) return;
  mkdirSync(rootfs, { recursive: true, mode: 0o711 });
  await mountInside(mounts, rootfs);
}
