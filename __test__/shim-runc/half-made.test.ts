import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Code } from "containerd-shim-protos";
import { Status } from "containerd-shim-protos/task/v3";
import { describe, expect, test, vi } from "vitest";
import { FakeRunc } from "./fake-runc.js";

/** A runc that succeeds and leaves no pid. */
const NO_PID = (command: string) =>
  `[ $C != ${command} ] || { setsid sleep 1000 </dev/null >/dev/null 2>&1 & echo $! >>$F/pids; exit 0; }`;

/**
 * A runc whose pid is read from a fifo, so that descriptors run out for the shim once it has opened that, until the test
 * makes a folder, which takes none.
 */
const SHORTAGE = `[ $C != create ] || {
  mkfifo $P; setsid sleep 1000 </dev/null >/dev/null 2>&1 & S=$!
  echo $S >>$F/pids; cp $F/pids $F/init
  (
    exec 5>$P; LIMIT=$(prlimit --pid $PPID --nofile --noheadings --raw -o SOFT)
    prlimit --pid $PPID --nofile=3:; echo $S >&5; exec 5>&-
    while [ ! -d $F/enough ]; do sleep 0.01; done; prlimit --pid $PPID --nofile=$LIMIT:
  ) </dev/null >/dev/null 2>&1 & exit 0
}`;

/** What this process has open of a path. */
function openOf(path: string): number {
  const folder = "/proc/self/fd";
  return readdirSync(folder).filter((fd) => {
    try {
      return readlinkSync(join(folder, fd)) === path;
    } catch {
      return false;
    }
  }).length;
}

describe("what shim-runc has half made", () => {
  test.each([
    [
      "its pid cannot be told",
      { terminal: false },
      [NO_PID("create")],
      "failed to retrieve OCI runtime container pid",
    ],
    ["it sends no terminal", { terminal: true }, [], "receive the terminal"],
  ])("is deleted of a container if %s", async (_why, io, script, why) => {
    await using runc = await FakeRunc.start(...script);
    const stdin = join(runc.folder, "stdin");
    execFileSync("mkfifo", [stdin]);
    await expect(runc.create({ ...io, stdin })).rejects.toMatchObject({
      code: Code.Unknown,
      rawMessage: expect.stringContaining(why),
    });
    expect(runc.calls("delete")).toEqual([expect.arrayContaining(["--force", runc.id])]);
    await expect.poll(() => openOf(stdin)).toBe(0);
    await expect(runc.task.state({ id: runc.id })).rejects.toMatchObject({ code: Code.NotFound });
  });

  test("stays as it is if runc refused to make it, for it may be another's", async () => {
    await using runc = await FakeRunc.start("[ $C != create ] || { echo exists >&2; exit 1; }");
    await expect(runc.create()).rejects.toMatchObject({ code: Code.Unknown });
    expect(runc.calls("delete")).toEqual([]);
  });

  test("keeps no stream of an exec open", async () => {
    await using runc = await FakeRunc.start(NO_PID("exec"));
    const { id, task } = runc;
    await runc.create();
    await task.start({ id });
    const stdin = join(runc.folder, "stdin");
    execFileSync("mkfifo", [stdin]);
    await runc.exec("one", { stdin });
    await expect(task.start({ id, execId: "one" })).rejects.toMatchObject({ code: Code.Unknown });
    await expect.poll(() => openOf(stdin)).toBe(0);
    expect(runc.calls("delete")).toEqual([]);
  });

  test("is a container all the same if its cgroup cannot be found", async () => {
    await using runc = await FakeRunc.start(SHORTAGE);
    const { id, task } = runc;
    const { pid } = await runc.create().finally(() => mkdirSync(join(runc.folder, "enough")));
    await vi.waitFor(() => expect(runc.running()).toEqual([pid]), 10_000);
    expect(await task.state({ id })).toMatchObject({ status: Status.CREATED });
    await expect(task.stats({ id })).rejects.toMatchObject({ code: Code.NotFound });
  });
});

test.skipIf(process.getuid?.() !== 0)(
  "a Delete that fails says why runc failed, though the root filesystem is busy because of that",
  async () => {
    await using runc = await FakeRunc.start(
      "[ $C != create ] || cd $F/bundle/rootfs",
      "[ $C != delete ] || [ ! -f $F/stuck ] || { echo it is stuck >&2; exit 1; }",
    );
    const { id, task } = runc;
    const stuck = join(runc.folder, "stuck");
    writeFileSync(stuck, "");
    await runc.create({ rootfs: [{ type: "tmpfs", source: "tmpfs" }] });
    await expect(task.delete({ id })).rejects.toMatchObject({
      rawMessage: "OCI runtime delete failed: it is stuck",
    });
    rmSync(stuck);
    await task.delete({ id });
    expect(readFileSync("/proc/self/mountinfo", "utf8")).not.toContain(runc.bundle);
  },
);
