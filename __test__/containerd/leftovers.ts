import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, rmdirSync, rmSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";

/*
 * Everything here finds what one private containerd has made from the name of its folder alone, so that the
 * next run can also clear up after one that was killed. Nothing is ended or removed that does not name the
 * folder or bear its name.
 */

/** Folders the shims make for their sockets whatever the daemon's state folder is. */
const SHIM_SOCKET_FOLDERS = ["/run/containerd/s", "/run/containerd"];
const RUNC_ROOT = "/run/containerd/runc";
const SHARED_FOLDERS_MADE = "shared-folders-made";
const CGROUPS = "/sys/fs/cgroup";
const PREFIX = "shim-protos";

/** A parent as short as can be: a socket's path is limited to 107 bytes. */
const PARENT = "/tmp";

/** What mkdtemp gets: the owner's pid in the name tells whether a folder found later is still in use. */
export const FOLDER_TEMPLATE = join(PARENT, `${PREFIX}-${process.pid}-`);

/** The containerd namespace, which is also the name of the cgroups that runc makes below each root. */
export function namespaceOf(folder: string): string {
  return basename(folder);
}

export function taskFolder(folder: string): string {
  return join(folder, "state", "io.containerd.runtime.v2.task", namespaceOf(folder));
}

/** The shim's socket, as the bundle has it: written by the shim itself, or by containerd 2. */
export function shimAddress(folder: string, id: string): string {
  const bundle = join(taskFolder(folder), id);
  const bootstrap = join(bundle, "bootstrap.json");
  if (!existsSync(bootstrap)) return readFileSync(join(bundle, "address"), "utf8").trim();
  return (JSON.parse(readFileSync(bootstrap, "utf8")) as { address: string }).address;
}

/**
 * To be called before the first shim starts: removal later takes only what was not there before, or what another
 * run of these tests has made and leaves to the last of them.
 */
export function rememberSharedFolders(folder: string): void {
  const madeByOthers = new Set(foldersOfRuns().flatMap(({ path }) => sharedFoldersMade(path)));
  const made = SHIM_SOCKET_FOLDERS.filter((path) => !existsSync(path) || madeByOthers.has(path));
  writeFileSync(join(folder, SHARED_FOLDERS_MADE), made.join("\n"));
}

/** What is still there of a containerd, one line each. Empty when it is gone for good. */
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
 * Ends and removes all that `leftovers` can find, in the order in which it lets go of each other. Waits without the
 * event loop, so that a process that is about to end can call it.
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
  // Deepest first, for one mount may stand on another.
  for (const path of mountsBelow(folder).toReversed()) execFileSync("umount", [path]);
  for (const path of cgroupsOf(folder)) removeCgroup(path, deadline);
  for (const path of sockets) rmSync(path, { force: true });
  // What a shim is not told to keep elsewhere, runc keeps here; the folder of a namespace stays when it is empty.
  removeIfEmpty(join(RUNC_ROOT, namespaceOf(folder)));
  removeIfEmpty(RUNC_ROOT);
  for (const path of sharedFoldersMade(folder)) removeIfEmpty(path);
  rmSync(folder, { recursive: true, force: true });
}

/** Clears up after runs that were killed before they could: those whose test process is no more. */
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

/** In the order in which they can be removed. */
function sharedFoldersMade(folder: string): string[] {
  const file = join(folder, SHARED_FOLDERS_MADE);
  return existsSync(file) ? readFileSync(file, "utf8").split("\n").filter(Boolean) : [];
}

/** containerd, its shims, runc and ctr by their arguments; the containers' processes by their cgroup. */
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

/** With cgroup v1 one in every hierarchy, with v2 one in all: ctr gives a container the path /namespace/id. */
function cgroupsOf(folder: string): string[] {
  const name = namespaceOf(folder);
  return [CGROUPS, ...subfolders(CGROUPS)].map((root) => join(root, name)).filter((path) => existsSync(path));
}

function processesInCgroup(path: string): number[] {
  const own = unlessGone("", () => readFileSync(join(path, "cgroup.procs"), "utf8"));
  return [...own.split("\n").filter(Boolean).map(Number), ...subfolders(path).flatMap(processesInCgroup)];
}

/** With cgroup v1 a paused process does not even die before it is woken; v2 has no such file and no such trouble. */
function thaw(path: string): void {
  for (const child of subfolders(path)) thaw(child);
  const file = join(path, "freezer.state");
  if (existsSync(file)) writeFileSync(file, "THAWED");
}

/** The files in a cgroup cannot be removed and need not be: only its folders. */
function removeCgroup(path: string, deadline: number): void {
  for (const child of subfolders(path)) removeCgroup(child, deadline);
  for (;;) {
    try {
      return unlessGone(undefined, () => rmdirSync(path));
    } catch (error) {
      // A process that has just been killed is not listed any more, but may hold its cgroup for a moment.
      if ((error as NodeJS.ErrnoException).code !== "EBUSY" || Date.now() > deadline) throw error;
    }
    pause();
  }
}

/** For a cgroup that a runc still at work removes under our hands. */
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

/** In the order in which they were mounted. */
function mountsBelow(folder: string): string[] {
  return readFileSync("/proc/self/mountinfo", "utf8")
    .split("\n")
    .map((line) => line.split(" ")[4] ?? "")
    .filter((path) => path.startsWith(`${folder}/`));
}

/** Only those that our own bundles name: the folder is shared by all daemons. */
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
    // Somebody else uses it by now, or has removed it.
    if (!["ENOTEMPTY", "ENOENT"].includes((error as NodeJS.ErrnoException).code ?? "")) throw error;
  }
}
