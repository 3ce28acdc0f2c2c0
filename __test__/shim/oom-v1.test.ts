import { spawn, type ChildProcess } from "node:child_process";
import { existsSync, mkdirSync, rmdirSync, writeFileSync } from "node:fs";
import { Cgroup, type OomWatch } from "containerd-shim-protos/shim/cgroup";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";

const TREE = "/sys/fs/cgroup/memory";
const works = existsSync(`${TREE}/memory.oom_control`) && process.geteuid?.() === 0;

/** The kernel's own cgroups. */
describe.skipIf(!works)(
  `a cgroup of version 1${works ? "" : " (skipped: needs such cgroups, and root)"}`,
  () => {
    let outer: string;
    let count = 0;
    let told = 0;
    let oom: OomWatch;
    let children: ChildProcess[];

    beforeEach(() => {
      const name = `/shim-test-${process.pid}-${++count}`;
      outer = `${TREE}${name}`;
      for (const folder of ["", "/box", "/box/inner", "/other"]) mkdirSync(`${outer}${folder}`);
      told = 0;
      children = [];
      oom = Cgroup.at(`${name}/box`).watchOom(() => told++);
    });

    afterEach(async () => {
      oom.close();
      for (const child of children) child.kill("SIGKILL");
      for (const folder of ["/box/inner", "/box", "/other", ""]) await remove(folder);
    });

    /** Removes a cgroup once its last process has gone: what a killed shell ran may still end. */
    const remove = (folder: string) =>
      vi.waitFor(() => !existsSync(`${outer}${folder}`) || rmdirSync(`${outer}${folder}`), 5000);

    const limit = (folder: string) =>
      writeFileSync(`${outer}${folder}/memory.limit_in_bytes`, String(8 << 20));

    /** Starts what needs more memory than there is, in a cgroup. */
    function eat(folder: string): Promise<unknown> {
      // One process: of several, the kernel may kill more than one.
      const script = `echo $$ >${outer}${folder}/cgroup.procs; exec tail /dev/zero`;
      const child = spawn("/bin/sh", ["-c", script], { stdio: ["ignore", "ignore", "inherit"] });
      children.push(child);
      return new Promise((resolve) => child.once("exit", (_, signal) => resolve(signal)));
    }

    test("tells of a kill in a cgroup below it, each time", async () => {
      limit("/box");
      for (const kill of [1, 2]) {
        expect(await eat("/box/inner")).toBe("SIGKILL");
        await vi.waitFor(() => expect(told).toBe(kill));
      }
    });

    test("tells of a kill in one that was removed and made again", async () => {
      limit("/box");
      await eat("/box/inner");
      await vi.waitFor(() => expect(told).toBe(1));
      await remove("/box/inner");
      mkdirSync(`${outer}/box/inner`);
      oom.look();
      await eat("/box/inner");
      await vi.waitFor(() => expect(told).toBe(2));
    });

    test("tells once that memory has run out where nothing may be killed", async () => {
      limit("/box");
      writeFileSync(`${outer}/box/memory.oom_control`, "1");
      void eat("/box");
      await vi.waitFor(() => expect(told).toBe(1), 5000);
      await new Promise((resolve) => setTimeout(resolve, 300));
      expect(told).toBe(1);
    });

    test("is not told of a kill in another, though the kernel announces it", async () => {
      limit("");
      expect(await eat("/other")).toBe("SIGKILL");
      await new Promise((resolve) => setTimeout(resolve, 300));
      expect(told).toBe(0);
    });
  },
);
