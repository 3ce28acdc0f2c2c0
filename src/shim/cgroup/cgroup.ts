import { existsSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import type { Any } from "@bufbuild/protobuf/wkt";
import { packAny } from "../../any.js";
import { MetricsSchema as MetricsV1Schema } from "../../protos/cgroups/v1.js";
import { MetricsSchema as MetricsV2Schema } from "../../protos/cgroups/v2.js";
import { checkedString } from "../../options.js";
import { kindOf, shown } from "../../value-kinds.js";
import { writeFile } from "../write-file.js";
import { CgroupFolder } from "./folder.js";
import { metricsV1 } from "./metrics-v1.js";
import { metricsV2 } from "./metrics-v2.js";
import { OomWatch } from "./oom.js";
import { folderIn, largest, type Tree, type Trees, treesIn } from "./trees.js";

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
  /** Where the tree of version 2 is mounted. */
  readonly #root: string | undefined;

  private constructor(places: ReadonlyMap<string, Place>) {
    const controllers = new Map([...places].map(([name, { folder }]) => [name, new CgroupFolder(folder)]));
    this.#controllers = controllers;
    this.#root = places.get("")?.tree.point;
    // A tree of version 2 beside controllers of version 1 has none itself.
    this.#unified = controllers.size === 1 ? controllers.get("") : undefined;
  }

  /** The cgroup of a process. Undefined if the process has ended. Throws a TypeError if `pid` is not a pid. */
  static of(pid: number): Cgroup | undefined {
    checkPid(pid);
    return Cgroup.within(mounted(), `/proc/${pid}/cgroup`);
  }

  /**
   * The cgroup that a file such as `/proc/self/cgroup` names.
   *
   * @internal
   */
  static within(trees: Trees, file: string): Cgroup | undefined {
    try {
      return new Cgroup(placesOf(trees, file));
    } catch (error) {
      if (!["ENOENT", "ESRCH"].includes((error as NodeJS.ErrnoException).code ?? "")) throw error;
      return undefined;
    }
  }

  /** The cgroup of this path below the root of each tree, such as `/kubepods/pod1`, which need not exist. */
  static at(path: string): Cgroup {
    checkedString(path, "path");
    return Cgroup.below(mounted(), path);
  }

  /** @internal */
  static below(trees: Trees, path: string): Cgroup {
    const places = new Map<string, Place>();
    for (const [name, mounts] of trees) {
      const tree = largest(mounts);
      if (tree !== undefined) places.set(name, { tree, folder: join(tree.point, join("/", path)) });
    }
    return new Cgroup(places);
  }

  /**
   * What the cgroup has used, and its limits: `io.containerd.cgroups.v1.Metrics` or `v2.Metrics`, for the reply to Stats.
   * What the kernel does not report is 0 or left out. Throws ENOENT if the cgroup exists nowhere.
   */
  stats(): Any {
    const folders = this.#folders();
    const [first] = folders;
    if (first !== undefined && !folders.some(({ path }) => existsSync(path))) statSync(first.path);
    if (this.#unified !== undefined) return packAny(MetricsV2Schema, metricsV2(this.#unified));
    return packAny(MetricsV1Schema, metricsV1(this.#controllers));
  }

  /**
   * Moves a process into the cgroup, as containerd's option `ShimCgroup` asks: with version 1, in all trees where the
   * cgroup exists. Throws the system's error, such as ENOENT if it exists nowhere, and a TypeError if `pid` is not a pid.
   */
  add(pid: number): void {
    checkPid(pid);
    const folders = this.#folders();
    const there = folders.filter(({ path }) => existsSync(path));
    for (const { path } of there.length > 0 ? there : folders.slice(0, 1)) {
      // Nothing is created: a cgroup's files are there with it.
      writeFile(join(path, "cgroup.procs"), String(pid), { flag: "r+" });
    }
  }

  /**
   * Calls `onKill` within milliseconds after the kernel's OOM killer has ended a process of the cgroup, or of one below
   * it. Kills that the kernel counts together are reported once. With version 1, `onKill` is also called when the cgroup
   * runs out of memory while its OOM killer is disabled, so that its processes wait. Throws the system's error if the
   * cgroup cannot be watched.
   */
  watchOom(onKill: () => void): OomWatch {
    if (typeof onKill !== "function") throw new TypeError(`onKill must be a function, not ${kindOf(onKill)}`);
    const unified = this.#unified;
    const memory = unified ?? this.#controllers.get("memory");
    if (memory === undefined) throw new Error("the cgroup has no memory controller");
    return unified === undefined ? OomWatch.v1(memory, onKill) : OomWatch.v2(memory, onKill);
  }

  /**
   * With version 2, makes all controllers of the root available down to this cgroup, as containerd's own shim does. Only
   * then do the files of these controllers appear in the cgroup. Throws the system's error.
   */
  enableControllers(): void {
    const root = this.#root;
    if (this.#unified === undefined || root === undefined) return;
    const names = readFileSync(join(root, "cgroup.controllers"), "utf8").trim().split(" ").filter(Boolean);
    const wanted = names.map((name) => `+${name}`).join(" ");
    const parts = this.#unified.path.slice(root.length).split("/").filter(Boolean);
    for (let depth = 0; depth < parts.length; depth++) {
      writeFile(join(root, ...parts.slice(0, depth), "cgroup.subtree_control"), wanted);
    }
  }

  /** Its folders, each once: with version 1, controllers that are mounted together share one. */
  #folders(): CgroupFolder[] {
    if (this.#unified !== undefined) return [this.#unified];
    const folders = [...this.#controllers].filter(([name]) => name !== "").map(([, folder]) => folder);
    return [...new Map(folders.map((folder) => [folder.path, folder])).values()];
  }
}

/** The folder of a cgroup in one tree. */
interface Place {
  readonly tree: Tree;
  readonly folder: string;
}

function checkPid(pid: number): void {
  if (!Number.isInteger(pid) || pid <= 0) throw new TypeError(`pid must be a pid, not ${shown(pid)}`);
}

function placesOf(trees: Trees, file: string): Map<string, Place> {
  const places = new Map<string, Place>();
  // Lines such as 4:cpu,cpuacct:/path; the one of version 2 names no controller.
  for (const line of readFileSync(file, "utf8").trim().split("\n")) {
    const [, names = "", path = ""] = /^\d+:([^:]*):(.*)$/.exec(line) ?? [];
    for (const name of names.split(",")) {
      const place = folderIn(trees.get(name) ?? [], path);
      if (place !== undefined) places.set(name, place);
    }
  }
  return places;
}

const mounted = (): Trees => treesIn(readFileSync("/proc/self/mountinfo", "utf8"));
