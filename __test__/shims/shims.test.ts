import { rmSync, symlinkSync } from "node:fs";
import path from "node:path";
import { create, toJson } from "@bufbuild/protobuf";
import { Code, createServer, packAny, type Server, TtrpcError } from "containerd-shim-protos";
import { MetricsSchema as MetricsV1Schema } from "containerd-shim-protos/cgroups/v1";
import { MetricsSchema as MetricsV2Schema } from "containerd-shim-protos/cgroups/v2";
import { listShims, openTask, usageOf, watchShims } from "containerd-shim-protos/shims";
import { Task as TaskV2 } from "containerd-shim-protos/task/v2";
import { StateRequestSchema, StateResponseSchema, Status, Task } from "containerd-shim-protos/task/v3";
import { afterEach, describe, expect, it } from "vitest";
import { bootstrap, State } from "../cli/state.js";
import { RawServer } from "../helpers/raw-peer.js";
import { temporaryPath } from "../helpers/temp.js";

const servers: Server[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) await server.close({ graceMs: 0 });
});

/** A shim of one version, for one container of a state folder. */
async function shimOf(state: State, id: string, version: 2 | 3, namespace = "default"): Promise<string> {
  const task = version === 3 ? Task : (TaskV2 as unknown as typeof Task);
  let reads = 0n;
  const server = createServer().add(task, {
    connect: () => ({ shimPid: process.pid, taskPid: 7 }),
    state: (request) => ({ id: request.id, status: Status.PAUSED }),
    stats: () => ({
      stats:
        version === 3
          ? packAny(MetricsV2Schema, { cpu: { usageUsec: reads++ * 1000n }, pids: { current: 3n } })
          : packAny(MetricsV1Schema, {
              cpu: { usage: { total: reads++ * 1_000_000n } },
              pids: { current: 2n },
            }),
    }),
  });
  servers.push(server);
  const address = await server.listen(state.socket(`${namespace}-${id}`));
  state.bundle(namespace, id, bootstrap(address, version));
  return address;
}

const placesOf = ({ state, sockets }: State) => ({ state, sockets });

