import { existsSync, mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { isMessage, toJson } from "@bufbuild/protobuf";
import {
  type Client,
  Code,
  connect,
  createClient,
  createServer,
  type HandlerContext,
  type Server,
  TtrpcError,
} from "containerd-shim-protos";
import { Sandbox } from "containerd-shim-protos/sandbox";
import { Task as TaskV2 } from "containerd-shim-protos/task/v2";
import {
  type ExecProcessRequest,
  ExecProcessRequestSchema,
  type StateRequest,
  Status,
  Task,
} from "containerd-shim-protos/task/v3";
import { describe, expect, test, vi } from "vitest";
import { notingDeletes } from "../../src/shim/deleted.js";
import { IdleMemory } from "../../src/shim/idle-memory.js";
import { addSandbox, addTask } from "../../src/shim/task.js";
import { temporaryPath } from "../helpers/temp.js";

/** Nothing of these tests is logged. */
const log = {} as never;

/** Serves a task service as a shim does. */
async function serve(service: object, memory = new IdleMemory()) {
  const server: Server = createServer();
  addTask(server as never, memory.watching(Task, notingDeletes(service)) as never, log);
  const connection = await connect(await server.listen(temporaryPath()));
  return {
    client: createClient(Task, connection),
    older: createClient(TaskV2, connection) as unknown as Client<typeof Task>,
    async [Symbol.asyncDispose]() {
      await connection.close();
      await server.close({ graceMs: 0 });
    },
  };
}

describe("the task service of a shim", () => {
  test("may be an instance of a class, with fields and private ones", async () => {
    class Service {
      calls = 0;
      #secret = 5;
      create() {
        return { pid: this.#secret };
      }
      state() {
        return { pid: ++this.calls };
      }
      delete() {
        return { exitStatus: this.#secret };
      }
    }
    await using shim = await serve(new Service());
    expect(await shim.client.create({})).toMatchObject({ pid: 5 });
    expect([await shim.client.state({}), await shim.older.state({})]).toMatchObject([{ pid: 1 }, { pid: 2 }]);
    expect(await shim.client.delete({})).toMatchObject({ exitStatus: 5 });
  });

  test.each([
    [3, "client"],
    [2, "older"],
  ] as const)(
    "gets messages of version 3 from a caller of version %i, and may pass them on and answer with another's",
    async (_, version) => {
      const seen: unknown[] = [];
      await using guest = await serve({
        exec: () => ({}),
        state: ({ id }: StateRequest) => ({ id, status: Status.PAUSED }),
      });
      await using shim = await serve({
        exec(request: ExecProcessRequest, parent: HandlerContext) {
          seen.push(toJson(ExecProcessRequestSchema, request), isMessage(request, ExecProcessRequestSchema));
          return guest.client.exec(request, { parent });
        },
        state: (request: StateRequest, parent: HandlerContext) => guest.client.state(request, { parent }),
      });
      await shim[version].exec({ id: "box", execId: "sh" });
      expect(seen).toEqual([{ id: "box", execId: "sh" }, true]);
      expect(await shim[version].state({ id: "box" })).toMatchObject({ id: "box", status: Status.PAUSED });
    },
  );

  test("still has its names checked", async () => {
    await expect(serve({ crate: () => ({}) })).rejects.toThrow("containerd.task.v3.Task has no method crate");
    await expect(serve({ state: 5 })).rejects.toThrow("containerd.task.v3.Task/State must be a function");
    await expect(serve([])).rejects.toThrow("must be an object of handlers");
    const forgotten = serve(undefined as never);
    await expect(forgotten).rejects.toThrow(
      "containerd.task.v3.Task must be an object of handlers, not undefined",
    );
  });

  test("answers Connect, by which containerd finds the shim again, without a handler", async () => {
    await using shim = await serve({});
    expect(await shim.older.connect({ id: "any" })).toMatchObject({ shimPid: process.pid, taskPid: 0 });
    await using own = await serve({ connect: () => ({ taskPid: 7 }) });
    expect(await own.client.connect({})).toMatchObject({ shimPid: 0, taskPid: 7 });
  });

  test("tells in Connect the pid that State does, and answers whatever State does", async () => {
    const states: Record<string, () => unknown> = {
      box: () => ({ pid: 4 }),
      created: () => ({}),
      hangs: () => new Promise(() => undefined),
    };
    const state = ({ id }: { id: string }) => {
      if (states[id] === undefined) throw new TtrpcError(`no ${id}`, Code.NotFound);
      return states[id]();
    };
    await using shim = await serve({ state });
    const told = async (id: string) => (await shim.client.connect({ id })).taskPid;
    expect(await Promise.all(["box", "created", "pod", "hangs"].map(told))).toEqual([4, 0, 0, 0]);
    expect(await shim.older.connect({ id: "box" })).toMatchObject({ shimPid: process.pid, taskPid: 4 });
  });

  test("answers Pids, without which containerd deletes a task that it finds again, by State", async () => {
    const asked: object[] = [];
    const state = (request: object) => {
      asked.push(request);
      return { pid: 4 };
    };
    await using shim = await serve({ state });
    expect(await shim.client.pids({ id: "box" })).toMatchObject({ processes: [{ pid: 4 }] });
    expect(await shim.older.pids({ id: "box" })).toMatchObject({ processes: [{ pid: 4 }] });
    expect(asked).toMatchObject([
      { id: "box", execId: "" },
      { id: "box", execId: "" },
    ]);
    // The process has not been started.
    await using created = await serve({ state: () => ({}) });
    expect(await created.client.pids({})).toMatchObject({ processes: [{ pid: process.pid }] });
    await using own = await serve({ state, pids: () => ({ processes: [] }) });
    expect(await own.client.pids({})).toMatchObject({ processes: [] });
  });

  test("answers Pids as State if there is no task, and not at all without State", async () => {
    const state = () => {
      throw new TtrpcError("no container", Code.NotFound);
    };
    await using shim = await serve({ state });
    await expect(shim.client.pids({})).rejects.toMatchObject({ code: Code.NotFound });
    await using bare = await serve({});
    await expect(bare.client.pids({})).rejects.toMatchObject({ code: Code.Unimplemented });
  });

  test("answers Platform, without which CRI creates no container in a sandbox, with that of the host", async () => {
    const server: Server = createServer();
    addSandbox(server as never, {}, log);
    await using connection = await connect(await server.listen(temporaryPath()));
    const { platform } = await createClient(Sandbox, connection).platform({ sandboxId: "pod" });
    // As Go names them.
    const architecture = { x64: "amd64", arm64: "arm64" }[process.arch as "x64" | "arm64"];
    expect(platform).toMatchObject({ os: "linux", architecture });
    await server.close({ graceMs: 0 });
    const guest = { platform: { os: "linux", architecture: "riscv64" } };
    const handlers: Record<string, () => object> = {};
    const other = { add: (_: unknown, service: object) => Object.assign(handlers, service) };
    addSandbox(other as never, { platform: () => guest }, log);
    expect(await handlers["platform"]?.()).toEqual(guest);
  });

  test.each([
    ["wait", addTask],
    ["waitSandbox", addSandbox],
  ] as const)("ends a %s that nobody waits for, whatever its handler does", async (name, add) => {
    const handlers: Record<string, (request: object, context: object) => unknown> = {};
    const server = { add: (_: unknown, service: object) => Object.assign(handlers, service) };
    let end!: (reply: object) => void;
    add(server as never, { [name]: () => new Promise<object>((resolve) => (end = resolve)) }, log);
    const caller = new AbortController();
    const { signal } = caller;
    const givenUp = handlers[name]?.({}, { signal });
    caller.abort(new Error("the deadline passed"));
    await expect(givenUp).rejects.toThrow("the deadline passed");
    await expect(handlers[name]?.({}, { signal })).rejects.toThrow("the deadline passed");
    const answered = handlers[name]?.({}, { signal: new AbortController().signal });
    end({ exitStatus: 3 });
    expect(await answered).toEqual({ exitStatus: 3 });
  });

  test("notes no end of a container whose bundle has another by now", async () => {
    const bundle = temporaryPath();
    mkdirSync(bundle);
    await using shim = await serve({ create: () => ({}), delete: () => ({}) });
    const note = join(bundle, "shim-deleted");
    await shim.client.create({ id: "one", bundle });
    await shim.client.delete({ id: "one" });
    expect(existsSync(note)).toBe(true);
    await shim.client.create({ id: "two", bundle });
    expect(existsSync(note)).toBe(false);
    await shim.client.create({ id: "three", bundle: "" });
    await shim.client.delete({ id: "three" });
    expect(existsSync("shim-deleted")).toBe(false);
    rmSync(bundle, { recursive: true });
  });

  test("is served on while no descriptor is left to read the use of memory with", async () => {
    const { rss } = process.memoryUsage;
    const tried = vi.fn<() => number>(() => {
      throw new Error("EMFILE: too many open files, uv_resident_set_memory");
    });
    process.memoryUsage.rss = tried;
    try {
      await using shim = await serve({ state: () => ({ pid: 7 }) }, new IdleMemory(1));
      for (const times of [1, 2]) {
        expect(await shim.client.state({})).toMatchObject({ pid: 7 });
        await vi.waitFor(() => expect(tried).toHaveBeenCalledTimes(times));
      }
    } finally {
      process.memoryUsage.rss = rss;
    }
  });
});
