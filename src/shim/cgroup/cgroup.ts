import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Any } from "@bufbuild/protobuf/wkt";
import { packAny } from "../../any.js";
import { MetricsSchema as MetricsV1Schema } from "../../protos/cgroups/v1.js";
import { MetricsSchema as MetricsV2Schema } from "../../protos/cgroups/v2.js";
import { kindOf } from "../../value-kinds.js";
import { CgroupFolder } from "./folder.js";
import { metricsV1 } from "./metrics-v1.js";
import { metricsV2 } from "./metrics-v2.js";
import { OomWatch } from "./oom.js";

/**
 * A cgroup: one folder with version 2, one for each controller with version 1.
 *
 * ```ts
 * const cgroup = Cgroup.of(pid);
 * const stats = cgroup?.stats();
 * const watch = cgroup?.watchOom(() => context.publish(TASK_OOM_EVENT_TOPIC, TaskOOMSchema, { containerId: id }));
 * ```
 */
export class Cgroup {
  readonly #controllers: ReadonlyMap<string, CgroupFolder>;
  readonly #unified: CgroupFolder | undefined;

  private constructor(controllers: ReadonlyMap<string, CgroupFolder>) {
    this.#controllers = controllers;
    // A tree of version 2 beside controllers of version 1 has none itself.
    this.#unified = controllers.size === 1 ? controllers.get("") : undefined;
  }

  /** The cgroup of a process. Undefined if the process has ended. Throws a TypeError if `pid` is not a pid. */
  static of(pid: number): Cgroup | undefined {
    if (!Number.isInteger(pid) || pid <= 0) throw new TypeError(`pid must be a pid, not ${String(pid)}`);
    try {
      return new Cgroup(foldersOf(pid));
    } catch (error) {
      if (!["ENOENT", "ESRCH"].includes((error as NodeJS.ErrnoException).code ?? "")) throw error;
      return undefined;
    }
  }

  /** The cgroup of this path below the root of each tree, such as `/kubepods/pod1`, which need not exist. */
  static at(path: string): Cgroup {
    if (typeof path !== "string") throw new TypeError(`path must be a string, not ${kindOf(path)}`);
    const folders = Array.from(mountedControllers(), ([name, root]): [string, CgroupFolder] => [
      name,
      new CgroupFolder(join(root, join("/", path))),
    ]);
    return new Cgroup(new Map(folders));
  }

  /**
   * What the cgroup has used and may use: `io.containerd.cgroups.v1.Metrics` or `v2.Metrics`, for the answer of Stats.
   * What the kernel does not say is 0 or left out.
   */
  stats(): Any {
    if (this.#unified !== undefined) return packAny(MetricsV2Schema, metricsV2(this.#unified));
    return packAny(MetricsV1Schema, metricsV1(this.#controllers));
  }

  /** Moves a process into the cgroup, as the option `ShimCgroup` asks. Throws the system's error, such as ENOENT. */
  add(pid: number): void {
    const folders = this.#unified === undefined ? this.#v1() : [this.#unified];
    for (const { path } of folders) writeFileSync(join(path, "cgroup.procs"), String(pid));
  }

  /**
   * Calls `onKill` within milliseconds after the kernel's OOM killer has ended a process of the cgroup. Kills that are
   * counted together are reported once. Throws the system's error if the cgroup cannot be watched.
   */
  watchOom(onKill: () => void): OomWatch {
    if (typeof onKill !== "function") throw new TypeError(`onKill must be a function, not ${kindOf(onKill)}`);
    const unified = this.#unified;
    const memory = unified ?? this.#controllers.get("memory");
    if (memory === undefined) throw new Error("the cgroup has no memory controller");
    return unified === undefined ? OomWatch.v1(memory, onKill) : OomWatch.v2(memory, onKill);
  }

  /**
   * Makes all controllers of the root available down to this cgroup, with version 2. As in containerd's own shim, this
   * is what makes its files appear. Throws the system's error.
   */
  enableControllers(): void {
    const root = mountedControllers().get("");
    if (this.#unified === undefined || root === undefined) return;
    const names = readFileSync(join(root, "cgroup.controllers"), "utf8").trim().split(" ").filter(Boolean);
    const wanted = names.map((name) => `+${name}`).join(" ");
    const parts = this.#unified.path.slice(root.length).split("/").filter(Boolean);
    for (let depth = 0; depth < parts.length; depth++) {
      writeFileSync(join(root, ...parts.slice(0, depth), "cgroup.subtree_control"), wanted);
    }
  }

  /** The folders of version 1, each once: controllers that are mounted together share one. */
  #v1(): CgroupFolder[] {
    const folders = [...this.#controllers].filter(([name]) => name !== "").map(([, folder]) => folder);
    return [...new Map(folders.map((folder) => [folder.path, folder])).values()];
  }
}

function foldersOf(pid: number): Map<string, CgroupFolder> {
  const folders = new Map<string, CgroupFolder>();
  const roots = mountedControllers();
  // Lines such as 4:cpu,cpuacct:/path; the one of version 2 names no controller.
  for (const line of readFileSync(`/proc/${pid}/cgroup`, "utf8").trim().split("\n")) {
    const [, names = "", path = ""] = /^\d+:([^:]*):(.*)$/.exec(line) ?? [];
    for (const name of names.split(",")) {
      const root = roots.get(name);
      if (root !== undefined) folders.set(name, new CgroupFolder(join(root, path)));
    }
  }
  return folders;
}

/** Where the trees are: of version 1 by the names of their controllers, of version 2 by the empty name. */
function mountedControllers(): Map<string, string> {
  const roots = new Map<string, string>();
  for (const line of readFileSync("/proc/self/mountinfo", "utf8").split("\n")) {
    const [before = "", after = ""] = line.split(" - ");
    const path = before.split(" ")[4] ?? "";
    const [type, , options = ""] = after.split(" ");
    if (type === "cgroup2") roots.set("", path);
    // Options of the mount itself, such as rw, name no controller; nothing asks for them.
    if (type === "cgroup") for (const option of options.split(",")) roots.set(option, path);
  }
  return roots;
}