describe("listShims", () => {
  it("lists the shims of all namespaces, or of one", async () => {
    const state = new State();
    const address = await shimOf(state, "web", 3);
    await shimOf(state, "pod", 2, "k8s.io");
    const all = await listShims(placesOf(state));
    expect(all.map(({ namespace, id, version, state: shown }) => [namespace, id, version, shown])).toEqual([
      ["default", "web", 3, "paused"],
      ["k8s.io", "pod", 2, "paused"],
    ]);
    expect(await listShims({ ...placesOf(state), namespace: "default" })).toEqual([
      {
        id: "web",
        namespace: "default",
        address,
        pid: process.pid,
        taskPid: 7,
        version: 3,
        state: "paused",
        uptimeSeconds: expect.any(Number) as number,
        containerd: null,
        own: true,
        error: null,
      },
    ]);
  });

  it("lists the shim of a sandbox by the sandbox until it has a container, wherever its socket is", async () => {
    const state = new State();
    const server = createServer().add(Task, {
      connect: () => ({ shimPid: process.pid }),
      state: ({ id }) => ({ id, status: Status.RUNNING }),
    });
    servers.push(server);
    const address = await server.listen(temporaryPath());
    const inFolder = await server.listen(state.socket("here"));
    state.sandbox("k8s.io", "elsewhere", bootstrap(address));
    state.sandbox("k8s.io", "here", bootstrap(inFolder));
    const list = async () =>
      (await listShims({ ...placesOf(state), namespace: "k8s.io" })).map(({ id, state: shown, own }) => [
        id,
        shown,
        own,
      ]);
    expect(await list()).toEqual([
      ["elsewhere", "sandbox", true],
      ["here", "sandbox", true],
    ]);
    expect(await listShims({ ...placesOf(state), namespace: "default" })).toEqual([]);
    state.bundle("k8s.io", "web", bootstrap(address));
    state.bundle("k8s.io", "db", bootstrap(inFolder));
    expect(await list()).toEqual([
      ["db", "running", true],
      ["web", "running", true],
    ]);
  });

  it("knows a shim's socket by whatever path it is named", async () => {
    const state = new State();
    const address = await shimOf(state, "web", 3);
    // As /var/run is /run.
    const link = temporaryPath();
    symlinkSync(state.sockets, link);
    for (const sockets of [link, `${state.sockets}/./`, path.relative(process.cwd(), state.sockets)]) {
      const shims = await listShims({ state: state.state, sockets });
      expect(shims.map(({ id }) => id)).toEqual(["web"]);
    }
    const relative = path.relative(process.cwd(), state.state);
    expect(await listShims({ state: relative, sockets: state.sockets })).toHaveLength(1);
    const other = `unix://${path.join(link, path.basename(address))}`;
    await using task = await openTask(other, { state: state.state });
    expect(task).toMatchObject({ id: "web", namespace: "default" });
  });

  it("asks hung shims for no longer than it may, all at the same time", async () => {
    const state = new State();
    const hung = await Promise.all(
      Array.from({ length: 40 }, (_, at) => RawServer.listen(state.socket(`hung-${at}`))),
    );
    for (const [at, { address }] of hung.entries()) state.bundle("default", `hung-${at}`, bootstrap(address));
    await shimOf(state, "web", 3);
    const shims = await listShims({ ...placesOf(state), timeoutMs: 200 });
    expect(shims.filter(({ state: shown }) => shown === "unreachable")).toHaveLength(40);
    expect(shims.find(({ id }) => id === "web")).toMatchObject({ state: "paused" });
    for (const server of hung) await server[Symbol.asyncDispose]();
  });

  it("rejects for a folder that is not there, for a signal, and for a wrong option", async () => {
    await expect(listShims({ state: "/no/such" })).rejects.toMatchObject({
      code: Code.NotFound,
      message: "/no/such is not containerd's state folder: it does not exist",
    });
    const state = new State();
    await shimOf(state, "web", 3);
    await expect(listShims({ ...placesOf(state), signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: Code.Canceled,
    });
    await expect(listShims({ stat: "/x" } as object)).rejects.toThrow("did you mean state?");
    await expect(listShims({ state: "" })).rejects.toThrow(TypeError);
    await expect(listShims({ timeoutMs: 0 })).rejects.toThrow(
      "timeoutMs must be a number of milliseconds above 0",
    );
  });
});

describe("openTask", () => {
  it.each([3, 2] as const)(
    "opens a shim of version %s by id, by its beginning and by address",
    async (version) => {
      const state = new State();
      const address = await shimOf(state, "web-1234", version);
      for (const target of ["web-1234", "web", address]) {
        await using task = await openTask(target, { state: state.state });
        expect(task).toMatchObject({
          id: "web-1234",
          namespace: "default",
          address,
          version,
          shimPid: process.pid,
        });
        // Requests and replies are the messages of version 3.
        const reply = await task.client.state(create(StateRequestSchema, { id: task.id }));
        expect(toJson(StateResponseSchema, reply)).toEqual({ id: "web-1234", status: "PAUSED" });
        expect(await task.usage()).toMatchObject({ cgroup: version === 3 ? 2 : 1, processes: version });
      }
      await using named = await openTask(address, { state: "/no/such", id: "other" });
      expect(named).toMatchObject({ id: "other", namespace: undefined });
    },
  );

  it("rejects for an unknown, an ambiguous and an unreachable container", async () => {
    const state = new State();
    await shimOf(state, "web-1", 3);
    await shimOf(state, "web-2", 3);
    state.bundle("default", "grpc", bootstrap("unix:///x", 3, "grpc"));
    const open = (target: string) => openTask(target, { state: state.state });
    await expect(open("db")).rejects.toMatchObject({ code: Code.NotFound });
    await expect(open("web")).rejects.toMatchObject({
      code: Code.FailedPrecondition,
      message: 'the id "web" is ambiguous: default/web-1, default/web-2',
    });
    await expect(open("grpc")).rejects.toMatchObject({
      code: Code.FailedPrecondition,
      message: expect.stringContaining("it speaks grpc") as string,
    });
    await expect(openTask(3 as unknown as string)).rejects.toThrow("target must be an address or the id");
  });

  it("samples until the container has ended", async () => {
    const state = new State();
    let stopped = false;
    let end!: () => void;
    const ended = new Promise<object>((resolve) => (end = () => resolve({ exitStatus: 3 })));
    const server = createServer().add(Task, {
      connect: () => ({ shimPid: 1 }),
      wait: () => ended,
      state: () => ({ status: stopped ? Status.STOPPED : Status.RUNNING }),
      stats: () => ({ stats: packAny(MetricsV2Schema, { cpu: { usageUsec: 5n } }) }),
    });
    servers.push(server);
    state.bundle("default", "web", bootstrap(await server.listen(state.socket("web"))));
    await using task = await openTask("web", { state: state.state });
    let taken = 0;
    for await (const { cpuPercent, cgroup } of task.samples({ intervalMs: 5 })) {
      expect([cpuPercent, cgroup]).toEqual([0, 2]);
      if (++taken === 3) {
        stopped = true;
        end();
      }
    }
    expect(taken).toBeGreaterThanOrEqual(3);
    // A reading that fails while the container runs is an error.
    stopped = false;
    await server.close({ graceMs: 0 });
    await expect(task.samples({ intervalMs: 5 }).next()).rejects.toBeInstanceOf(TtrpcError);
  });
});

describe("watchShims", () => {
  it("reports the shims that are there, then those that come and go", async () => {
    const state = new State();
    await shimOf(state, "first", 3);
    const changes = watchShims({ state: state.state, intervalMs: 5 });
    const next = async () => {
      const { value } = await changes.next();
      return [value?.type, value?.shim.id, value?.shim.state];
    };
    expect(await next()).toEqual(["added", "first", "paused"]);
    // Without an address, its shim is still being started.
    state.bundle("default", "second", {});
    const coming = next();
    await shimOf(state, "second", 2);
    expect(await coming).toEqual(["added", "second", "paused"]);
    const bundle = path.join(state.state, "io.containerd.runtime.v2.task/default/first");
    const going = next();
    rmSync(bundle, { recursive: true });
    expect(await going).toEqual(["removed", "first", "paused"]);
    await changes.return(undefined);
  });

  it("reports a container that is replaced while its shim is asked", async () => {
    const state = new State();
    const bundle = path.join(state.state, "io.containerd.runtime.v2.task/default/web");
    let taskPid = 1;
    const server = createServer().add(Task, {
      connect() {
        if (taskPid > 1) return { taskPid };
        // The one that is answered for is the first; the next has the same id and address.
        rmSync(bundle, { recursive: true });
        state.bundle("default", "web", bootstrap(address));
        return { taskPid: taskPid++ };
      },
      state: ({ id }) => ({ id, status: Status.RUNNING }),
    });
    servers.push(server);
    const address = await server.listen(state.socket("web"));
    state.bundle("default", "web", bootstrap(address));
    const signal = AbortSignal.timeout(5000);
    const seen: unknown[] = [];
    for await (const { type, shim } of watchShims({ state: state.state, intervalMs: 5, signal })) {
      seen.push([type, shim.taskPid]);
      if (seen.length === 3) break;
    }
    expect(seen).toEqual([
      ["added", 1],
      ["removed", 1],
      ["added", 2],
    ]);
  });

  it("ends with its signal", async () => {
    const state = new State();
    const controller = new AbortController();
    const changes = watchShims({ state: state.state, signal: controller.signal });
    const end = changes.next();
    controller.abort();
    expect(await end).toEqual({ done: true, value: undefined });
  });
});

describe("usageOf", () => {
  it("is undefined for what are no metrics of cgroups", () => {
    expect(usageOf(packAny(StateRequestSchema, { id: "x" }))).toBeUndefined();
  });
});
