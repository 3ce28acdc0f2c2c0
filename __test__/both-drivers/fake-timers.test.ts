import diagnostics from "node:diagnostics_channel";
import { performance } from "node:perf_hooks";
import { setTimeout as sleep } from "node:timers/promises";
import { mock } from "node:test";
import { type CallMessage, Code, connect, createClient, createServer } from "containerd-shim-protos";
import {
  createPublisher,
  listenEvents,
  TASK_EXIT_EVENT_TOPIC,
  TaskExitSchema,
} from "containerd-shim-protos/events";
import { Task } from "containerd-shim-protos/task/v3";
import { afterEach, describe, expect, test, vi } from "vitest";
import { deferred } from "../helpers/outcome.js";
import { Script } from "../helpers/script.js";
import { temporaryAddress } from "../helpers/temp.js";

const EVERYTHING = [
  "setTimeout",
  "clearTimeout",
  "setInterval",
  "clearInterval",
  "setImmediate",
  "clearImmediate",
  "queueMicrotask",
  "performance",
] as const;

const frameworks: readonly (readonly [name: string, fake: () => void])[] = [
  ["vitest", () => vi.useFakeTimers({ toFake: [...EVERYTHING] })],
  ["Sinon", fakeClockOfNode],
  ["node:test", () => mock.timers.enable({ apis: ["setTimeout", "setInterval", "setImmediate"] })],
];

/** Node's own clock, which Sinon's fake timers replace as well. */
function fakeClockOfNode(): void {
  vi.useFakeTimers({ toFake: [...EVERYTHING] });
  Object.defineProperty(performance, "now", { value: () => 0, configurable: true });
}

function restore(): void {
  Reflect.deleteProperty(performance, "now");
  vi.useRealTimers();
  mock.timers.reset();
}

afterEach(restore);

/** Lets the event loop turn, which fake timers cannot keep from it. */
const within = async <T>(outcome: Promise<T>): Promise<T> => {
  const late = sleep(10_000).then(() => {
    throw new Error("it never settled");
  });
  return await Promise.race([outcome, late]);
};

describe.each(frameworks)("the fake timers of %s", (_, fake) => {
  test("move no deadline, keep no call and no close waiting, and harm nothing when they end", async () => {
    const server = createServer().add(Task, {
      state: ({ id }) => ({ id }),
      wait: () => new Promise<never>(() => {}),
    });
    const address = await server.listen(temporaryAddress());
    const connection = await connect(address);
    const task = createClient(Task, connection);
    fake();
    expect((await within(task.state({ id: "web" }))).id).toBe("web");
    await expect(within(task.wait({ id: "web" }, { timeoutMs: 30 }))).rejects.toThrow(/deadline/);
    restore();
    expect((await within(task.state({ id: "web" }))).id).toBe("web");
    fake();
    task.wait({ id: "web" }).catch(() => undefined);
    await within(task.state({ id: "web" }));
    await within(server.close({ graceMs: 0 }));
    await within(connection.close());
  });

  test("end no attempt to connect later, and leave a handler the time that it has", async () => {
    const left: (number | undefined)[] = [];
    await using server = createServer().add(Task, {
      state({ id }, context) {
        fake();
        left.push(context.remainingMs());
        restore();
        left.push(context.remainingMs());
        return { id };
      },
    });
    await using connection = await connect(await server.listen(temporaryAddress()));
    await createClient(Task, connection).state({ id: "web" }, { timeoutMs: 60_000 });
    for (const ms of left) expect(ms).toSatisfy((real: number) => real > 0 && real <= 60_000);
    fake();
    const attempt = connect(temporaryAddress(), { waitForReady: true, connectTimeoutMs: 50 });
    await expect(within(attempt)).rejects.toThrow(/ENOENT/);
  });

  test("keep the end of a call from none of its observers", async () => {
    await using server = createServer().addRaw("a.B", {
      Watch: { kind: "server_streaming", handle: () => new Promise<never>(() => {}) as never },
    });
    await using connection = await connect(await server.listen(temporaryAddress()));
    const ended = deferred<unknown>();
    const observe = (message: unknown) => ended.resolve((message as CallMessage).error?.code);
    diagnostics.subscribe("ttrpc:client:call:end", observe);
    try {
      fake();
      const abort = new AbortController();
      const replies = connection.serverStreaming("a.B", "Watch", new Uint8Array(), { signal: abort.signal });
      abort.abort();
      await expect(within(replies.next())).rejects.toThrow(/canceled/);
      expect(await within(ended.promise)).toBe(Code.Canceled);
    } finally {
      diagnostics.unsubscribe("ttrpc:client:call:end", observe);
      await server.close({ graceMs: 0 });
    }
  });

  test("keep no event from being acknowledged", async () => {
    const address = temporaryAddress();
    await using sink = listenEvents(address);
    fake();
    const publisher = createPublisher(address, { namespace: "default" });
    const published = publisher.publish(TASK_EXIT_EVENT_TOPIC, TaskExitSchema, { containerId: "web" });
    for await (const { topic } of sink) {
      expect(topic).toBe(TASK_EXIT_EVENT_TOPIC);
      break;
    }
    await within(published);
    await within(publisher.close());
  });

  test("keep no connection from being made again", async () => {
    const address = temporaryAddress();
    const echo = () => createServer().add(Task, { state: ({ id }) => ({ id }) });
    const first = echo();
    await first.listen(address);
    const reconnect = { initialDelayMs: 20, maxDelayMs: 20 };
    await using connection = await connect(address, { reconnect });
    const task = createClient(Task, connection);
    await task.state({ id: "a" });
    fake();
    await within(first.close({ graceMs: 0 }));
    await expect(within(task.state({ id: "a" }, { timeoutMs: 1 }))).rejects.toThrow(/State/);
    await using second = echo();
    await second.listen(address);
    const answered = async (): Promise<string> => {
      for (;;) {
        try {
          return (await task.state({ id: "b" })).id;
        } catch {
          await sleep(5);
        }
      }
    };
    expect(await within(answered())).toBe("b");
  });
});

// Jest fakes it too, and drops what waits when its fake timers end. vitest itself needs it.
test("a faked process.nextTick keeps no call waiting", async () => {
  await using script = new Script(`
    const server = product.createServer().addRaw("a.B", { C: { kind: "unary", handle: (payload) => payload } });
    const connection = await product.connect(await server.listen("${temporaryAddress()}"));
    const { nextTick } = process;
    process.nextTick = () => undefined;
    const during = await connection.unary("a.B", "C", Uint8Array.of(1), { timeoutMs: 2000 }).catch((error) => [error]);
    process.nextTick = nextTick;
    const after = await connection.unary("a.B", "C", Uint8Array.of(2), { timeoutMs: 2000 }).catch((error) => [error]);
    say([...during, ...after].join());
    await connection.close();
    await server.close();
  `);
  expect(await script.rest()).toEqual(["1,2"]);
});
