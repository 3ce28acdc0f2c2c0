import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Any } from "@bufbuild/protobuf/wkt";
import { packAny } from "containerd-shim-protos";
import { MetricsSchema as MetricsV1Schema } from "containerd-shim-protos/cgroups/v1";
import { MetricsSchema as MetricsV2Schema } from "containerd-shim-protos/cgroups/v2";
import { CgroupFolder } from "./cgroup-files.js";
import { metricsV1 } from "./metrics-v1.js";
import { metricsV2 } from "./metrics-v2.js";

/** The cgroup of a container: one folder with version 2, one for each controller with version 1. */
export class Cgroup {
  readonly #controllers: ReadonlyMap<string, CgroupFolder>;
  readonly #unified: CgroupFolder | undefined;
  #oomKills = 0n;

  /** The cgroup of a process. Undefined if it has ended. */
  static of(pid: number): Cgroup | undefined {
    try {
      return new Cgroup(pid);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
      return undefined;
    }
  }

  private constructor(pid: number) {
    const controllers = new Map<string, CgroupFolder>();
    const roots = mountedControllers();
    // Lines such as 4:cpu,cpuacct:/path; the one of version 2 names no controller.
    for (const line of readFileSync(`/proc/${pid}/cgroup`, "utf8").trim().split("\n")) {
      const [, names = "", path = ""] = /^\d+:([^:]*):(.*)$/.exec(line) ?? [];
      for (const name of names.split(",")) {
        const root = roots.get(name);
        if (root !== undefined) controllers.set(name, new CgroupFolder(join(root, path)));
      }
    }
    this.#controllers = controllers;
    // Beside controllers of version 1 a tree of version 2 has none.
    this.#unified = controllers.size === 1 ? controllers.get("") : undefined;
  }

  /** What the container has used and may use. */
  stats(): Any {
    if (this.#unified !== undefined) return packAny(MetricsV2Schema, metricsV2(this.#unified));
    return packAny(MetricsV1Schema, metricsV1(this.#controllers));
  }

  /** Whether the kernel has killed for want of memory since this was last asked. */
  hasNewOomKills(): boolean {
    const values =
      this.#unified?.pairs("memory.events") ?? this.#controllers.get("memory")?.pairs("memory.oom_control");
    const { oom_kill: kills = 0n } = values ?? {};
    const news = kills > this.#oomKills;
    this.#oomKills = kills;
    return news;
  }
}

/** Where the trees are: of version 1 by the names of their controllers, of version 2 by the empty name. */
function mountedControllers(): Map<string, string> {
  const roots = new Map<string, string>();
  for (const line of readFileSync("/proc/self/mountinfo", "utf8").split("\n")) {
    const [before = "", after = ""] = line.split(" - ");
    const path = before.split(" ")[4] ?? "";
    const [type, , options = ""] = after.split(" ");
    if (type === "cgroup2") roots.set("", path);
    if (type === "cgroup") for (const option of options.split(",")) roots.set(option, path);
  }
  return roots;
}
