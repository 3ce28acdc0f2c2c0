import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, rmdirSync, rmSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";

/*
 * The functions in this file find what one private containerd has made from the name of its folder alone, so that
 * the next run can clean up after one that was killed. Only processes and files that name the folder, or have its
 * name, are ended or removed.
 */

/** Folders that the shims make for their sockets, whatever the daemon's state folder. */
const SHIM_SOCKET_FOLDERS = ["/run/containerd/s", "/run/containerd"];
const RUNC_ROOT = "/run/containerd/runc";
const SHARED_FOLDERS_MADE = "shared-folders-made";
const CGROUPS = "/sys/fs/cgroup";
const PREFIX = "shim-protos";

/** The shortest parent possible, because a socket's path is limited to 107 bytes. */
const PARENT = "/tmp";

/** The prefix for mkdtemp. The owner's pid in the name shows whether a folder found later is still in use. */
export const FOLDER_TEMPLATE = join(PARENT, `${PREFIX}-${process.pid}-`);

/** The containerd namespace, which is also the name of the cgroups that runc makes below each root. */
export function namespaceOf(folder: string): string {
  return basename(folder);
}

export function taskFolder(folder: string): string {
  return join(folder, "state", "io.containerd.runtime.v2.task", namespaceOf(folder));
}

/** The address of the shim's socket in the bundle, written by the shim itself or by containerd 2. */
export function shimAddress(folder: string, id: string): string {
  const bundle = join(taskFolder(folder), id);
  const bootstrap = join(bundle, "bootstrap.json");
  if (!existsSync(bootstrap)) return readFileSync(join(bundle, "address"), "utf8").trim();
  return (JSON.parse(readFileSync(bootstrap, "utf8")) as { address: string }).address;
}

/**
 * Must be called before the first shim starts: only folders that did not exist before are removed later, or those that
 * another run of these tests has made and leaves to the last run.
 */
export function rememberSharedFolders(folder: string): void {
  const madeByOthers = new Set(foldersOfRuns().flatMap(({ path }) => sharedFoldersMade(path)));
  const made = SHIM_SOCKET_FOLDERS.filter((path) => !existsSync(path) || madeByOthers.has(path));
  writeFileSync(join(folder, SHARED_FOLDERS_MADE), made.join("\n"));
}

/** What is left of a containerd, one line each. Empty when everything has gone. */
export function leftovers(folder: string): string[] {
  return [
    ...processesOf(folder).map((pid) => `process ${pid}: ${commandLine(pid).join(" ")}`),
    ...mountsBelow(folder).map((path) => `mount ${path}`),
    ...cgroupsOf(folder).map((path) => `cgroup ${path}`),
    ...shimSockets(folder).map((path) => `socket ${path}`),
    ...(existsSync(folder) ? [`folder ${folder}`] : []),
  ];
}

/**
 * Ends and removes everything that `leftovers` finds, in the order of dependence. Waits without the event loop, so that
 * a process that is about to end can call it.
 */
export function removeLeftovers(folder: string): void {
  const sockets = shimSockets(folder);
  const deadline = Date.now() + 10_000;
  for (const path of cgroupsOf(folder)) thaw(path);
  for (let pids = processesOf(folder); pids.length > 0; pids = processesOf(folder)) {
    if (Date.now() > deadline) throw new Error(`will not end: ${leftovers(folder).join("; ")}`);
    for (const pid of pids) killIfThere(pid);
    pause();
  }
  // Deepest first, because one mount may be on another.
  for (const path of mountsBelow(folder).toReversed()) execFileSync("umount", [path]);
  for (const path of cgroupsOf(folder)) removeCgroup(path, deadline);
  for (const path of sockets) rmSync(path, { force: true });
  // runc keeps its state here unless a shim says otherwise, and leaves the empty folder of a namespace.
  removeIfEmpty(join(RUNC_ROOT, namespaceOf(folder)));
  removeIfEmpty(RUNC_ROOT);
  for (const path of sharedFoldersMade(folder)) removeIfEmpty(path);
  rmSync(folder, { recursive: true, force: true });
}

/** Cleans up after killed runs, whose test process no longer exists. */
export function removeAbandoned(): void {
  for (const { path, owner } of foldersOfRuns()) {
    if (!existsSync(`/proc/${owner}`)) removeLeftovers(path);
  }
}

