import { closeSync, existsSync, fstatSync, mkdirSync, openSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import {
  Code,
  createClient,
  type ServerInterceptor,
  type ServiceImpl,
  TtrpcError,
} from "containerd-shim-protos";
import {
  TASK_EXIT_EVENT_TOPIC,
  TASK_START_EVENT_TOPIC,
  TaskExitSchema,
  TaskStartSchema,
} from "containerd-shim-protos/events";
import type { ShimContext } from "containerd-shim-protos/shim";
import { createTestShim } from "containerd-shim-protos/shim/testing";
import { Sandbox } from "containerd-shim-protos/sandbox";
import { Streaming } from "containerd-shim-protos/streaming";
import { Task as TaskV2 } from "containerd-shim-protos/task/v2";
import type { Task } from "containerd-shim-protos/task/v3";
import { describe, expect, test, vi } from "vitest";
import { PACKAGE } from "../helpers/package.js";
import { temporaryPath } from "../helpers/temp.js";
import { describeMounts, withMounts } from "./mounts.js";

/** A service that reports a start and an exit, and logs. */
function createService(context: ShimContext): ServiceImpl<typeof Task> {
  return {
    create({ id, bundle }) {
      const spec = JSON.parse(readFileSync(`${bundle}/config.json`, "utf8")) as { hostname: string };
      context.log.info(`created "${spec.hostname}"`, { id, pid: 7 });
      return { pid: 7 };
    },
    start({ id }) {
      context.publish(TASK_START_EVENT_TOPIC, TaskStartSchema, { containerId: id, pid: 7 });
      context.publish(TASK_EXIT_EVENT_TOPIC, TaskExitSchema, { containerId: id, id, pid: 7, exitStatus: 3 });
      return { pid: 7 };
    },
    state({ id }) {
      throw new TtrpcError(`no ${id}`, Code.NotFound);
    },
    shutdown() {
      context.shutdown();
      return {};
    },
  };
}

describe("createTestShim", () => {
  test("gives a client, the events in order and the log, without containerd", async () => {
    const shim = await createTestShim(createService, { id: "web", spec: { hostname: "h" } });
    const { bundle } = shim;
    expect(await shim.task.create({ id: shim.id, bundle })).toMatchObject({ pid: 7 });
    expect(shim.log).toContainEqual({
      level: "info",
      message: 'created "h"',
      fields: { id: "web", pid: "7", namespace: "default" },
    });
    const coming = shim.nextEvent();
    await shim.task.start({ id: shim.id });
    expect(await coming).toMatchObject({
      topic: TASK_START_EVENT_TOPIC,
      namespace: "default",
      message: { pid: 7 },
    });
    expect(await shim.nextEvent()).toMatchObject({
      topic: TASK_EXIT_EVENT_TOPIC,
      message: { exitStatus: 3 },
    });
    expect(shim.events.map(({ topic }) => topic)).toEqual([TASK_START_EVENT_TOPIC, TASK_EXIT_EVENT_TOPIC]);
    await expect(shim.nextEvent({ timeoutMs: 10 })).rejects.toMatchObject({ code: Code.DeadlineExceeded });
    await expect(shim.task.state({ id: "x" })).rejects.toMatchObject({ code: Code.NotFound });
    await shim.task.shutdown({ id: shim.id });
    await shim.shutdown;
    const none = { code: Code.Canceled, message: "the shim was closed, and there is no other event" };
    const late = shim.nextEvent({ timeoutMs: Number.POSITIVE_INFINITY });
    await Promise.all([shim.close(), expect(late).rejects.toMatchObject(none)]);
    expect(existsSync(bundle)).toBe(false);
    await expect(shim.nextEvent()).rejects.toMatchObject(none);
    expect(shim.log).toContainEqual(expect.objectContaining({ message: 'created "h"' }));
  });

  test("logs what a handler throws by mistake, with the stack, also when nobody waits any more, and no answers", async () => {
    const service: ServiceImpl<typeof Task> = {
      state: () => (undefined as unknown as { method(): { pid: number } }).method(),
      async wait(_, { signal }) {
        await sleep(60_000, undefined, { signal });
        return {};
      },
      async stats(_, { signal }) {
        await sleep(60_000, undefined, { signal }).catch(() => undefined);
        throw new Error("a mistake after the deadline");
      },
      pids() {
        throw new TtrpcError("expected", Code.Unknown);
      },
    };
    const createSandboxService = (): ServiceImpl<typeof Sandbox> => ({
      sandboxStatus() {
        throw new RangeError("a mistake about the sandbox");
      },
    });
    await using shim = await createTestShim(() => service, { createSandboxService });
    await expect(shim.task.state({})).rejects.toMatchObject({ code: Code.Unknown });
    await expect(shim.task.pids({})).rejects.toMatchObject({ rawMessage: "expected" });
    await expect(createClient(TaskV2, shim.connection).state({})).rejects.toThrow(/method/);
    for (const call of [shim.task.wait, shim.task.stats])
      await expect(call({}, { timeoutMs: 5 })).rejects.toMatchObject({ code: Code.DeadlineExceeded });
    await expect(createClient(Sandbox, shim.connection).sandboxStatus({})).rejects.toThrow(/sandbox/);
    const errors = () => shim.log.filter(({ level }) => level === "error");
    await vi.waitFor(() => expect(errors()).toHaveLength(4), 10_000);
    expect(
      errors()
        .map(({ message }) => message)
        .toSorted(),
    ).toEqual([
      "the handler of SandboxStatus failed",
      "the handler of State failed",
      "the handler of State failed",
      "the handler of Stats failed",
    ]);
    for (const { fields } of errors()) expect(fields["error"]).toContain("testing.test.ts:");
  });

  test("serves version 2 too, as a shim does", async () => {
    await using shim = await createTestShim(createService, { spec: { hostname: "h" } });
    const reply = await createClient(TaskV2, shim.connection).create({ id: "test", bundle: shim.bundle });
    expect(reply.pid).toBe(7);
    await expect(createClient(TaskV2, shim.connection).pause({ id: "x" })).rejects.toMatchObject({
      code: Code.Unimplemented,
    });
  });

  test("keeps Shutdown of a container from the service while there is a sandbox, as a shim does", async () => {
    const calls: string[] = [];
    const note = (name: string) => () => {
      calls.push(name);
      return {};
    };
    await using shim = await createTestShim(() => ({ shutdown: note("shutdown") }), {
      createSandboxService: () => ({
        createSandbox({ sandboxId }) {
          if (sandboxId === "bad") throw new TtrpcError("no sandbox", Code.Unknown);
          return {};
        },
        shutdownSandbox: note("shutdownSandbox"),
      }),
    });
    const sandbox = createClient(Sandbox, shim.connection);
    await shim.task.shutdown({});
    await expect(sandbox.createSandbox({ sandboxId: "bad" })).rejects.toMatchObject({ code: Code.Unknown });
    await shim.task.shutdown({});
    expect(calls.splice(0)).toEqual(["shutdown", "shutdown"]);
    await sandbox.createSandbox({ sandboxId: "pod" });
    await shim.task.shutdown({});
    await createClient(TaskV2, shim.connection).shutdown({});
    expect(calls).toEqual([]);
    await sandbox.shutdownSandbox({});
    await shim.task.shutdown({});
    expect(calls).toEqual(["shutdownSandbox", "shutdown"]);
  });

  test("answers Shutdown in a sandbox, on which Delete depends, though the service does not", async () => {
    const createSandboxService = () => ({ createSandbox: () => ({}) });
    await using shim = await createTestShim(() => ({}), { createSandboxService });
    await expect(shim.task.shutdown({})).rejects.toMatchObject({ code: Code.Unimplemented });
    await createClient(Sandbox, shim.connection).createSandbox({});
    expect(await shim.task.shutdown({})).toMatchObject({});
    const wrong = createTestShim(() => ({ shutdown: 5 as never }), { createSandboxService });
    await expect(wrong).rejects.toThrow("containerd.task.v3.Task/Shutdown must be a function");
  });

  test("serves the sandbox service and others, as a shim does", async () => {
    await using shim = await createTestShim(createService, {
      createSandboxService: () => ({ pingSandbox: () => ({}) }),
      addServices: (server, { id }) =>
        void server.add(Streaming, {
          stream: async function* () {
            yield { typeUrl: id };
          },
        }),
    });
    await createClient(Sandbox, shim.connection).pingSandbox({});
    for await (const { typeUrl } of createClient(Streaming, shim.connection).stream([]))
      expect(typeUrl).toBe("test");
    expect.assertions(1);
  });

  test("has its requests intercepted, as a shim does", async () => {
    const calls: string[] = [];
    const interceptorOf =
      ({ id }: ShimContext): ServerInterceptor =>
      (next) =>
      (call) => {
        calls.push(`${call.service}/${call.method} in ${id}`);
        return next(call);
      };
    await using shim = await createTestShim(createService, {
      createSandboxService: () => ({ pingSandbox: () => ({}) }),
      createInterceptors: (context) => Promise.resolve([interceptorOf(context)]),
    });
    await createClient(TaskV2, shim.connection).connect({});
    await createClient(Sandbox, shim.connection).pingSandbox({});
    expect(calls).toEqual([
      "containerd.task.v2.Task/Connect in test",
      "containerd.runtime.sandbox.v1.Sandbox/PingSandbox in test",
    ]);
    const wrong = createTestShim(createService, { createInterceptors: () => 5 as never });
    await expect(wrong).rejects.toThrow("interceptors must be");
  });

  test("logs nothing once it is closed, when the descriptor of its log may be another's", async () => {
    const shim = await createTestShim(createService);
    const { log } = shim.context;
    log.info("in time");
    await shim.close();
    const folder = temporaryPath();
    mkdirSync(folder);
    const files = Array.from({ length: 40 }, (_, index) => openSync(join(folder, `${index}`), "w"));
    log.info("late");
    expect(files.map((fd) => fstatSync(fd).size).filter((size) => size > 0)).toEqual([]);
    for (const fd of files) closeSync(fd);
    expect(shim.log.map(({ message }) => message)).toEqual(["in time"]);
  });

  test("rejects with what the service throws, and leaves nothing behind", async () => {
    let bundle = "";
    const failing = (context: ShimContext) => {
      ({ bundle } = context);
      throw new Error("no engine");
    };
    await expect(createTestShim(failing)).rejects.toThrow("no engine");
    expect(existsSync(bundle)).toBe(false);
    await expect(createTestShim({} as never)).rejects.toThrow(
      "createTaskService must be a function, not object",
    );
    await expect(createTestShim(createService, { ids: "x" } as object)).rejects.toThrow("did you mean id?");
  });
});

describeMounts("the bundle of createTestShim", () => {
  test("goes without what the service has left mounted there", async () => {
    const seen = await withMounts<unknown>(`
      const { createTestShim } = await import("${PACKAGE}/shim/testing");
      const source = make("source", { kept: "" });
      const shim = await createTestShim(() => ({
        create: async ({ bundle, rootfs }) => (await mountAll(rootfs, path.join(bundle, "rootfs")), {}),
      }));
      const { id, bundle: own } = shim;
      await shim.task.create({ id, bundle: own, rootfs: [{ type: "bind", source, options: ["bind"] }] });
      const mounted = fs.readdirSync(path.join(own, "rootfs"));
      await shim.close();
      tell([mounted, fs.existsSync(own), fs.readdirSync(source)]);
    `);
    expect(seen).toEqual([["kept"], false, ["kept"]]);
  });
});
