import { spawn } from "node:child_process";
import { once } from "node:events";
import { setImmediate as turn, setTimeout as sleep } from "node:timers/promises";
import { create, createRegistry, isMessage } from "@bufbuild/protobuf";
import { EmptySchema, file_google_protobuf_empty } from "@bufbuild/protobuf/wkt";
import { Code, connect, createClient, packAny, unpackAny } from "containerd-shim-protos";
import {
  createPublisher,
  Events,
  type EventSinkOptions,
  listenEvents,
  TaskExitSchema,
  TaskStartSchema,
} from "containerd-shim-protos/events";
import { afterEach, describe, expect, test, vi } from "vitest";
import { standstill } from "../helpers/iterables.js";
import { failure, failureOf } from "../helpers/outcome.js";
import { describeWithPeer, peerCalls, peerPublish } from "../helpers/peer.js";
import { staleSocket, temporaryAddress } from "../helpers/temp.js";
import { publishExit, statuses, statusOf, upTo } from "./exits.js";

const stack = new Set<{ close(options?: { graceMs?: number }): Promise<void> }>();
afterEach(async () => {
  await Promise.all([...stack].map((each) => each.close({ graceMs: 0 })));
  stack.clear();
});

function sinkAt(options: EventSinkOptions = {}, address = temporaryAddress()) {
  const events = listenEvents(address, options);
  stack.add(events);
  return { events, address };
}

function publisherTo(address: string, options: Partial<Parameters<typeof createPublisher>[1]> = {}) {
  const publisher = createPublisher(address, { namespace: "default", ...options });
  publisher.on("undelivered", () => undefined);
  stack.add(publisher);
  return publisher;
}

async function clientOf(address: string) {
  const connection = await connect(address);
  stack.add(connection);
  return createClient(Events, connection);
}

const settled = async (promise: Promise<unknown>) => {
  const other = {};
  // Enough turns for anything that needs no time of its own.
  for (let count = 0; count < 20; count++) await turn();
  return (await Promise.race([promise, Promise.resolve(other)])) !== other;
};

describeWithPeer("a sink of events, with the Rust client as the publisher", () => {
  test("gives each event with namespace, topic, nanoseconds, type and message", async () => {
    const { events, address } = sinkAt();
    const calls = peerCalls(address, { only: "Forward", id: "web" });
    const { value: event } = await events[Symbol.asyncIterator]().next();
    expect(event).toMatchObject({
      namespace: "namespace-1",
      topic: "/tasks/start",
      timestamp: { seconds: 1_700_000_003n, nanos: 5 },
      type: "containerd.events.TaskStart",
    });
    expect(event?.message).toEqual(create(TaskStartSchema, { containerId: "web", pid: 7 }));
    expect((await calls)[0]?.error).toBeUndefined();
  });

  test("gives ten thousand in order, whether one is on its way at once or a hundred", async () => {
    const { events, address } = sinkAt({ maxQueuedEvents: 1000 });
    for (const inflight of [1, 100]) {
      const published = peerPublish(address, { count: 10_000, inflight });
      expect(await statuses(events, 10_000)).toEqual(upTo(10_000));
      expect(await published).toEqual({ failed: 0, first: null });
    }
  });

  test("holds a publisher back whose hundred are more than it may queue, and loses none", async () => {
    const { events, address } = sinkAt({ maxQueuedEvents: 10 });
    const published = peerPublish(address, { count: 1000, inflight: 100 });
    await vi.waitFor(() => expect(events.counts.queued).toBe(10));
    expect(events.counts.taken).toBe(0);
    expect(await statuses(events, 1000)).toEqual(upTo(1000));
    expect(await published).toEqual({ failed: 0, first: null });
  });
});

