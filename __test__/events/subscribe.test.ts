import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readdirSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { setImmediate as turn, setTimeout as sleep } from "node:timers/promises";
import { create, isMessage, toBinary } from "@bufbuild/protobuf";
import { type Any, AnySchema, timestampFromMs } from "@bufbuild/protobuf/wkt";
import { type Server, status } from "@grpc/grpc-js";
import { Code, TtrpcError, unpackAny } from "containerd-shim-protos";
import {
  type ContainerdEvent,
  EnvelopeSchema,
  type EventGap,
  type EventSubscription,
  listenEvents,
  subscribeEvents,
  type SubscribeOptions,
  TaskCreateSchema,
  TaskExitSchema,
} from "containerd-shim-protos/events";
import { afterEach, describe, expect, test, vi } from "vitest";
import { ROOT } from "../helpers/program.js";
import { temporaryAddress, temporaryPath } from "../helpers/temp.js";
import { exitEnvelope, serveSubscriptions } from "./subscription-server.js";

const WAIT = { timeout: 10_000, interval: 5 };
const cleanUps: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).toReversed()) await cleanUp();
});

async function serve(address: string, subscribed: Parameters<typeof serveSubscriptions>[1]): Promise<Server> {
  const server = await serveSubscriptions(address, subscribed);
  cleanUps.push(() => server.forceShutdown());
  return server;
}

function subscribe(address: string, options: SubscribeOptions = {}) {
  const events = subscribeEvents(address, options);
  cleanUps.push(() => events.close());
  return events;
}

const statusOf = ({ message }: ContainerdEvent) =>
  isMessage(message, TaskExitSchema) ? message.exitStatus : undefined;

/** Takes events into a list, with `gap` where one was reported. */
function collect(events: EventSubscription, list: unknown[] = []) {
  const ended = (async () => {
    for await (const event of events) list.push(statusOf(event));
  })();
  ended.catch(() => undefined);
  return { list, ended };
}

const writes = (...statuses: number[]) => {
  return (call: { write(bytes: Uint8Array): unknown }) => {
    for (const one of statuses) call.write(exitEnvelope(one));
  };
};

