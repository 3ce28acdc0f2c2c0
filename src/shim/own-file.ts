import { loadNative } from "../native/addon.js";
import { packedAddon } from "../native/load.js";
import type { ShimLog } from "./log.js";
import { errorName } from "./system.js";

/**
 * Lets a packed shim live on when its file is overwritten in place, as `cp` does with the next version. The addon is mapped
 * from the file, so every shim that runs would die. Where the kernel has no leases, such as on NFS, nothing can be done.
 */
export function outliveOwnFile(log: ShimLog): void {
  const [, fd] = /\/fd\/(\d+)$/.exec(packedAddon()?.file ?? "") ?? [];
  if (fd === undefined || loadNative().watchOwnFile(Number(fd)) < 0) return;
  process.on("SIGIO", () => {
    const result = loadNative().outliveOwnFile();
    if (result === 0) return;
    const error = result < 0 ? { error: errorName(result) } : {};
    log.warn("the shim's file is being overwritten; replace it by a rename instead, as install does", error);
  });
}
