import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { openTask } from "containerd-shim-protos/shims";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { Containerd } from "./containerd.js";
import { built, describeWith } from "./releases.js";
import { type Shim, ShimUser } from "./shims.js";

const SANDBOXED: Shim = {
  name: "a shim for sandboxes",
  runtime: fileURLToPath(new URL("sandbox-shim.mjs", import.meta.url)),
};

// `ctr` of 1.x knows no sandboxes.
describeWith(built, "the shim of a sandbox", () => {
  let containerd: Containerd;
  beforeAll(async () => {
    containerd = await Containerd.start({ release: built });
  });
  afterAll(async () => {
    await containerd?.stop();
  });

  test("takes the sandbox's containers, is found again with them, and outlives each of them", async () => {
    const user = new ShimUser(containerd, SANDBOXED);
    const spec = join(containerd.folder, "pod.json");
    writeFileSync(spec, JSON.stringify({ ociVersion: "1.0.0" }));
    const sandbox = async (...args: string[]) => {
      const { code, stderr } = await containerd.ctr.command(["sandbox", ...args]);
      expect(code, stderr).toBe(0);
    };
    await sandbox("run", "--runtime", SANDBOXED.runtime, spec, "pod");
    const told = join(containerd.folder, "pid");
    const flags = ["--sandbox", "pod", "--pid-file", told];
    const run = (id: string) => user.runDetached(id, ["/bin/sleep", "100000"], flags);
    const shimOf = async (id: string) => {
      await using task = await openTask(id, { state: join(containerd.folder, "state") });
      return task.shimPid;
    };
    const remove = async (id: string) => {
      await containerd.ctr.deleteTask(id, { force: true });
      await containerd.ctr.deleteContainer(id);
    };
    await run("one");
    await run("two");
    const shim = await shimOf("one");
    expect(await shimOf("two")).toBe(shim);
    // By Connect, which the framework answers.
    expect(Number(readFileSync(told))).toBe(shim);

    const tasks = async () => (await containerd.ctr.tasks()).map(({ id, pid }) => `${id} ${pid}`).toSorted();
    const before = await tasks();
    expect(before).toHaveLength(2);
    await containerd.kill();
    await containerd.restart();
    expect(await tasks()).toEqual(before);

    await remove("one");
    await remove("two");
    await run("three");
    expect(await shimOf("three")).toBe(shim);
    await remove("three");
    await sandbox("rm", "pod");
    await vi.waitFor(() => expect(() => process.kill(shim, 0)).toThrow("ESRCH"), 10_000);
  });
});