describe("an event is acknowledged", () => {
  test("when the consumer has taken it, not before", async () => {
    const { events, address } = sinkAt();
    const published = publishExit(publisherTo(address), 0);
    await vi.waitFor(() => expect(events.counts.queued).toBe(1));
    expect(await settled(published)).toBe(false);
    await events[Symbol.asyncIterator]().next();
    await published;
  });

  test("when the consumer's synchronous work on it is over", async () => {
    const { events, address } = sinkAt();
    let acknowledged = false;
    const published = publishExit(publisherTo(address), 0).then(() => (acknowledged = true));
    for await (const _ of events) {
      const until = performance.now() + 50;
      while (performance.now() < until) expect(acknowledged).toBe(false);
      break;
    }
    await published;
  });

  test("not if that work throws and nobody catches it", async () => {
    const address = temporaryAddress();
    const script = `
      import { listenEvents } from "containerd-shim-protos/events";
      const events = listenEvents(${JSON.stringify(address)});
      console.log("ready");
      for await (const _ of events) throw new Error("no room on the disk");`;
    const consumer = spawn(process.execPath, ["--input-type=module", "-e", script], {
      stdio: ["ignore", "pipe", "ignore"],
    });
    const exited = once(consumer, "exit");
    await once(consumer.stdout, "data");
    const call = (await clientOf(address)).forward(requestOf({}));
    expect((await failure(call)).code).toBe(Code.Unavailable);
    expect(await exited).toEqual([1, null]);
  });

  test("by `done`, when the consumer asks for the next", async () => {
    const { events, address } = sinkAt({ acknowledge: "done" });
    const published = publishExit(publisherTo(address), 0);
    const loop = events[Symbol.asyncIterator]();
    await loop.next();
    expect(await settled(published)).toBe(false);
    void loop.next();
    await published;
  });

  test("by `done`, not if the loop is left, and then the next loop has it first", async () => {
    const { events, address } = sinkAt({ acknowledge: "done" });
    const publisher = publisherTo(address, { maxInFlight: 10 });
    const published = [0, 1, 2].map((status) => publishExit(publisher, status));
    await vi.waitFor(() => expect(events.counts.queued).toBe(3));
    const failing = async () => {
      for await (const batch of events.batches()) throw new Error(`no room for ${batch.length}`);
    };
    await expect(failing).rejects.toThrow("no room for 3");
    expect(await settled(Promise.race(published))).toBe(false);
    expect(await statuses(events, 3)).toEqual([0, 1, 2]);
    await published[0];
    await published[1];
    expect(await settled(published[2]!)).toBe(false);
  });

  test("by `arrived`, at once", async () => {
    const { events, address } = sinkAt({ acknowledge: "arrived" });
    await publishExit(publisherTo(address), 0);
    expect(events.counts).toMatchObject({ queued: 1, taken: 0 });
  });

  test("by `arrived`, only when it has a place in the queue", async () => {
    const { events, address } = sinkAt({ acknowledge: "arrived", maxQueuedEvents: 2 });
    const publisher = publisherTo(address);
    await publishExit(publisher, 0);
    await publishExit(publisher, 1);
    const third = publishExit(publisher, 2);
    await vi.waitFor(() => expect(events.counts.received).toBe(3));
    expect(await settled(third)).toBe(false);
    expect(await statuses(events, 1)).toEqual([0]);
    await third;
    expect(await statuses(events, 2)).toEqual([1, 2]);
  });
});

