import { readFileSync } from "node:fs";
import { startTime } from "../shim/system.js";

/** What the command line of a shim's process says. */
export interface ShimCommandLine {
  readonly id: string;
  readonly namespace: string;
  /** The gRPC socket of the containerd that started it; empty if it names none. */
  readonly containerd: string;
}

/** Reads the command line of a shim; undefined if the process is none, has ended, or is hidden. */
export function commandLineOf(pid: number): ShimCommandLine | undefined {
  let words: string[];
  try {
    words = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
  } catch {
    return undefined;
  }
  const flag = (name: string) => {
    const at = words.findIndex((word) => word === `-${name}` || word === `--${name}`);
    if (at > 0) return words[at + 1] ?? "";
    const joined = words.find((word) => word.startsWith(`-${name}=`) || word.startsWith(`--${name}=`));
    return joined?.slice(joined.indexOf("=") + 1) ?? "";
  };
  const [id, namespace] = [flag("id"), flag("namespace")];
  return id === "" || namespace === "" ? undefined : { id, namespace, containerd: flag("address") };
}

/** Linux reports times to user space in hundredths of a second, whatever its own clock does. */
const TICKS_PER_SECOND = 100;

/** How many seconds a process has been running; null if this process may not see it. */
export function uptimeOf(pid: number): number | null {
  try {
    const sinceBoot = Number(readFileSync("/proc/uptime", "utf8").split(" ")[0]);
    const seconds = sinceBoot - Number(startTime(pid)) / TICKS_PER_SECOND;
    // To the precision of the kernel.
    return Number.isFinite(seconds) ? Math.max(Math.round(seconds * 100) / 100, 0) : null;
  } catch {
    return null;
  }
}
