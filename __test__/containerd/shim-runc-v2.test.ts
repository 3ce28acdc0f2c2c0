import { readFileSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import { BinaryReader } from "@bufbuild/protobuf/wire";
import {
  Code,
  connect,
  connectSync,
  createClient,
  createSyncClient,
  TtrpcError,
  type Client,
  type Connection,
} from "containerd-shim-protos";
import { Status, Task, type PidsResponse } from "containerd-shim-protos/task/v2";
import { Task as TaskV3 } from "containerd-shim-protos/task/v3";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { Containerd } from "./containerd.js";
import { showLogOfFailures } from "./direct.js";
import type { CtrProcess, OciProcess } from "./ctr.js";
import { usageOfCtr, usageOfStats } from "./metrics.js";
import { describeWith, packaged } from "./releases.js";

const ID = "main";
const MEMORY_LIMIT = 32 * 1024 * 1024;
const SIGTERM = 15;
const SIGKILL = 9;
/** The exit code by which a shell reports a signal. */
const ENDED_BY = 128;
/** Go's zero time, which containerd sends for "has not ended": seconds since 1970. */
const YEAR_ONE = -62_135_596_800n;
const NOBODY = 65534;

// The runc shim of containerd 2 serves containerd.task.v3.Task only.
describeWith(packaged, "containerd-shim-runc-v2", () => {
  let containerd: Containerd;
  let address: string;
  let connection: Connection;
  let task: Client<typeof Task>;

  beforeAll(async () => {
    containerd = await Containerd.start();
    await containerd.runContainer(ID, { args: ["/bin/sleep", "100000"], memoryLimit: MEMORY_LIMIT });
    address = containerd.shimAddress(ID);
    connection = await connect(address, { connectTimeoutMs: 5_000 });
    task = createClient(Task, connection);
  });

  afterAll(async () => {
    try {
      await connection?.close();
    } finally {
      await containerd?.stop();
    }
  });

  showLogOfFailures(() => containerd);

  test("Connect names the shim's process and the container's, which is the one ctr lists", async () => {
    const reply = await task.connect({ id: ID });
    expect(reply.taskPid).toBe((await containerd.ctr.task(ID)).pid);
    expect(readFileSync(`/proc/${reply.shimPid}/cmdline`, "utf8")).toMatch(/^\S*containerd-shim-runc-v2\0/);
    expect(readlinkSync(`/proc/${reply.shimPid}/cwd`)).toBe(containerd.bundle(ID));
  });

  test("State reports the same about a running container as ctr", async () => {
    const state = await task.state({ id: ID });
    const { pid, status } = await containerd.ctr.task(ID);
    expect(state).toMatchObject({ id: ID, bundle: containerd.bundle(ID), pid, status: Status.RUNNING });
    expect(status).toBe(Status[state.status]);
    expect(state).toMatchObject({ execId: "", stdin: "", stdout: "", stderr: "", terminal: false });
    expect(state).toMatchObject({ exitStatus: 0, exitedAt: { seconds: YEAR_ONE, nanos: 0 } });
  });

  test("the bundle that State names holds the spec that ctr shows", async () => {
    const { bundle } = await task.state({ id: ID });
    const info = await containerd.ctr.containerInfo(ID);
    expect(info).toMatchObject({ ID, Runtime: { Name: "io.containerd.runc.v2" } });
    expect(JSON.parse(readFileSync(join(bundle, "config.json"), "utf8"))).toEqual(info.Spec);
  });

  test("Pids lists the processes that ctr lists", async () => {
    const pids = await task.pids({ id: ID });
    const listed = await containerd.ctr.processes(ID);
    expect(processesOf(pids)).toEqual(listed);
    expect(listed).toEqual([{ pid: (await containerd.ctr.task(ID)).pid, execId: undefined }]);
  });

  test("Stats carries the metrics of the machine's cgroups, as ctr shows them", async () => {
    const before = usageOfCtr(await containerd.ctr.metrics(ID));
    const { stats } = await task.stats({ id: ID });
    const after = usageOfCtr(await containerd.ctr.metrics(ID));

    const usage = usageOfStats(stats!);
    expect(usage).toMatchObject({ processes: 1, memoryLimit: MEMORY_LIMIT });
    expect(before).toMatchObject({ processes: 1, memoryLimit: MEMORY_LIMIT });
    // CPU time only grows, so a value read in between lies in between. Memory moves both ways.
    expect(usage.cpuTime).toBeGreaterThan(0);
    expect(usage.cpuTime).toBeGreaterThanOrEqual(before.cpuTime);
    expect(usage.cpuTime).toBeLessThanOrEqual(after.cpuTime);
    expect(usage.memory).toBeGreaterThan(0);
    expect(usage.memory).toBeLessThan(MEMORY_LIMIT);
  });

  test("an exec lives from Exec to Delete, with Wait in flight while Kill is sent", async () => {
    const exec = { id: ID, execId: "exec-to-kill" };
    const output = join(containerd.folder, "exec-output");
    // containerd 1.6.20's shim crashes when only one of the two is a file.
    const io = { stdout: `file://${output}`, stderr: `file://${output}` };
    const spec = await processLikeTheContainers(["/bin/sh", "-c", "echo from the exec; exec sleep 100000"]);

    await task.exec({ ...exec, ...io, spec });
    // This shim puts the id of the exec in the field for the container's, and leaves execId empty.
    const named = {
      id: exec.execId,
      execId: "",
      bundle: containerd.bundle(ID),
      ...io,
    };
    expect(await task.state(exec)).toMatchObject({ ...named, pid: 0, status: Status.CREATED });

    const { pid } = await task.start(exec);
    expect(await task.state(exec)).toMatchObject({ ...named, pid, status: Status.RUNNING });
    expect(await containerd.ctr.processes(ID)).toContainEqual({ pid, execId: exec.execId });
    expect(processesOf(await task.pids({ id: ID }))).toContainEqual({ pid, execId: exec.execId });
    await vi.waitFor(() => expect(readFileSync(output, "utf8")).toBe("from the exec\n"), 5_000);

    let ended = false;
    const waiting = task.wait(exec).finally(() => (ended = true));
    // Answered on the same connection after the Wait, so the Wait was in flight before the Kill.
    expect(await task.state(exec)).toMatchObject({ status: Status.RUNNING });
    expect(ended).toBe(false);
    const killedAt = Date.now();
    await task.kill({ ...exec, signal: SIGTERM });
    const exit = await waiting;
    expect(exit.exitStatus).toBe(ENDED_BY + SIGTERM);
    expect(Math.abs(Number(exit.exitedAt?.seconds) * 1000 - killedAt)).toBeLessThan(5_000);

    const { exitStatus, exitedAt } = exit;
    expect(await task.state(exec)).toMatchObject({ pid, status: Status.STOPPED, exitStatus, exitedAt });
    expect(await task.delete(exec)).toMatchObject({ pid, exitStatus, exitedAt });
    expect((await failureOf(task.state(exec))).code).toBe(Code.NotFound);
    expect(await containerd.ctr.processes(ID)).toHaveLength(1);
  });

  test("Wait returns the exit status of an exec that ends by itself", async () => {
    const exec = { id: ID, execId: "exec-that-ends" };
    await task.exec({ ...exec, spec: await processLikeTheContainers(["/bin/sh", "-c", "exit 7"]) });
    const waiting = task.wait(exec);
    await task.start(exec);
    expect(await waiting).toMatchObject({ exitStatus: 7 });
    expect(await task.delete(exec)).toMatchObject({ exitStatus: 7 });
  });

  test("an exec id in use is refused with AlreadyExists", async () => {
    const exec = { id: ID, execId: "exec-twice" };
    const spec = await processLikeTheContainers(["/bin/true"]);
    await task.exec({ ...exec, spec });
    expect((await failureOf(task.exec({ ...exec, spec }))).code).toBe(Code.AlreadyExists);
    await task.delete(exec);
  });

  test("a missing program fails the exec's Start with runc's own message", async () => {
    const exec = { id: ID, execId: "exec-of-nothing" };
    await task.exec({ ...exec, spec: await processLikeTheContainers(["/bin/no-such-program"]) });
    const failure = await failureOf(task.start(exec));
    expect(failure.code).toBe(Code.Unknown);
    expect(failure.message).toMatch(/no-such-program.*no such file or directory/);
    await task.delete(exec);
  });

  test("an unknown exec id is NotFound to every method that takes one", async () => {
    const exec = { id: ID, execId: "no-such-exec" };
    const calls = [task.state(exec), task.start(exec), task.wait(exec), task.kill(exec), task.delete(exec)];
    for (const failure of await Promise.all(calls.map(failureOf))) {
      expect(failure.code).toBe(Code.NotFound);
      expect(failure.message).toContain("not found");
    }
  });

  test("a container of another shim is NotFound", async () => {
    expect((await failureOf(task.pids({ id: "somebody-else" }))).code).toBe(Code.NotFound);
  });

  test("a service the shim does not serve is Unimplemented, and the connection continues", async () => {
    const taskV3 = createClient(TaskV3, connection);
    const failure = await failureOf(taskV3.state({ id: ID }));
    expect(failure.code).toBe(Code.Unimplemented);
    expect(failure.message).toContain("containerd.task.v3.Task");
    expect(await task.state({ id: ID })).toMatchObject({ status: Status.RUNNING });
  });

  test("a deadline ends a Wait that the shim itself never ends", async () => {
    const failure = await failureOf(task.wait({ id: ID }, { timeoutMs: 100 }));
    expect(failure.code).toBe(Code.DeadlineExceeded);
    expect(await task.state({ id: ID })).toMatchObject({ status: Status.RUNNING });
  });

  test("a hundred calls at once each get their own reply", async () => {
    const [state, pids] = [await task.state({ id: ID }), await task.pids({ id: ID })];
    const calls = Array.from({ length: 50 }, () => [task.state({ id: ID }), task.pids({ id: ID })]).flat();
    const replies = await Promise.all(calls);
    expect(replies).toEqual(Array.from({ length: 50 }, () => [state, pids]).flat());
  });

  test("the blocking client reads the same State", async () => {
    const blockingConnection = connectSync(address);
    try {
      const blocking = createSyncClient(Task, blockingConnection);
      expect(blocking.state({ id: ID }, { timeoutMs: 5_000 })).toEqual(await task.state({ id: ID }));
    } finally {
      blockingConnection.close();
    }
  });

  test("Pause and Resume also change the container's status in ctr's list", async () => {
    await task.pause({ id: ID });
    expect(await task.state({ id: ID })).toMatchObject({ status: Status.PAUSED });
    expect(await containerd.ctr.task(ID)).toMatchObject({ status: "PAUSED" });
    await task.resume({ id: ID });
    expect(await task.state({ id: ID })).toMatchObject({ status: Status.RUNNING });
    expect(await containerd.ctr.task(ID)).toMatchObject({ status: "RUNNING" });
  });

  test("a missing shim is Unavailable because of ENOENT", async () => {
    const failure = await failureOf(connect(address.replace(/[^/]+$/, "no-such-shim")));
    expect(failure).toMatchObject({ code: Code.Unavailable, cause: { code: "ENOENT" } });
  });

  test("another user cannot connect to the shim's socket", () => {
    // Without an await in between, so that nothing else in this process runs as the user `nobody`.
    process.seteuid?.(NOBODY);
    let failure: unknown;
    try {
      connectSync(address).close();
    } catch (error) {
      failure = error;
    } finally {
      process.seteuid?.(0);
    }
    expect(failure).toBeInstanceOf(TtrpcError);
    expect(failure).toMatchObject({ code: Code.Unavailable, cause: { code: "EACCES" } });
  });

  test("Wait and State see the end of a container, and its Delete closes the connection", async () => {
    const id = "short-lived";
    await containerd.runContainer(id, { args: ["/bin/sleep", "100000"] });
    const own = await connect(containerd.shimAddress(id), { connectTimeoutMs: 5_000 });
    const ownTask = createClient(Task, own);
    try {
      const waiting = ownTask.wait({ id });
      await ownTask.kill({ id, signal: SIGKILL });
      const { exitStatus, exitedAt } = await waiting;
      expect(exitStatus).toBe(ENDED_BY + SIGKILL);
      expect(await ownTask.state({ id })).toMatchObject({ status: Status.STOPPED, exitStatus, exitedAt });
      expect(await containerd.ctr.task(id)).toMatchObject({ status: "STOPPED" });

      // containerd tells the shim to delete the task and to shut down, and then the shim's process ends.
      await containerd.ctr.deleteTask(id);
      expect((await own.closed).reason).toBe("remote");
      expect((await failureOf(ownTask.state({ id }))).code).toBe(Code.Unavailable);
      expect((await failureOf(connect(address.replace(/[^/]+$/, "no-such-shim")))).code).toBe(
        Code.Unavailable,
      );
    } finally {
      await own.close();
    }
  });

  /** An exec's process as `ctr task exec` makes it: the container's own with other arguments. */
  async function processLikeTheContainers(args: string[]): Promise<{ typeUrl: string; value: Uint8Array }> {
    const { Spec } = await containerd.ctr.containerInfo(ID);
    const process: OciProcess = { ...Spec.process, args, terminal: false };
    return {
      typeUrl: "types.containerd.io/opencontainers/runtime-spec/1/Process",
      value: Buffer.from(JSON.stringify(process)),
    };
  }
});

/** Pids in the form of ctr's list. */
function processesOf({ processes }: PidsResponse): CtrProcess[] {
  return processes.map(({ pid, info }) => {
    if (info === undefined) return { pid, execId: undefined };
    expect(info.typeUrl).toBe("containerd.runc.v1.ProcessDetails");
    // message ProcessDetails { string exec_id = 1; }
    const reader = new BinaryReader(info.value);
    expect(reader.tag()[0]).toBe(1);
    return { pid, execId: reader.string() };
  });
}

async function failureOf(call: Promise<unknown>): Promise<TtrpcError> {
  const failure = await call.then(
    (reply) => expect.fail(`it was answered: ${String(reply)}`),
    (error: unknown) => error,
  );
  expect(failure).toBeInstanceOf(TtrpcError);
  return failure as TtrpcError;
}
