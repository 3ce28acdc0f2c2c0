import { existsSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Client, Code, connect, createClient } from "containerd-shim-protos";
import { Status, Task, type WaitRequest, type WaitResponse } from "containerd-shim-protos/task/v3";
import { describe, expect, test, vi } from "vitest";
import { createRuncService } from "../../examples/shim-runc/service.js";
import { FakeRunc } from "./fake-runc.js";

/** A runc that hangs in the command that a file names. */
const HANGS = '[ "$C" != "$(cat $F/hangs 2>/dev/null)" ] || { : >$F/hung; exec sleep 1000; }';

const PATIENT = 15_000;

type Calls = Client<typeof Task>;

/** A call whose caller leaves once its runc hangs. */
async function givenUp(runc: FakeRunc, command: string, call: (task: Calls) => Promise<unknown>) {
  writeFileSync(join(runc.folder, "hangs"), command);
  const connection = await connect(runc.shim.context.address);
  const called = call(createClient(Task, connection)).catch((error: Error) => error.message);
  await vi.waitFor(() => expect(existsSync(join(runc.folder, "hung"))).toBe(true), PATIENT);
  rmSync(join(runc.folder, "hangs"));
  await connection.close();
  expect(await called).toMatch(/closed/);
}

// A runc that hangs has a second to end by itself.
describe.concurrent("a call of shim-runc that its caller has given up", () => {
  const CALLS = {
    kill: (task, id) => task.kill({ id, signal: 15 }),
    pause: (task, id) => task.pause({ id }),
    update: (task, id) => task.update({ id, resources: NONE }),
  } as const satisfies Record<string, (task: Calls, id: string) => Promise<unknown>>;
  const NONE = {
    typeUrl: "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources",
    value: Buffer.from("{}"),
  };

  test.each(Object.entries(CALLS))("holds up no other, although its runc hangs: %s", async (name, call) => {
    await using runc = await FakeRunc.start(HANGS);
    const { id, task } = runc;
    await runc.create();
    await task.start({ id });
    await givenUp(runc, name, (other) => call(other, id));
    await task.kill({ id, signal: 9 });
    expect(await task.wait({ id })).toMatchObject({ exitStatus: 137 });
    await task.delete({ id });
  });

  test("leaves no runc and no process of an exec", async () => {
    const started = HANGS.replace(
      ": >",
      "setsid sleep 1000 </dev/null >/dev/null 2>&1 & echo $! >$P; echo $! >>$F/pids; : >",
    );
    await using runc = await FakeRunc.start(started);
    const { id, task } = runc;
    await runc.create();
    await task.start({ id });
    await runc.exec("one");
    const one = { id, execId: "one" };
    await givenUp(runc, "exec", (other) => other.start(one));
    await task.delete(one);
    await vi.waitFor(() => expect(runc.running()).toHaveLength(1), PATIENT);
  });

  test("does all of what its runc was about to do, if that ends soon", async () => {
    await using runc = await FakeRunc.start("[ $C != exec ] || { : >$F/hung; sleep 0.2; }");
    const { id, task } = runc;
    await runc.create();
    await task.start({ id });
    await runc.exec("one");
    const one = { id, execId: "one" };
    await givenUp(runc, "", (other) => other.start(one));
    await vi.waitFor(async () => expect((await task.state(one)).status).toBe(Status.RUNNING), PATIENT);
    await task.kill({ ...one, signal: 9 });
    expect(await task.wait(one)).toMatchObject({ exitStatus: 137 });
  });

  test("creates nothing, and can be made again", async () => {
    await using runc = await FakeRunc.start(HANGS);
    await givenUp(runc, "create", (other) => other.create(runc.request()));
    const there = () => runc.task.state({ id: runc.id }).catch(({ code }) => code);
    await vi.waitFor(async () => expect(await there()).toBe(Code.NotFound), PATIENT);
    // runc may have left a folder and a cgroup, whose names would be taken.
    expect(runc.calls("delete")).toEqual([expect.arrayContaining(["--force"])]);
    await runc.create();
  });

  test("is not begun when its turn comes", async () => {
    await using runc = await FakeRunc.start("[ $C != pause ] || while [ ! -f $F/go ]; do sleep 0.01; done");
    const { id, task } = runc;
    await runc.create();
    await task.start({ id });
    const paused = task.pause({ id });
    await vi.waitFor(() => expect(runc.calls("pause")).toHaveLength(1), PATIENT);
    await expect(task.resume({ id }, { timeoutMs: 1 })).rejects.toMatchObject({
      code: Code.DeadlineExceeded,
    });
    // By then the request has come, and its time has begun.
    await task.connect({ id });
    writeFileSync(join(runc.folder, "go"), "");
    await paused;
    await task.kill({ id, signal: 9 });
    expect(runc.calls("resume")).toEqual([]);
  });

  test("is a Wait like any other: its handler ends, and others go on", async () => {
    await using runc = await FakeRunc.start();
    const { id, shim } = runc;
    // Another service of the same shim, whose handlers are called by hand.
    const service = createRuncService(shim.context) as unknown as Record<string, Handler>;
    const { signal } = new AbortController();
    await service["create"]?.({ ...runc.request(), stdin: "", stdout: "", stderr: "" }, { signal });
    const caller = new AbortController();
    const wait = service["wait"] as Handler<WaitRequest, WaitResponse>;
    const waits = [caller.signal, signal].map((each) =>
      wait({ id, execId: "" } as WaitRequest, { signal: each }),
    );
    caller.abort(new Error("enough"));
    await expect(waits[0]).rejects.toThrow("enough");
    for (const pid of runc.running()) process.kill(pid, "SIGKILL");
    expect(await waits[1]).toMatchObject({ exitStatus: 137 });
  });
});

type Handler<Request = object, Reply = unknown> = (
  request: Request,
  context: { signal: AbortSignal },
) => Promise<Reply>;