describe("a queue that is full", () => {
  test("by `dropOldest`, drops the oldest, acknowledges and counts it", async () => {
    const { events, address } = sinkAt({ whenFull: "dropOldest", maxQueuedEvents: 3 });
    const publisher = publisherTo(address, { maxInFlight: 100 });
    const published = upTo(10).map((status) => publishExit(publisher, status));
    await Promise.all(published.slice(0, 7));
    expect(events.counts).toMatchObject({ received: 10, dropped: 7, queued: 3 });
    expect(await statuses(events, 3)).toEqual([7, 8, 9]);
    await Promise.all(published);
  });

  test("by `fail`, tells the publisher ResourceExhausted", async () => {
    const { events, address } = sinkAt({ whenFull: "fail", maxQueuedEvents: 1 });
    const client = await clientOf(address);
    const first = client.forward(requestOf({}));
    await vi.waitFor(() => expect(events.counts.queued).toBe(1));
    expect((await failure(client.forward(requestOf({})))).code).toBe(Code.ResourceExhausted);
    await events[Symbol.asyncIterator]().next();
    await first;
  });

  test("is full by bytes, too, and takes one event of any size", async () => {
    const { events, address } = sinkAt({ maxQueuedBytes: 1000 });
    const publisher = publisherTo(address, { maxInFlight: 100 });
    const containerId = "x".repeat(600);
    const published = upTo(5).map((exitStatus) =>
      publisher.publish("/tasks/exit", TaskExitSchema, { containerId, exitStatus }),
    );
    await vi.waitFor(() => expect(events.counts.received).toBe(5));
    expect(events.counts.queued).toBe(1);
    expect(await statuses(events, 5)).toEqual(upTo(5));
    await Promise.all(published);
    const large = publisher.publish("/tasks/exit", TaskExitSchema, {
      containerId: "x".repeat(100_000),
      exitStatus: 5,
    });
    expect(await statuses(events, 1)).toEqual([5]);
    await large;
  });

  test("by `wait`, reads no more of a publisher that goes on all the same", async () => {
    const { events, address } = sinkAt({ maxQueuedEvents: 100 });
    const connection = await connect(address);
    stack.add(connection);
    const client = createClient(Events, connection);
    const calls = upTo(50_000).map((exitStatus) => client.forward(requestOf({ exitStatus })));
    calls.forEach((call) => call.catch(() => undefined));
    await vi.waitFor(() => expect(events.counts.received).toBeGreaterThanOrEqual(100), 10_000);
    const received = await standstill(
      () => events.counts.received,
      () => sleep(2),
    );
    // What one reading of 64 KiB brings comes on top of the limit.
    expect(received).toBeLessThan(100 + 1500);
    expect(await statuses(events, 50_000)).toEqual(upTo(50_000));
    await Promise.all(calls);
  });
});

describe("events that nobody waits for any more", () => {
  test("are not given once their publisher's deadline has passed, so that what it sends again comes once", async () => {
    const { events, address } = sinkAt();
    const publisher = publisherTo(address, { timeoutMs: 100 });
    const published = upTo(3).map((status) => publishExit(publisher, status));
    await vi.waitFor(() => expect(events.counts.expired).toBeGreaterThanOrEqual(3));
    expect(await statuses(events, 3)).toEqual([0, 1, 2]);
    await Promise.all(published);
    expect(events.counts).toMatchObject({ taken: 3, queued: 0 });
  });

  test("do not pile up while the consumer stands", async () => {
    const { events, address } = sinkAt({ maxQueuedEvents: 50 });
    const client = await clientOf(address);
    for (let round = 0; round < 10; round++) {
      const calls = upTo(200).map(() => client.forward(requestOf({}), { timeoutMs: 10 }));
      expect((await Promise.allSettled(calls)).every(({ status }) => status === "rejected")).toBe(true);
    }
    await vi.waitFor(() => expect(events.counts).toMatchObject({ queued: 0, queuedBytes: 0 }));
  });

  test("are given all the same if their publisher has gone, as a shim does that has nothing more to say", async () => {
    const { events, address } = sinkAt();
    const connection = await connect(address);
    const call = createClient(Events, connection).forward(requestOf({ exitStatus: 7 }));
    call.catch(() => undefined);
    await vi.waitFor(() => expect(events.counts.queued).toBe(1));
    await connection.close();
    await sleep(20);
    expect(await statuses(events, 1)).toEqual([7]);
  });
});

