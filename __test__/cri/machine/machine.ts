import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

const CGROUPS = "/sys/fs/cgroup";
const PREFIX = "shim-protos-machine";
const INSIDE = fileURLToPath(new URL("inside.sh", import.meta.url));
const NAMESPACES = ["--cgroup", "--ipc", "--mount", "--net", "--pid", "--uts"];
const SIGNALS = ["SIGHUP", "SIGINT", "SIGTERM"] as const;

/**
 * Runs a command as if on a machine of its own, with a network, mounts, processes, cgroups and a /run of its own, and
 * resolves to its exit code. When it ends, or when this process does, the kernel ends and removes all that it has
 * started, mounted and set up; the cgroups are removed here, or by the next run.
 */
export async function runOnMachine(command: readonly string[], env: NodeJS.ProcessEnv): Promise<number> {
  for (const name of abandoned()) await removeCgroups(name);
  const name = `${PREFIX}-${process.pid}`;
  const enter = makeCgroups(name).map((path) => `echo $$ > '${path}/cgroup.procs'; `);
  // The machine ends with its first process, that one with unshare, and unshare with this process.
  const unshare = `exec setpriv --pdeathsig KILL unshare ${NAMESPACES.join(" ")} --fork --kill-child --mount-proc`;
  const script = `set -e; ${enter.join("")}${unshare} sh '${INSIDE}' "$@"`;
  const child = spawn("sh", ["-c", script, "sh", ...command], { env, stdio: "inherit" });
  // Its end is the machine's, and then this function's.
  const kill = () => child.kill("SIGKILL");
  for (const signal of SIGNALS) process.on(signal, kill);
  try {
    const [code] = (await once(child, "exit")) as [number | null];
    return code ?? 1;
  } finally {
    for (const signal of SIGNALS) process.off(signal, kill);
    await removeCgroups(name);
  }
}

/** With cgroup v1 one in every hierarchy, with v2 one in all. */
function hierarchies(): string[] {
  const folders = readdirSync(CGROUPS, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  return existsSync(join(CGROUPS, "cgroup.procs"))
    ? [CGROUPS]
    : folders.map(({ name }) => join(CGROUPS, name)).filter((path) => existsSync(join(path, "cgroup.procs")));
}

function makeCgroups(name: string): string[] {
  return hierarchies().map((root) => {
    const path = join(root, name);
    mkdirSync(path);
    // No process enters a cpuset of v1 before it has both.
    for (const file of ["cpuset.mems", "cpuset.cpus"]) {
      if (existsSync(join(path, file))) writeFileSync(join(path, file), readFileSync(join(root, file)));
    }
    return path;
  });
}

/** The cgroups of runs that could not remove them. */
function abandoned(): string[] {
  const names = new Set(hierarchies().flatMap((root) => readdirSync(root)));
  return [...names].filter((name) => {
    const owner = new RegExp(`^${PREFIX}-(\\d+)$`).exec(name)?.[1];
    return owner !== undefined && !existsSync(`/proc/${owner}`);
  });
}

async function removeCgroups(name: string): Promise<void> {
  for (const root of hierarchies()) {
    const path = join(root, name);
    for (let tries = 0; existsSync(path); tries++) {
      try {
        removeTree(path);
      } catch (error) {
        // The processes of a machine that has just ended may not have left yet.
        if (tries === 100) throw error;
        await sleep(100);
      }
    }
  }
}

/** The files in a cgroup cannot be removed and need not be: only its folders. */
function removeTree(path: string): void {
  for (const entry of readdirSync(path, { withFileTypes: true })) {
    if (entry.isDirectory()) removeTree(join(path, entry.name));
  }
  rmdirSync(path);
}
