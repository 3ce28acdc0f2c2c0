import { spawn } from "node:child_process";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { Code, connect, createClient } from "containerd-shim-protos";
import { type ContainerdEvent, Events, TaskExitSchema } from "containerd-shim-protos/events";
import { afterEach, describe, expect, test, vi } from "vitest";
import { standstill } from "../helpers/iterables.js";
import { failure } from "../helpers/outcome.js";
import { temporaryAddress } from "../helpers/temp.js";
import { publishExit, statuses, upTo } from "./exits.js";
import { clientOf, closeAll, connectionTo, publisherTo, requestOf, settled, sinkAt } from "./sinks.js";

afterEach(closeAll);

test("events that wait keep no memory of those in between that nobody asked for", async () => {
  const { events, address } = sinkAt({ acknowledge: "arrived", topics: ["/tasks/exit"] });
  const client = await clientOf(address);
  const unwanted = requestOf({ topic: "/tasks/start", value: new Uint8Array(3900) });
  for (let index = 0; index < 2500; index++) {
    await Promise.all(
      [...Array(4).fill(unwanted), requestOf({ exitStatus: 7 })].map((request) => client.forward(request)),
    );
  }
  const waiting = (await events.batches({ maxEvents: 2500 }).next()).value as ContainerdEvent[];
  expect(waiting).toHaveLength(2500);
  const memory = new Set(waiting.map(({ any }) => any.value.buffer));
  const kept = [...memory].reduce((sum, { byteLength }) => sum + byteLength, 0);
  expect(kept).toBeLessThan(20 << 20);
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

  test("when the consumer's synchronous work on it is done", async () => {
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

  test("by `done`, not if the loop is left, and then the next loop gets it first", async () => {
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

describe("a full queue", () => {
  test("by `dropOldest`, drops the oldest, acknowledges and counts it", async () => {
    const { events, address } = sinkAt({ whenFull: "dropOldest", maxQueuedEvents: 3 });
    const publisher = publisherTo(address, { maxInFlight: 100 });
    const published = upTo(10).map((status) => publishExit(publisher, status));
    await Promise.all(published.slice(0, 7));
    expect(events.counts).toMatchObject({ received: 10, dropped: 7, queued: 3 });
    expect(await statuses(events, 3)).toEqual([7, 8, 9]);
    await Promise.all(published);
  });

  test("by `fail`, answers the publisher with ResourceExhausted", async () => {
    const { events, address } = sinkAt({ whenFull: "fail", maxQueuedEvents: 1 });
    const client = await clientOf(address);
    const first = client.forward(requestOf({}));
    await vi.waitFor(() => expect(events.counts.queued).toBe(1));
    expect((await failure(client.forward(requestOf({})))).code).toBe(Code.ResourceExhausted);
    await events[Symbol.asyncIterator]().next();
    await first;
  });

  test("may be full by bytes, but takes one event of any size", async () => {
    const { events, address } = sinkAt({ maxQueuedBytes: 1000 });
    const publisher = publisherTo(address, { maxInFlight: 100 });
    const containerId = "x".repeat(600);
    const published = upTo(5).map((exitStatus) =>
      publisher.publish("/tasks/exit", TaskExitSchema, { containerId, exitStatus }),
    );
    await vi.waitFor(() => expect(events.counts.received).toBeGreaterThan(1));
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

  test("by `wait`, stops reading from a publisher that keeps publishing", async () => {
    const { events, address } = sinkAt({ maxQueuedEvents: 100 });
    const connection = await connectionTo(address);
    const client = createClient(Events, connection);
    const calls = upTo(50_000).map((exitStatus) => client.forward(requestOf({ exitStatus })));
    calls.forEach((call) => call.catch(() => undefined));
    await vi.waitFor(() => expect(events.counts.received).toBeGreaterThanOrEqual(100), 10_000);
    const received = await standstill(
      () => events.counts.received,
      () => sleep(2),
    );
    // The events of one read of 64 KiB come on top of the limit.
    expect(received).toBeLessThan(100 + 1500);
    expect(await statuses(events, 50_000)).toEqual(upTo(50_000));
    await Promise.all(calls);
  });
});

describe("events for which nobody waits any more", () => {
  test("are dropped once their publisher's deadline has passed, so that an event sent again arrives only once", async () => {
    const { events, address } = sinkAt();
    const publisher = publisherTo(address, { timeoutMs: 100 });
    const published = upTo(3).map((status) => publishExit(publisher, status));
    await vi.waitFor(() => expect(events.counts.expired).toBeGreaterThanOrEqual(3));
    expect(await statuses(events, 3)).toEqual([0, 1, 2]);
    await Promise.all(published);
    expect(events.counts).toMatchObject({ taken: 3, queued: 0 });
  });

  test("do not pile up while the consumer stalls", async () => {
    const { events, address } = sinkAt({ maxQueuedEvents: 50 });
    const client = await clientOf(address);
    for (let round = 0; round < 10; round++) {
      const calls = upTo(200).map(() => client.forward(requestOf({}), { timeoutMs: 10 }));
      expect((await Promise.allSettled(calls)).every(({ status }) => status === "rejected")).toBe(true);
    }
    // What the socket still held arrives 50 at a time, and each has a deadline of its own.
    await vi.waitFor(() => expect(events.counts).toMatchObject({ queued: 0, queuedBytes: 0 }), 10_000);
  });

  test("are still delivered if their publisher has gone, and a loop was left after the end", async () => {
    const { events, address } = sinkAt({ acknowledge: "done" });
    const connection = await connect(address);
    const call = createClient(Events, connection).forward(requestOf({ exitStatus: 7 }));
    for await (const _ of events) {
      await connection.close();
      await failure(call);
      // Its publisher is known to have gone when another event has come.
      await vi.waitFor(async () => {
        void (await clientOf(address)).forward(requestOf({})).catch(() => undefined);
        expect(events.counts.received).toBeGreaterThan(1);
      });
      void events.close();
      break;
    }
    expect(await statuses(events, 1)).toEqual([7]);
  });

  test("are still delivered if their publisher has gone, as a shim does after its last event", async () => {
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