describe("a subscription", () => {
  test("gives events decoded, with their bytes, one by one and in batches", async () => {
    const address = temporaryAddress();
    await serve(address, writes(1, 2, 3));
    const events = subscribe(address);
    const first = (await events[Symbol.asyncIterator]().next()).value as ContainerdEvent;
    expect(first).toMatchObject({
      namespace: "default",
      topic: "/tasks/exit",
      timestamp: { seconds: 1n, nanos: 2 },
      type: "containerd.events.TaskExit",
    });
    expect(statusOf(first)).toBe(1);
    await vi.waitFor(() => expect(events.counts.queued).toBe(2), WAIT);
    for await (const batch of events.batches()) {
      expect(batch.map(statusOf)).toEqual([2, 3]);
      break;
    }
    expect(events.counts).toMatchObject({ received: 3, taken: 3, queued: 0, queuedBytes: 0 });
  });

  test("waits for a containerd that is not there yet, and reports that gap once", async () => {
    const address = temporaryAddress();
    const gaps: EventGap[] = [];
    const events = subscribe(address, { onGap: (gap) => gaps.push(gap) });
    const { list } = collect(events);
    await vi.waitFor(() => expect(gaps).toHaveLength(1), WAIT);
    expect(gaps[0]).toMatchObject({
      dropped: 0,
      error: { code: Code.Unavailable, cause: { code: "ENOENT" } },
    });
    await serve(address, writes(7));
    await vi.waitFor(() => expect(list).toEqual([7]), WAIT);
    expect(gaps).toHaveLength(1);
    expect(events.counts.lost).toBe(1);
  });

  test("decodes a message of far more objects than bytes when it is taken, and no more than its queue may hold", async () => {
    const address = temporaryAddress();
    // Mounts without fields: each takes two bytes on the wire.
    const value = new Uint8Array(100_000).map((_, index) => (index % 2 === 0 ? 0x1a : 0));
    const heavy = { typeUrl: TaskCreateSchema.typeName, value };
    const $unknown = Array.from({ length: 50_000 }, () => ({ no: 3, wireType: 0, data: Uint8Array.of(0) }));
    const unknown = Object.assign(create(AnySchema), { $unknown });
    const envelope = (event: Any) =>
      toBinary(
        EnvelopeSchema,
        create(EnvelopeSchema, { namespace: "default", topic: "/tasks/create", event }),
      );
    await serve(address, (call) => {
      for (let index = 0; index < 5; index++) call.write(envelope(create(AnySchema, heavy)));
      call.write(envelope(unknown));
      call.write(exitEnvelope(1));
    });
    const events = subscribe(address);
    await vi.waitFor(() => expect(events.counts).toMatchObject({ received: 6, invalid: 1 }), WAIT);
    const batch = (await events.batches().next()).value as ContainerdEvent[];
    const decoded = batch.filter(({ message }) => isMessage(message, TaskCreateSchema));
    expect(decoded.length).toBeGreaterThan(0);
    expect(decoded.length).toBeLessThan(5);
    expect(unpackAny(batch[4]!.any, TaskCreateSchema)?.rootfs).toHaveLength(50_000);
    expect(statusOf(batch[5]!)).toBe(1);
  });

  test("reports a gap since the last event had happened, however late its loss is noticed", async () => {
    const address = temporaryAddress();
    let happened = 0;
    const server = await serve(address, (call) => {
      happened = Date.now();
      call.write(exitEnvelope(1, "c", timestampFromMs(happened)));
    });
    const gaps: EventGap[] = [];
    const events = subscribe(address, { onGap: (gap) => gaps.push(gap) });
    const { list } = collect(events);
    await vi.waitFor(() => expect(list).toEqual([1]), WAIT);
    await sleep(20);
    server.forceShutdown();
    await vi.waitFor(() => expect(gaps).toHaveLength(1), WAIT);
    expect(gaps[0]?.since.getTime()).toBe(happened);
  });

  test("reports a gap since a dropped event had happened, however late that came", async () => {
    const address = temporaryAddress();
    const [early, late] = [timestampFromMs(1_700_000_000_000), timestampFromMs(1_800_000_000_000_000)];
    const gaps: EventGap[] = [];
    await serve(address, (call) => {
      for (const at of [early, late, late]) call.write(exitEnvelope(1, "c", at));
    });
    const events = subscribe(address, { maxQueuedEvents: 2, onGap: (gap) => gaps.push(gap) });
    await vi.waitFor(() => expect(events.counts.received).toBe(3), WAIT);
    await events[Symbol.asyncIterator]().next();
    expect(gaps.map(({ since }) => since.getTime())).toEqual([1_700_000_000_000]);
  });

  test("reports a gap exactly between the events around it, and splits batches there", async () => {
    const address = temporaryAddress();
    let subscriptions = 0;
    await serve(address, (call) => {
      const base = 10 * ++subscriptions;
      writes(base, base + 1)(call);
      if (subscriptions < 3) setTimeout(() => call.end(), 20);
    });
    const list: unknown[] = [];
    const events = subscribe(address, { onGap: () => list.push("gap") });
    await vi.waitFor(() => expect(events.counts.queued).toBe(6), WAIT);
    for await (const batch of events.batches()) {
      list.push(batch.map(statusOf));
      if (list.length === 5) break;
    }
    expect(list).toEqual([[10, 11], "gap", [20, 21], "gap", [30, 31]]);
  });

  test("drops the oldest events of a slow reader within its limits, and marks their place", async () => {
    const address = temporaryAddress();
    await serve(address, writes(...Array.from({ length: 1000 }, (_, number) => number)));
    const gaps: EventGap[] = [];
    const events = subscribe(address, { maxQueuedEvents: 10, onGap: (gap) => gaps.push(gap) });
    await vi.waitFor(() => expect(events.counts.received).toBe(1000), WAIT);
    expect(events.counts).toMatchObject({ queued: 10, dropped: 990 });
    const { list } = collect(events);
    await vi.waitFor(() => expect(list).toHaveLength(10), WAIT);
    expect(list).toEqual([990, 991, 992, 993, 994, 995, 996, 997, 998, 999]);
    expect(gaps).toMatchObject([{ dropped: 990, error: undefined }]);
  });

  test("reads no more than its limits while a reader is slow, with whenFull wait", async () => {
    const address = temporaryAddress();
    await serve(address, writes(...Array.from({ length: 1000 }, (_, number) => number)));
    const events = subscribe(address, { maxQueuedEvents: 10, whenFull: "wait" });
    await vi.waitFor(() => expect(events.counts.queued).toBe(10), WAIT);
    for (let turns = 0; turns < 100; turns++) await turn();
    expect(events.counts).toMatchObject({ received: 10, queued: 10 });
    const { list } = collect(events);
    await vi.waitFor(() => expect(list).toHaveLength(1000), WAIT);
    expect(list).toEqual(Array.from({ length: 1000 }, (_, number) => number));
  });

  test("closes while it waits for room", async () => {
    const address = temporaryAddress();
    await serve(address, writes(1, 2, 3));
    const events = subscribe(address, { maxQueuedEvents: 1, whenFull: "wait" });
    await vi.waitFor(() => expect(events.counts.queued).toBe(1), WAIT);
    await events.close();
    expect(events.connected).toBe(false);
  });

  test("ends with ResourceExhausted behind the events that wait, with whenFull fail", async () => {
    const address = temporaryAddress();
    await serve(address, writes(1, 2, 3, 4));
    const events = subscribe(address, { maxQueuedEvents: 2, whenFull: "fail" });
    await vi.waitFor(() => expect(events.counts.received).toBeGreaterThan(2), WAIT);
    const { list, ended } = collect(events);
    await expect(ended).rejects.toMatchObject({ code: Code.ResourceExhausted });
    expect(list).toEqual([1, 2]);
  });

  test("counts an event that does not decode, and goes on", async () => {
    const address = temporaryAddress();
    await serve(address, (call) => {
      writes(1)(call);
      // An Any whose length exceeds the message, and a timestamp that is none.
      call.write(new Uint8Array([0x22, 2, 0x0a, 9]));
      call.write(new Uint8Array([0x0a, 1, 0x08]));
      writes(2)(call);
    });
    const events = subscribe(address);
    const { list } = collect(events);
    await vi.waitFor(() => expect(list).toEqual([1, 2]), WAIT);
    expect(events.counts).toMatchObject({ invalid: 2, lost: 0 });
  });

  test.each([
    ["Unimplemented", status.UNIMPLEMENTED],
    ["InvalidArgument", status.INVALID_ARGUMENT],
    ["Unknown", status.UNKNOWN],
  ] as const)("ends with %s of a server that does not want it", async (name, code) => {
    const address = temporaryAddress();
    await serve(address, (call) => call.emit("error", { code, details: "the words" }));
    const failed = await collect(subscribe(address)).ended.catch((error: unknown) => error);
    expect(failed).toBeInstanceOf(TtrpcError);
    expect(failed).toMatchObject({ code: Code[name], message: `${address}: the words` });
  });

  test("comes back after a peer that speaks no HTTP/2", async () => {
    const address = temporaryAddress();
    const peer = createServer((socket) =>
      socket
        .on("error", () => undefined)
        .resume()
        .write("no such thing\n".repeat(50)),
    );
    peer.listen(address.slice("unix://".length));
    await once(peer, "listening");
    const gaps: EventGap[] = [];
    const { list } = collect(subscribe(address, { onGap: (gap) => gaps.push(gap) }));
    await vi.waitFor(() => expect(gaps).toHaveLength(1), WAIT);
    expect(gaps[0]?.error?.message).toMatch(`${address} is not a gRPC server`);
    await new Promise((resolve) => peer.close(resolve));
    await serve(address, writes(5));
    await vi.waitFor(() => expect(list).toEqual([5]), WAIT);
  });

  test("survives the ttrpc socket in place of the gRPC one", async () => {
    const address = temporaryAddress();
    await using sink = listenEvents(address);
    const gaps: EventGap[] = [];
    collect(subscribe(sink.address, { onGap: (gap) => gaps.push(gap) }));
    await vi.waitFor(() => expect(gaps.length).toBeGreaterThan(0), WAIT);
    expect(gaps[0]?.error?.message).toContain(`${address} is not a gRPC server`);
  });

  test("ends, with what waits, when its signal aborts, and when it is closed", async () => {
    const address = temporaryAddress();
    await serve(address, writes(1, 2));
    const controller = new AbortController();
    for (const end of [(events: EventSubscription) => events.close(), () => controller.abort()]) {
      const events = subscribe(address, { signal: controller.signal });
      await vi.waitFor(() => expect(events.counts.queued).toBe(2), WAIT);
      void end(events);
      const { list, ended } = collect(events);
      await ended;
      expect(list).toEqual([1, 2]);
    }
    const late = subscribe(address, { signal: controller.signal });
    await collect(late).ended;
    expect(late.counts.received).toBe(0);
  });

  test("lets the process see an error of onGap, and goes on", async () => {
    const address = temporaryAddress();
    const thrown: unknown[] = [];
    const listeners = process.listeners("uncaughtException");
    process.removeAllListeners("uncaughtException");
    process.on("uncaughtException", (error) => thrown.push(error));
    try {
      const events = subscribe(address, {
        onGap: () => {
          throw new Error("of the user");
        },
      });
      const { list } = collect(events);
      await vi.waitFor(() => expect(thrown).toMatchObject([{ message: "of the user" }]), WAIT);
      await serve(address, writes(3));
      await vi.waitFor(() => expect(list).toEqual([3]), WAIT);
    } finally {
      process.removeAllListeners("uncaughtException");
      for (const listener of listeners) process.on("uncaughtException", listener);
    }
  });

  test.each<[string, unknown, string]>([
    ["an address over TCP", ["tcp://127.0.0.1:1"], "is not a unix socket"],
    ["a wrong option", ["/a", { topic: [] }], "did you mean topics?"],
    ["an empty filter", ["/a", { filters: [" "] }], "filters[0]: a filter must not be empty"],
    ["a namespace that is none", ["/a", { namespaces: ['a"'] }], "namespaces[0]: namespace"],
    ["a topic with a quote", ["/a", { topics: ['/a",x'] }], "topics[0]:"],
    ["no namespaces", ["/a", { namespaces: [] }], "namespaces must not be empty"],
    [
      "too many combinations",
      ["/a", { filters: Array(40).fill("x"), topics: Array(40).fill("/x") }],
      "more than 1000",
    ],
    ["a signal that is none", ["/a", { signal: {} }], "signal must be an AbortSignal"],
    ["onGap that is none", ["/a", { onGap: 1 }], "onGap must be a function, not number"],
    ["whenFull that is none", ["/a", { whenFull: "x" }], "whenFull must be one of dropOldest, fail, wait"],
    ["a limit that is none", ["/a", { maxQueuedEvents: 0 }], "maxQueuedEvents must be an integer"],
  ])("refuses %s", (_, given, message) => {
    const [address, options] = given as Parameters<typeof subscribeEvents>;
    const call = () => subscribeEvents(address, options);
    expect(call).toThrow(TypeError);
    expect(call).toThrow(message);
  });

  test("names the packages that it needs when they are missing, and nothing else needs them", () => {
    const folder = temporaryPath();
    mkdirSync(join(folder, "node_modules/@bufbuild"), { recursive: true });
    // Without its own node_modules, in which the client is.
    const installed = join(folder, "node_modules/containerd-shim-protos");
    mkdirSync(installed);
    for (const name of readdirSync(ROOT).filter((one) => /^(dist|package\.json)$|\.node$/.test(one)))
      symlinkSync(join(ROOT, name), join(installed, name));
    symlinkSync(
      join(ROOT, "node_modules/@bufbuild/protobuf"),
      join(folder, "node_modules/@bufbuild/protobuf"),
    );
    const program = `
      import { listenEvents, subscribeEvents } from "containerd-shim-protos/events";
      await listenEvents(process.argv[2]).close();
      for await (const event of subscribeEvents("/run/containerd/containerd.sock"));
    `;
    writeFileSync(join(folder, "program.mjs"), program);
    const node = ["--preserve-symlinks", "--preserve-symlinks-main", "program.mjs", temporaryAddress()];
    const { stderr, status: code } = spawnSync(process.execPath, node, {
      cwd: folder,
      encoding: "utf8",
      timeout: 15_000,
    });
    expect(stderr).toContain("npm install @connectrpc/connect @connectrpc/connect-node");
    expect(stderr).toContain("code: 9");
    expect(code).toBe(1);
  });
});
