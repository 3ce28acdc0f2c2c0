import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Containerd } from "./containerd.js";
import { built, describeWith, packaged } from "./releases.js";
import { RUNC, ShimUser, SKELETON } from "./shims.js";

const both = { ...built, missing: [...new Set([...packaged.missing, ...built.missing])] };

describeWith(both, "a containerd that another release replaces", () => {
  describe.each([
    [packaged, built],
    [built, packaged],
  ])("$name", (first, second) => {
    let containerd: Containerd;
    beforeAll(async () => {
      containerd = await Containerd.start({ release: first });
    });
    afterAll(async () => {
      await containerd?.stop();
    });

    test("leaves its containers to the other, which finds them running, and gets them back", async () => {
      const runc = new ShimUser(containerd, RUNC);
      const skeleton = new ShimUser(containerd, SKELETON);
      await runc.runDetached("box", ["/bin/sleep", "100000"]);
      await skeleton.runDetached("process", ["/bin/sleep", "100000"]);
      const tasks = async () => {
        const all = await Promise.all(["box", "process"].map((id) => containerd.ctr.task(id)));
        return all.map(({ id, pid, status }) => `${id} ${pid} ${status}`);
      };
      const before = await tasks();
      for (const release of [second, first]) {
        await containerd.kill("SIGTERM");
        await containerd.restart(release);
        expect(await tasks()).toEqual(before);
        const { stdout } = await runc.exec("box", `exec-${release.name.replace(" ", "-")}`, [
          "/bin/echo",
          "here",
        ]);
        expect(stdout).toBe("here\n");
      }
      for (const id of ["box", "process"]) await containerd.ctr.deleteTask(id, { force: true });
    });
  });
});
