import { spawnSync } from "node:child_process";
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { unpackAny } from "containerd-shim-protos";
import { MetricsSchema as MetricsV1Schema } from "containerd-shim-protos/cgroups/v1";
import { MetricsSchema } from "containerd-shim-protos/cgroups/v2";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { Cgroup } from "../../src/shim/cgroup/cgroup.js";
import { treesIn } from "../../src/shim/cgroup/trees.js";
import { Script } from "../helpers/script.js";
import { temporaryPath } from "../helpers/temp.js";

/** Makes files below a new folder, and returns its path. The kernel would have more of them. */
function tree(files: Readonly<Record<string, string>>): string {
  const root = temporaryPath();
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, name)), { recursive: true });
    writeFileSync(join(root, name), text);
  }
  return root;
}

/** A tree of version 2 as if it were mounted there. */
const mountedAt = (point: string) => new Map([["", [{ point, top: "/" }]]]);

const read = (root: string, name: string) => readFileSync(join(root, name), "utf8");

describe("a cgroup of version 2", () => {
  const make = () =>
    tree({
      "cgroup.controllers": "cpu io memory pids\n",
      "cgroup.subtree_control": "",
      "pods/cgroup.subtree_control": "",
      "pods/one/cgroup.subtree_control": "",
      "pods/one/cgroup.procs": "",
      "pods/one/pids.current": "3\n",
      "pods/one/pids.max": "max\n",
      "pods/one/cpu.stat": "usage_usec 1000\nuser_usec 600\nsystem_usec 400\nnr_periods 2\n",
      "pods/one/memory.current": "4096\n",
      "pods/one/memory.max": "8192\n",
      "pods/one/memory.stat": "anon 1024\nfile 2048\n",
      "pods/one/memory.events": "low 0\nhigh 1\nmax 2\noom 3\noom_kill 4\n",
      "pods/one/memory.pressure": "some avg10=0.50 avg60=0.25 avg300=0.00 total=77\n",
      "pods/one/io.stat": "253:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0\n",
      "pods/one/hugetlb.2MB.current": "2097152\n",
      "pods/one/hugetlb.2MB.max": "max\n",
      self: "0::/pods/one\n",
    });
  const cgroupOf = (root: string) => Cgroup.within(mountedAt(root), join(root, "self"))!;

  test("is found by what /proc says, and counts what the kernel's files say", () => {
    const metrics = unpackAny(cgroupOf(make()).stats(), MetricsSchema);
    expect(metrics).toMatchObject({
      pids: { current: 3n, limit: 2n ** 64n - 1n },
      cpu: { usageUsec: 1000n, userUsec: 600n, systemUsec: 400n, nrPeriods: 2n },
      memory: { usage: 4096n, usageLimit: 8192n, anon: 1024n, file: 2048n, swapUsage: 0n },
      memoryEvents: { low: 0n, high: 1n, max: 2n, oom: 3n, oomKill: 4n },
      io: { usage: [{ major: 253n, minor: 0n, rbytes: 10n, wbytes: 20n, rios: 1n, wios: 2n }] },
      hugetlb: [{ pagesize: "2MB", current: 2097152n, max: 2n ** 64n - 1n }],
    });
    expect(metrics?.memory?.psi?.some).toMatchObject({ avg10: 0.5, avg60: 0.25, total: 77n });
  });

  const unified = /^\S+ (\S+) cgroup2 /m.exec(readFileSync("/proc/mounts", "utf8"))?.[1];
  const makes = unified !== undefined && process.geteuid?.() === 0;

  test.skipIf(!makes)("counts the rest where the kernel has turned off what a file is for", () => {
    const root = make();
    const threads = join(unified ?? "", `shim-test-${process.pid}`);
    mkdirSync(threads);
    onTestFinished(() => rmdirSync(threads));
    // The kernel answers so for the processes of a cgroup of threads, too.
    writeFileSync(join(threads, "cgroup.type"), "threaded");
    const file = join(threads, "cgroup.procs");
    expect(() => readFileSync(file)).toThrow("ENOTSUP");
    for (const name of ["cpu.pressure", "memory.pressure", "io.pressure"]) {
      rmSync(join(root, "pods/one", name), { force: true });
      symlinkSync(file, join(root, "pods/one", name));
    }
    const metrics = unpackAny(cgroupOf(root).stats(), MetricsSchema);
    expect(metrics).toMatchObject({ cpu: { usageUsec: 1000n }, memory: { usage: 4096n } });
    expect(metrics?.memory?.psi).toBeUndefined();
  });

  test("takes a process, and says that it does not exist without making anything", () => {
    const root = make();
    Cgroup.below(mountedAt(root), "/pods/one").add(42);
    expect(read(root, "pods/one/cgroup.procs")).toBe("42");
    mkdirSync(join(root, "empty"));
    for (const path of ["/none", "/empty", "/../none"]) {
      expect(() => Cgroup.below(mountedAt(root), path).add(42)).toThrow(/ENOENT/);
    }
    expect(existsSync(join(root, "empty", "cgroup.procs"))).toBe(false);
  });

  test("says which of its files takes nothing", () => {
    const root = tree({ "cgroup.controllers": "" });
    symlinkSync("/dev/full", join(root, "cgroup.procs"));
    expect(() => Cgroup.below(mountedAt(root), "/").add(process.pid)).toThrow(`write '${root}/cgroup.procs'`);
  });

  test("gets the root's controllers from every folder above it", () => {
    const root = make();
    cgroupOf(root).enableControllers();
    for (const name of ["cgroup.subtree_control", "pods/cgroup.subtree_control"]) {
      expect(read(root, name)).toBe("+cpu +io +memory +pids");
    }
    expect(read(root, "pods/one/cgroup.subtree_control")).toBe("");
  });

  test("reports an OOM kill once, when its file changes or it is looked at", async () => {
    const root = make();
    const onKill = vi.fn<() => void>();
    const watch = cgroupOf(root).watchOom(onKill);
    const file = join(root, "pods/one/memory.events");
    const kills = (count: number) => writeFileSync(file, `oom ${count}\noom_kill ${count}\n`);
    kills(5);
    await vi.waitFor(() => expect(onKill).toHaveBeenCalledTimes(1));
    appendFileSync(file, "oom_group_kill 0\n");
    watch.look();
    expect(onKill).toHaveBeenCalledTimes(1);
    kills(7);
    watch.look();
    await vi.waitFor(() => expect(onKill).toHaveBeenCalledTimes(2));
    watch.close();
    kills(8);
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(onKill).toHaveBeenCalledTimes(2);
  });

  test("is none of a process that has ended", () => {
    expect(Cgroup.within(new Map(), "/proc/4194305/cgroup")).toBeUndefined();
  });
});