describe("filters", () => {
  test("give only topics with a prefix and namespaces that were asked for, and acknowledge the others", async () => {
    const { events, address } = sinkAt({ topics: ["/tasks/", "/images/"], namespaces: ["default"] });
    const publisher = publisherTo(address);
    const publish = (topic: string, namespace: string, exitStatus: number) =>
      publisher.publish(topic, TaskExitSchema, { exitStatus }, { namespace });
    await publish("/containers/create", "default", 0);
    await publish("/tasks/exit", "moby", 1);
    const wanted = [publish("/tasks/exit", "default", 2), publish("/images/create", "default", 3)];
    expect(await statuses(events, 2)).toEqual([2, 3]);
    await Promise.all(wanted);
    expect(events.counts).toMatchObject({ received: 4, filtered: 2, taken: 2 });
  });
});

describe("messages", () => {
  test("of a type that nobody knows are undefined, and their bytes are there", async () => {
    const { events, address } = sinkAt();
    const call = (await clientOf(address)).forward(
      requestOf({ type: "my.Event", value: Uint8Array.of(8, 1) }),
    );
    const { value } = await events[Symbol.asyncIterator]().next();
    await call;
    expect(value).toMatchObject({ type: "my.Event", message: undefined });
    expect(value?.any).toMatchObject({ typeUrl: "my.Event", value: Uint8Array.of(8, 1) });
  });

  test("of a registry's types are unpacked, whatever the prefix of their names", async () => {
    const { events, address } = sinkAt({ registry: createRegistry(file_google_protobuf_empty) });
    const call = (await clientOf(address)).forward(
      requestOf({ type: "type.googleapis.com/google.protobuf.Empty" }),
    );
    const { value } = await events[Symbol.asyncIterator]().next();
    await call;
    expect(value?.type).toBe("google.protobuf.Empty");
    expect(isMessage(value?.message, EmptySchema)).toBe(true);
  });

  test("keep their bytes though many others come after them", async () => {
    const { events, address } = sinkAt();
    const publisher = publisherTo(address, { maxInFlight: 100 });
    const published = upTo(2000).map((status) => publishExit(publisher, status));
    const kept = [];
    for await (const event of events) {
      kept.push(event);
      if (kept.length === 2000) break;
    }
    await Promise.all(published);
    const again = kept.map(({ any }) => unpackAny(any, TaskExitSchema)?.exitStatus);
    expect(again).toEqual(upTo(2000));
  });
});

describe("what containerd would refuse", () => {
  test.each([
    ["no envelope", {}],
    ["no namespace", { envelope: envelopeOf({ namespace: "" }) }],
    ["a topic without a slash", { envelope: envelopeOf({ topic: "tasks" }) }],
    ["no topic", { envelope: envelopeOf({ topic: "" }) }],
    ["no timestamp", { envelope: { ...envelopeOf({}), timestamp: undefined } }],
  ])("is refused with InvalidArgument: %s", async (_, request) => {
    const { events, address } = sinkAt();
    const error = await failure((await clientOf(address)).forward(request));
    expect(error.code).toBe(Code.InvalidArgument);
    expect(events.counts).toMatchObject({ refused: 1, queued: 0 });
  });

  test("is refused with Internal where it does not decode", async () => {
    const { address } = sinkAt();
    const connection = await connect(address);
    stack.add(connection);
    const call = connection.unary(Events.typeName, "Forward", Uint8Array.of(0x0a, 0xff));
    expect((await failure(call)).code).toBe(Code.Internal);
  });
});

describe("batches", () => {
  test("have all that wait, in order, and no more than was asked for", async () => {
    const { events, address } = sinkAt();
    const publisher = publisherTo(address, { maxInFlight: 100 });
    const published = upTo(25).map((status) => publishExit(publisher, status));
    await vi.waitFor(() => expect(events.counts.queued).toBe(25));
    const sizes = [];
    const all = [];
    for await (const batch of events.batches({ maxEvents: 10 })) {
      sizes.push(batch.length);
      all.push(...batch.map(statusOf));
      if (all.length === 25) break;
    }
    expect(sizes).toEqual([10, 10, 5]);
    expect(all).toEqual(upTo(25));
    await Promise.all(published);
  });
});

