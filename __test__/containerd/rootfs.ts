import { closeSync, copyFileSync, mkdirSync, openSync, readSync, symlinkSync } from "node:fs";
import { join } from "node:path";

const CANDIDATES = ["/bin/busybox", "/usr/bin/busybox", "/usr/local/bin/busybox", "/usr/sbin/busybox"];
const APPLETS = ["sh", "sleep", "echo", "cat", "true", "stty", "seq", "kill", "head", "dd", "mount", "touch"];
const PT_INTERP = 3;

/** A busybox that runs without a libc. Debian's package `busybox` has a dynamic one under the same name. */
export function findStaticBusybox(): string | undefined {
  return CANDIDATES.find(isStaticElf);
}

/**
 * Makes a root filesystem of one file and its names. containerd gets it as a plain folder (`ctr run --rootfs`), so no
 * image, registry, snapshotter or overlayfs is needed.
 */
export function makeRootfs(folder: string): void {
  const busybox = findStaticBusybox();
  if (busybox === undefined) throw new Error("there is no static busybox on this machine");
  // runc would make missing mount points, but its error is less clear if it cannot.
  for (const name of ["bin", "dev", "etc", "proc", "run", "sys", "tmp"]) {
    mkdirSync(join(folder, name), { recursive: true });
  }
  copyFileSync(busybox, join(folder, "bin", "busybox"));
  for (const applet of APPLETS) symlinkSync("busybox", join(folder, "bin", applet));
}

/** A program header of the type PT_INTERP names the dynamic loader. A static program has none. */
function isStaticElf(path: string): boolean {
  let file: number;
  try {
    file = openSync(path, "r");
  } catch {
    return false;
  }
  try {
    // Today's linkers write the program headers right after the 64-byte file header.
    const bytes = Buffer.alloc(4096);
    const length = readSync(file, bytes, 0, bytes.length, 0);
    const is64BitLittleEndian = bytes.readUInt32BE(0) === 0x7f454c46 && bytes[4] === 2 && bytes[5] === 1;
    if (!is64BitLittleEndian) return false;
    const start = Number(bytes.readBigUInt64LE(32));
    const size = bytes.readUInt16LE(54);
    const count = bytes.readUInt16LE(56);
    if (start + size * count > length) return false;
    return Array.from({ length: count }, (_, i) => bytes.readUInt32LE(start + size * i)).every(
      (type) => type !== PT_INTERP,
    );
  } finally {
    closeSync(file);
  }
}
