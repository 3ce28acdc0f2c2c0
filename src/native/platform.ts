import { readFileSync } from "node:fs";

/** What an addon is built for. */
export interface Platform {
  /** Node's name of the system. */
  readonly os: string;
  /** Node's name of the architecture. */
  readonly arch: string;
  /** The C library that Node runs on; undefined except on Linux. */
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

/** The name of a platform in files and packages. */
export function platformName({ os, arch, libc }: Platform): string {
  if (libc === undefined) return `${os}-${arch}`;
  return `${os}-${arch}-${libc === "glibc" ? "gnu" : "musl"}`;
}

/** Asks the process itself, since both libraries may be installed on the machine. */
function currentLibc(): "glibc" | "musl" {
  const header = reportHeader();
  if (header !== undefined) return header.glibcVersionRuntime === undefined ? "musl" : "glibc";
  return mapsMusl() ? "musl" : "glibc";
}

/** The parts of Node's diagnostic report that are used here. */
interface Report {
  excludeNetwork: boolean;
  getReport(): { readonly header?: ReportHeader };
}

interface ReportHeader {
  readonly glibcVersionRuntime?: string;
}

/** The header of Node's diagnostic report; undefined if the runtime has none. */
function reportHeader(): ReportHeader | undefined {
  const report = process.report as unknown as Report | undefined;
  if (report === undefined) return undefined;
  const { excludeNetwork } = report;
  try {
    // Otherwise the report resolves the addresses of all network connections, which can take seconds.
    report.excludeNetwork = true;
    return report.getReport().header;
  } catch {
    return undefined;
  } finally {
    report.excludeNetwork = excludeNetwork;
  }
}

/** Whether musl's dynamic loader, which is also its C library, is mapped into the process. */
function mapsMusl(): boolean {
  try {
    return /\/(?:ld-musl-|libc\.musl-)[^/]*$/m.test(readFileSync("/proc/self/maps", "utf8"));
  } catch {
    return false;
  }
}