describe("close", () => {
  test("refuses with Unavailable what was not acknowledged, and ends loops", async () => {
    const { events, address } = sinkAt();
    const client = await clientOf(address);
    const calls = [client.forward(requestOf({})), client.forward(requestOf({}))];
    const outcomes = Promise.all(calls.map(failure));
    await vi.waitFor(() => expect(events.counts.queued).toBe(2));
    await events.close();
    expect((await outcomes).map(({ code }) => code)).toEqual([Code.Unavailable, Code.Unavailable]);
    expect((await events[Symbol.asyncIterator]().next()).done).toBe(true);
  });

  test("ends a loop that waits", async () => {
    const { events } = sinkAt();
    const waiting = events[Symbol.asyncIterator]().next();
    await events.close();
    expect((await waiting).done).toBe(true);
  });

  test("leaves what was acknowledged to be taken", async () => {
    const { events, address } = sinkAt({ acknowledge: "arrived" });
    const publisher = publisherTo(address);
    for (const status of upTo(3)) await publishExit(publisher, status);
    await events.close();
    const left = [];
    for await (const event of events) left.push(statusOf(event));
    expect(left).toEqual([0, 1, 2]);
  });

  test("by `done`, waits for the consumer to be done with what it has", async () => {
    const { events, address } = sinkAt({ acknowledge: "done" });
    const published = publishExit(publisherTo(address), 0);
    let done = false;
    for await (const _ of events) {
      void events.close();
      await sleep(50);
      done = true;
    }
    expect(done).toBe(true);
    await published;
  });

  test("may be called again, and by `await using`", async () => {
    await using events = listenEvents(temporaryAddress());
    expect(events.close()).toBe(events.close());
    await events.close();
  });
});

describe("listenEvents", () => {
  test("throws for an address that is taken, and takes one that was left behind if asked to", () => {
    const { address } = sinkAt();
    expect(failureOf(() => listenEvents(address))).toMatchObject({
      code: Code.Unavailable,
      cause: { code: "EADDRINUSE" },
    });
    const stale = staleSocket();
    expect(failureOf(() => listenEvents(stale)).code).toBe(Code.Unavailable);
    expect(sinkAt({ reclaimStale: true }, stale).events.address).toBe(stale);
  });

  test.each<[string, EventSinkOptions]>([
    ["whenFull", { whenFull: "block" as never }],
    ["acknowledge", { acknowledge: "never" as never }],
    ["maxQueuedEvents", { maxQueuedEvents: 0 }],
    ["maxQueuedBytes", { maxQueuedBytes: 1.5 }],
    ["topics[1]", { topics: ["/tasks/", "tasks"] }],
    ["topics", { topics: "/tasks/" as never }],
    ["namespaces[0]", { namespaces: [""] }],
    ["registry", { registry: {} as never }],
  ])("throws a TypeError that names %s", (name, options) => {
    const throws = () => listenEvents(temporaryAddress(), options);
    expect(throws).toThrow(TypeError);
    expect(throws).toThrow(name);
  });
});

interface EnvelopeFields {
  namespace?: string;
  topic?: string;
  exitStatus?: number;
  type?: string;
  value?: Uint8Array;
}

/** An envelope that nothing is wrong with, but for what is given. */
function envelopeOf({
  namespace = "default",
  topic = "/tasks/exit",
  exitStatus = 0,
  type = TaskExitSchema.typeName as string,
  value = packAny(TaskExitSchema, { exitStatus }).value,
}: EnvelopeFields) {
  return { namespace, topic, timestamp: { seconds: 1n, nanos: 2 }, event: { typeUrl: type, value } };
}

function requestOf(fields: EnvelopeFields) {
  return { envelope: envelopeOf(fields) };
}
