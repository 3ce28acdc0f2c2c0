import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { Code, type TtrpcError } from "containerd-shim-protos";
import { describe, expect, test } from "vitest";
import { FakeRunc } from "./fake-runc.js";

const outcome = (call: Promise<unknown>) =>
  call.then(
    () => "done",
    ({ code, rawMessage }: TtrpcError) => `${Code[code]}: ${rawMessage}`,
  );
const SLOW_DELETE = "[ $C != delete ] || sleep 0.3";

describe("a call of shim-runc that waits for its turn", () => {
  const DURING_DELETE = {
    start: "Unknown: cannot start a deleted process",
    pause: "Unknown: cannot pause a deleted process",
    resume: "Unknown: cannot resume a deleted process",
    update: "Unknown: cannot update a deleted process",
    checkpoint: "Unknown: cannot checkpoint a deleted process",
    kill: "NotFound: cannot kill a deleted process: not found",
    delete: "NotFound: container not created: not found",
  } as const;

  test.each(Object.entries(DURING_DELETE))("is refused after a Delete: %s", async (name, refusal) => {
    await using runc = await FakeRunc.start(SLOW_DELETE);
    const { id, task } = runc;
    await runc.create();
    const deleted = outcome(task.delete({ id }));
    const called = outcome(task[name as keyof typeof DURING_DELETE]({ id }));
    expect([await deleted, await called]).toEqual(["done", refusal]);
    expect(runc.calls(name)).toHaveLength(name === "delete" ? 1 : 0);
    expect(runc.running()).toEqual([]);
  });

  test("starts nothing from a checkpoint after its Delete", async () => {
    await using runc = await FakeRunc.start(SLOW_DELETE);
    const { id, task } = runc;
    await runc.create({ checkpoint: "/no/image" });
    const deleted = outcome(task.delete({ id }));
    expect(await outcome(task.start({ id }))).toBe("Unknown: cannot start a deleted process");
    expect(await deleted).toBe("done");
    expect([runc.running(), runc.calls("restore")]).toEqual([[], []]);
  });

  test("finds no container whose Create has failed", async () => {
    await using runc = await FakeRunc.start("[ $C != create ] || { sleep 0.3; exit 1; }");
    const { id, task } = runc;
    const created = outcome(runc.create());
    await expect.poll(() => runc.calls("create")).toHaveLength(1);
    const calls = [
      task.start({ id }),
      task.kill({ id, signal: 9 }),
      task.update({ id }),
      task.delete({ id }),
    ];
    expect(new Set(await Promise.all(calls.map(outcome)))).toEqual(
      new Set(["NotFound: container not created: not found"]),
    );
    expect(await created).toMatch(/^Unknown: OCI runtime create failed/);
    expect(runc.running()).toEqual([]);
  });

  test("starts no exec that was deleted, nor one of a container that was", async () => {
    await using runc = await FakeRunc.start(SLOW_DELETE);
    const { id, task } = runc;
    await runc.create();
    await task.start({ id });
    await runc.exec("one");
    const one = { id, execId: "one" };
    const calls = [task.delete(one), task.start(one)];
    expect(await Promise.all(calls.map(outcome))).toEqual([
      "done",
      "NotFound: process does not exist one: not found",
    ]);
    expect(runc.running()).toHaveLength(1);
    await runc.exec("two");
    const waited = task.wait({ id });
    await task.kill({ id, signal: 9 });
    await waited;
    const late = [task.delete({ id }), task.start({ id, execId: "two" })];
    expect(await Promise.all(late.map(outcome))).toEqual([
      "done",
      `FailedPrecondition: container ${id} init process is not running: failed precondition`,
    ]);
    expect([runc.running(), runc.calls("exec")]).toEqual([[], []]);
  });

  test("is a Kill of an exec that is being started, and ends it", async () => {
    await using runc = await FakeRunc.start("[ $C != exec ] || while [ ! -f $F/go ]; do sleep 0.01; done");
    const { id, task, folder } = runc;
    await runc.create();
    await task.start({ id });
    await runc.exec("one");
    const one = { id, execId: "one" };
    const started = outcome(task.start(one));
    await expect.poll(() => runc.calls("exec")).toHaveLength(1);
    const killed = outcome(task.kill({ ...one, signal: 9 }));
    // It has arrived when a later call on the same connection is answered.
    await task.state(one);
    writeFileSync(join(folder, "go"), "");
    expect([await started, await killed]).toEqual(["done", "done"]);
    expect(await task.wait(one)).toMatchObject({ exitStatus: 137 });
  });
});
