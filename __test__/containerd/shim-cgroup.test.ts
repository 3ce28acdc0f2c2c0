import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync } from "node:fs";
import { join } from "node:path";
import { connect } from "containerd-shim-protos";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Containerd } from "./containerd.js";
import { showLogOfFailures, taskClient } from "./direct.js";
import { buildRunWithOptions, runWithOptions } from "./go-client.js";
import { built, describeWith } from "./releases.js";
import { OWN, RUNC, type Shim } from "./shims.js";

const CGROUPS = "/sys/fs/cgroup";
const NAME = `shim-protos-shims-${process.pid}`;
/** Where a cgroup is made: the tree of version 2, or some of version 1. */
const TREES = existsSync(join(CGROUPS, "cgroup.controllers"))
  ? [CGROUPS]
  : ["memory", "pids"].map((name) => join(CGROUPS, name)).filter((path) => existsSync(path));

describeWith(built, "the option ShimCgroup", () => {
  let containerd: Containerd;

  beforeAll(async () => {
    buildRunWithOptions();
    for (const tree of TREES) mkdirSync(join(tree, NAME));
    containerd = await Containerd.start({ release: built });
  });

  afterAll(async () => {
    await containerd?.stop();
    for (const tree of TREES) rmdirSync(join(tree, NAME));
  });

  showLogOfFailures(() => containerd);

  const optionsWith = (shimCgroup: string) => ({ root: join(containerd.folder, "runc"), shimCgroup });

  async function pidsOf(id: string) {
    await using connection = await connect(containerd.shimAddress(id));
    return await taskClient(connection, built).connect({ id });
  }

  test.each([OWN, RUNC])("puts $name into a cgroup, and its containers elsewhere", async (shim: Shim) => {
    const id = `in-${TREES.length}-${shim === OWN ? "own" : "node"}`;
    runWithOptions(containerd, shim, id, optionsWith(`/${NAME}`), ["/bin/sleep", "100000"]);
    const { shimPid, taskPid } = await pidsOf(id);
    for (const tree of TREES) {
      const pids = readFileSync(join(tree, NAME, "cgroup.procs"), "utf8")
        .trim()
        .split("\n")
        .map(Number);
      expect(pids).toContain(shimPid);
      expect(pids).not.toContain(taskPid);
      expect(
        readdirSync(join(tree, NAME), { withFileTypes: true }).some((entry) => entry.isDirectory()),
      ).toBe(false);
    }
    await containerd.ctr.deleteTask(id, { force: true });
    await containerd.ctr.deleteContainer(id);
  });

  test.each([OWN, RUNC])("lets $name start no container if there is no such cgroup", (shim: Shim) => {
    const id = `none-${shim === OWN ? "own" : "node"}`;
    const starting = () => runWithOptions(containerd, shim, id, optionsWith("/no/cgroup"), ["/bin/true"]);
    expect(starting).toThrow(/cgroup/);
  });
});
