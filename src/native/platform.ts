import { readFileSync } from "node:fs";

/** What an addon is built for. */
export interface Platform {
  /** Node's name of the system. */
  readonly os: string;
  /** Node's name of the architecture. */
  readonly arch: string;
  /** The C library that Node runs on; undefined except on Linux, and where it cannot be told. */
  readonly libc: "glibc" | "musl" | undefined;
}

/** The platforms with prebuilt addons, as in the names of their packages. */
export const PREBUILT: readonly string[] = [
  "linux-x64-gnu",
  "linux-arm64-gnu",
  "linux-x64-musl",
  "linux-arm64-musl",
];

/** The platform that this process runs on. */
export function currentPlatform(): Platform {
  const { platform: os, arch } = process;
  return { os, arch, libc: os === "linux" ? currentLibc() : undefined };
}

/** The names that a platform has in files and packages: one, or on Linux one for each C library that it may have. */
export function platformNames({ os, arch, libc }: Platform): [string, ...string[]] {
  const name = `${os}-${arch}`;
  if (os !== "linux") return [name];
  if (libc === undefined) return [`${name}-gnu`, `${name}-musl`];
  return [`${name}-${libc === "glibc" ? "gnu" : "musl"}`];
}

/**
 * Asks the process itself, since both libraries may be installed on the machine. musl's file has many names, glibc's two.
 * The kernel says behind a name that its file was deleted, as an update does while the process runs. Undefined if the process
 * may not read its own mappings. Node's diagnostic report says it too, but takes longer to write than all of this package to
 * load.
 */
function currentLibc(): "glibc" | "musl" | undefined {
  try {
    const maps = readFileSync("/proc/self/maps", "latin1");
    return /\/libc(?:\.so\.6|-2\.\d+\.so)(?: \(deleted\))?$/m.test(maps) ? "glibc" : "musl";
  } catch {
    return undefined;
  }
}