function foldersOfRuns(): { path: string; owner: string }[] {
  return readdirSync(PARENT).flatMap((name) => {
    const owner = new RegExp(`^${PREFIX}-(\\d+)-\\w{6}$`).exec(name)?.[1];
    return owner === undefined ? [] : [{ path: join(PARENT, name), owner }];
  });
}

/** The folders, in the order in which they can be removed. */
function sharedFoldersMade(folder: string): string[] {
  const file = join(folder, SHARED_FOLDERS_MADE);
  return existsSync(file) ? readFileSync(file, "utf8").split("\n").filter(Boolean) : [];
}

/** Finds containerd, its shims, runc and ctr by their arguments, and the containers' processes by their cgroup. */
function processesOf(folder: string): number[] {
  const byArguments = readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      const [program = "", ...args] = commandLine(pid);
      const isOfContainerd = /^(containerd(-shim-.+)?|ctr|runc)$/.test(basename(program));
      return isOfContainerd && args.some((arg) => arg === folder || arg.startsWith(`${folder}/`));
    });
  const byCgroup = cgroupsOf(folder).flatMap(processesInCgroup);
  return [...new Set([...byArguments, ...byCgroup])];
}

/** Empty for a process that has ended, reaped or not. */
function commandLine(pid: number): string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0").slice(0, -1);
  } catch {
    return [];
  }
}

function killIfThere(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

/** One in each hierarchy with cgroup v1, one in all with v2: ctr gives a container the path /namespace/id. */
function cgroupsOf(folder: string): string[] {
  const name = namespaceOf(folder);
  return [CGROUPS, ...subfolders(CGROUPS)].map((root) => join(root, name)).filter((path) => existsSync(path));
}

function processesInCgroup(path: string): number[] {
  const own = unlessGone("", () => readFileSync(join(path, "cgroup.procs"), "utf8"));
  return [...own.split("\n").filter(Boolean).map(Number), ...subfolders(path).flatMap(processesInCgroup)];
}

/** With cgroup v1 a paused process dies only once it is thawed. v2 has neither this file nor this problem. */
function thaw(path: string): void {
  for (const child of subfolders(path)) thaw(child);
  const file = join(path, "freezer.state");
  if (existsSync(file)) writeFileSync(file, "THAWED");
}

/** Removes the folders of a cgroup. Its files cannot be removed, and need not be. */
function removeCgroup(path: string, deadline: number): void {
  for (const child of subfolders(path)) removeCgroup(child, deadline);
  for (;;) {
    try {
      return unlessGone(undefined, () => rmdirSync(path));
    } catch (error) {
      // A process that was just killed is no longer listed, but may hold its cgroup for a moment.
      if ((error as NodeJS.ErrnoException).code !== "EBUSY" || Date.now() > deadline) throw error;
    }
    pause();
  }
}

/** For a cgroup that a running runc may remove at the same time. */
function unlessGone<T>(otherwise: T, use: () => T): T {
  try {
    return use();
  } catch (error) {
    if (!["ENOENT", "ENODEV"].includes((error as NodeJS.ErrnoException).code ?? "")) throw error;
    return otherwise;
  }
}

function pause(): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 20);
}

function subfolders(path: string): string[] {
  return unlessGone([], () => readdirSync(path, { withFileTypes: true }))
    .filter((entry) => entry.isDirectory())
    .map((entry) => join(path, entry.name));
}

/** The mounts, in the order in which they were mounted. */
function mountsBelow(folder: string): string[] {
  return readFileSync("/proc/self/mountinfo", "utf8")
    .split("\n")
    .map((line) => line.split(" ")[4] ?? "")
    .filter((path) => path.startsWith(`${folder}/`));
}

/** Only the sockets that this containerd's bundles name, because all daemons share the folder. */
function shimSockets(folder: string): string[] {
  if (!existsSync(taskFolder(folder))) return [];
  return readdirSync(taskFolder(folder))
    .filter((id) =>
      ["address", "bootstrap.json"].some((name) => existsSync(join(taskFolder(folder), id, name))),
    )
    .map((id) => shimAddress(folder, id).replace(/^unix:\/\//, ""))
    .filter((path) => existsSync(path));
}

function removeIfEmpty(path: string): void {
  try {
    rmdirSync(path);
  } catch (error) {
    // Someone else uses it by now, or has removed it.
    if (!["ENOTEMPTY", "ENOENT"].includes((error as NodeJS.ErrnoException).code ?? "")) throw error;
  }
}
