import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Code } from "containerd-shim-protos";
import { Status } from "containerd-shim-protos/task/v3";
import { describe, expect, test } from "vitest";
import { FakeRunc } from "./fake-runc.js";

describe("a container of shim-runc", () => {
  test.each(["../../outside", "a/b", "..", "", "-a", "a..b", "x".repeat(77)])(
    "has no exec whose id is %j",
    async (execId) => {
      await using runc = await FakeRunc.start();
      await runc.create();
      await expect(runc.exec(execId)).rejects.toMatchObject({
        code: Code.InvalidArgument,
        rawMessage: expect.stringContaining(`not ${JSON.stringify(execId)}`),
      });
    },
  );

  test("has execs with the ids that containerd takes", async () => {
    await using runc = await FakeRunc.start();
    await runc.create();
    for (const execId of ["a", "A.b_c-9", "x".repeat(76)]) {
      await runc.exec(execId);
      await runc.task.start({ id: runc.id, execId });
    }
    expect(runc.running()).toHaveLength(4);
  });

  test("is paused with all of its execs, started or not", async () => {
    await using runc = await FakeRunc.start();
    const { id, task } = runc;
    await runc.create();
    await task.start({ id });
    await runc.exec("one");
    await task.pause({ id });
    expect(await task.state({ id, execId: "one" })).toMatchObject({ status: Status.PAUSED });
    await task.resume({ id });
    expect(await task.state({ id, execId: "one" })).toMatchObject({ status: Status.CREATED });
  });

  test.each([
    ["checkpoint", "cannot checkpoint a task in created state"],
    ["pause", "cannot pause task in created state"],
  ] as const)("that was not started refuses %s in containerd's words", async (name, rawMessage) => {
    await using runc = await FakeRunc.start();
    await runc.create();
    await expect(runc.task[name]({ id: runc.id })).rejects.toMatchObject({ rawMessage });
  });

  test.skipIf(process.geteuid?.() !== 0).each(["fails", "is deleted"])(
    "keeps what its client has mounted when it %s",
    async (how) => {
      await using runc = await FakeRunc.start(how === "fails" ? "[ $C != create ] || exit 1" : "");
      const rootfs = join(runc.bundle, "rootfs");
      mkdirSync(rootfs);
      execFileSync("mount", ["-t", "tmpfs", "none", rootfs]);
      try {
        if (how === "fails") await expect(runc.create()).rejects.toThrow(/create failed/);
        else {
          await runc.create();
          await runc.task.delete({ id: runc.id });
        }
        expect(readFileSync("/proc/self/mountinfo", "utf8")).toContain(` ${rootfs} `);
      } finally {
        execFileSync("umount", [rootfs]);
      }
    },
  );

  test.skipIf(process.geteuid?.() !== 0)(
    "ends and is deleted although its bundle takes no files",
    async () => {
      await using runc = await FakeRunc.start("case $A in *--log*) [ -w $F/bundle ] || exit 1;; esac");
      const { id, task, bundle } = runc;
      await runc.create();
      await task.start({ id });
      await runc.exec("one");
      await task.start({ id, execId: "one" });
      execFileSync("mount", ["--bind", bundle, bundle]);
      try {
        execFileSync("mount", ["-o", "remount,bind,ro", bundle]);
        await task.kill({ id, execId: "one", signal: 9 });
        expect(await task.wait({ id, execId: "one" })).toMatchObject({ exitStatus: 137 });
        await task.delete({ id, execId: "one" });
        await task.kill({ id, signal: 9 });
        expect(await task.wait({ id })).toMatchObject({ exitStatus: 137 });
        await task.delete({ id });
      } finally {
        execFileSync("umount", [bundle]);
      }
    },
  );
});
