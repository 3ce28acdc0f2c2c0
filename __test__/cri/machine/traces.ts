import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

/**
 * What containers leave on a machine of its own while they run: processes of shims and of containers, mounts of root
 * filesystems and network namespaces, and devices of the network. One line each.
 *
 * @param mountPoints the mounts to look for beside those of containerd's tasks
 */
export function traces(mountPoints: RegExp): string[] {
  return [
    ...processesOfContainers().map((pid) => `process ${pid}: ${commandLine(pid)}`),
    ...mounts()
      .filter((path) => path.startsWith("/run/containerd/io.containerd") || mountPoints.test(path))
      .map((path) => `mount ${path}`),
    ...vethDevices().map((device) => `device ${device}`),
  ];
}

/** The pids of the shims with this in their arguments. */
export function shims(word: string): number[] {
  return pids().filter(
    (pid) => commandLine(pid).includes("containerd-shim") && commandLine(pid).includes(word),
  );
}

/** The host's ends of the devices that connect containers. */
export function vethDevices(): string[] {
  return readdirSync("/sys/class/net").filter((device) => device.startsWith("veth"));
}

/** Every mount point, in the order in which they were mounted. */
export function mounts(): string[] {
  const lines = readFileSync("/proc/self/mountinfo", "utf8").split("\n").filter(Boolean);
  return lines.map((line) => line.split(" ")[4] ?? "");
}

/** Kills the processes of shims and of containers until there are none. */
export async function killContainers(): Promise<void> {
  for (let running = processesOfContainers(); running.length > 0; running = processesOfContainers()) {
    for (const pid of running) kill(pid);
    await sleep(20);
  }
}

/** Shims, by their names, and whatever runs in another pid namespace than this process. */
function processesOfContainers(): number[] {
  const own = namespaceOf("self");
  const ofShims = shims("");
  return pids().filter((pid) => {
    const namespace = namespaceOf(pid);
    return (namespace !== undefined && namespace !== own) || ofShims.includes(pid);
  });
}

/** The pid namespace of a process, if it has not ended. */
function namespaceOf(pid: number | "self"): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/ns/pid`);
  } catch {
    return undefined;
  }
}

function pids(): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number);
}

/** Empty for a process that has ended, reaped or not. */
function commandLine(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0").join(" ").trim();
  } catch {
    return "";
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}