describe("a cgroup of version 1", () => {
  const make = () => {
    const root = tree({
      "memory/shims/cgroup.procs": "",
      "pids/shims/cgroup.procs": "",
      "pids/shims/pids.current": "2\n",
      "cpu/cgroup.procs": "",
      "unified/shims/cgroup.procs": "",
    });
    const mounted = (name: string) => [{ point: join(root, name), top: "/" }];
    const names = ["memory", "pids", "cpu"].map((name) => [name, mounted(name)] as const);
    return { root, roots: new Map([...names, ["", mounted("unified")] as const]) };
  };

  test("takes a process in the trees where it exists", () => {
    const { root, roots } = make();
    Cgroup.below(roots, "/shims").add(42);
    expect(read(root, "memory/shims/cgroup.procs")).toBe("42");
    expect(read(root, "pids/shims/cgroup.procs")).toBe("42");
    expect(existsSync(join(root, "cpu/shims"))).toBe(false);
    expect(read(root, "unified/shims/cgroup.procs")).toBe("");
    expect(() => Cgroup.below(roots, "/none").add(42)).toThrow(/ENOENT/);
  });

  test("is found in the first mount that has it, also in one of a part of its tree", () => {
    const root = tree({
      "whole/pods/one/pids.current": "1\n",
      "a part/one/pids.current": "2\n",
      "again/pods/one/pids.current": "3\n",
      self: "5:pids:/pods/one\n",
    });
    const line = (top: string, point: string) =>
      `64 63 0:29 ${top} ${join(root, point)} rw,nosuid shared:1 - cgroup cgroup rw,pids`;
    const current = (...lines: string[]) => {
      const cgroup = Cgroup.within(treesIn(lines.join("\n")), join(root, "self"));
      return unpackAny(cgroup!.stats(), MetricsV1Schema)?.pids?.current;
    };
    expect(current(line("/", "whole"), line("/pods", "a\\040part"), line("/", "again"))).toBe(1n);
    expect(current(line("/other", "again"), line("/pods", "a\\040part"))).toBe(2n);
    expect(current(line("/pods/on", "whole"), line("/", "again"))).toBe(3n);
  });

  test("that has been removed has no numbers", () => {
    const { root, roots } = make();
    const cgroup = Cgroup.below(roots, "/shims");
    for (const name of ["memory", "pids"]) rmSync(join(root, name, "shims"), { recursive: true });
    expect(() => cgroup.stats()).toThrow(/ENOENT/);
  });

  const mounts = spawnSync("unshare", ["--mount", "true"]).status === 0;

  test.skipIf(!mounts)("counts where /proc shows nothing but processes", async () => {
    const root = tree({ "box/blkio.throttle.io_serviced": "253:0 Read 7\nTotal 7\n" });
    const source = `
      import { Cgroup } from "containerd-shim-protos/shim/cgroup";
      import { MetricsSchema } from "containerd-shim-protos/cgroups/v1";
      const trees = new Map([["blkio", [{ point: address, top: "/" }]]]);
      const { blkio } = product.unpackAny(Cgroup.below(trees, "/box").stats(), MetricsSchema);
      for (const { device, major, value } of blkio.ioServicedRecursive) say([device, major, value].join());
    `;
    const remount = 'umount --lazy /proc && mount -t proc -o subset=pid proc /proc && exec "$0" "$@"';
    await using script = new Script(source, root, { wrapper: ["unshare", "--mount", "sh", "-c", remount] });
    expect(await script.rest()).toEqual([",253,7"]);
  });

  test("counts, though a tree of version 2 is beside it", () => {
    const metrics = unpackAny(Cgroup.below(make().roots, "/shims").stats(), MetricsV1Schema);
    expect(metrics?.pids?.current).toBe(2n);
  });
});
