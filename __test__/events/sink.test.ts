import { setTimeout as sleep } from "node:timers/promises";
import { create, createRegistry, isMessage } from "@bufbuild/protobuf";
import { EmptySchema, file_google_protobuf_empty } from "@bufbuild/protobuf/wkt";
import { Code, unpackAny } from "containerd-shim-protos";
import {
  Events,
  type EventSinkOptions,
  listenEvents,
  TaskExitSchema,
  TaskStartSchema,
} from "containerd-shim-protos/events";
import { afterEach, describe, expect, test, vi } from "vitest";
import { failure, failureOf } from "../helpers/outcome.js";
import { describeWithPeer, peerCalls, peerPublish } from "../helpers/peer.js";
import { staleSocket, temporaryAddress } from "../helpers/temp.js";
import { publishExit, statuses, statusOf, upTo } from "./exits.js";
import { clientOf, closeAll, connectionTo, envelopeOf, publisherTo, requestOf, sinkAt } from "./sinks.js";

afterEach(closeAll);

describeWithPeer("a sink of events, with the Rust client as the publisher", () => {
  test("yields each event with namespace, topic, nanoseconds, type and message", async () => {
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

  test("yields ten thousand in order, with one or a hundred in flight", async () => {
    const { events, address } = sinkAt({ maxQueuedEvents: 1000 });
    for (const inflight of [1, 100]) {
      const published = peerPublish(address, { count: 10_000, inflight });
      expect(await statuses(events, 10_000)).toEqual(upTo(10_000));
      expect(await published).toEqual({ failed: 0, first: null });
    }
  });

  test("holds back a publisher with more events in flight than it may queue, and loses none", async () => {
    const { events, address } = sinkAt({ maxQueuedEvents: 10 });
    const published = peerPublish(address, { count: 1000, inflight: 100 });
    await vi.waitFor(() => expect(events.counts.queued).toBe(10));
    expect(events.counts.taken).toBe(0);
    expect(await statuses(events, 1000)).toEqual(upTo(1000));
    expect(await published).toEqual({ failed: 0, first: null });
  });
});

describe("filters", () => {
  test("let through only the requested prefixes of topics and namespaces, and acknowledge other events", async () => {
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
  test("of an unknown type are undefined, and their bytes are available", async () => {
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

  test("keep their bytes even if many others follow", async () => {
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

describe("an event that containerd would refuse", () => {
  test.each([
    ["no envelope", {}],
    ["no namespace", { envelope: envelopeOf({ namespace: "" }) }],
    ["a topic without a slash", { envelope: envelopeOf({ topic: "tasks" }) }],
    ["no topic", { envelope: envelopeOf({ topic: "" }) }],
    ["no timestamp", { envelope: { ...envelopeOf({}), timestamp: undefined } }],
    ["Go's zero time", requestOf({ timestamp: { seconds: -62_135_596_800n, nanos: 0 } })],
    ["a second of the year 0", requestOf({ timestamp: { seconds: -62_135_596_801n, nanos: 0 } })],
    ["a second of the year 10000", requestOf({ timestamp: { seconds: 253_402_300_800n, nanos: 0 } })],
    ["a second more in nanoseconds", requestOf({ timestamp: { seconds: 1n, nanos: 1_000_000_000 } })],
  ])("is refused with InvalidArgument: %s", async (_, request) => {
    const { events, address } = sinkAt();
    const error = await failure((await clientOf(address)).forward(request));
    expect(error.code).toBe(Code.InvalidArgument);
    expect(events.counts).toMatchObject({ refused: 1, queued: 0 });
  });

  test("is refused with Internal if it does not decode", async () => {
    const { address } = sinkAt();
    const connection = await connectionTo(address);
    const call = connection.unary(Events.typeName, "Forward", Uint8Array.of(0x0a, 0xff));
    expect((await failure(call)).code).toBe(Code.Internal);
  });
});

describe("batches", () => {
  test("have all waiting events, in order, and no more than requested", async () => {
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
  test("refuses unacknowledged events with Unavailable, and ends loops", async () => {
    const { events, address } = sinkAt();
    const client = await clientOf(address);
    const calls = [client.forward(requestOf({})), client.forward(requestOf({}))];
    const outcomes = Promise.all(calls.map(failure));
    await vi.waitFor(() => expect(events.counts.queued).toBe(2));
    await events.close();
    expect((await outcomes).map(({ code }) => code)).toEqual([Code.Unavailable, Code.Unavailable]);
    expect((await events[Symbol.asyncIterator]().next()).done).toBe(true);
  });

  test("ends a waiting loop", async () => {
    const { events } = sinkAt();
    const waiting = events[Symbol.asyncIterator]().next();
    await events.close();
    expect((await waiting).done).toBe(true);
  });

  test("leaves acknowledged events to be taken", async () => {
    const { events, address } = sinkAt({ acknowledge: "arrived" });
    const publisher = publisherTo(address);
    for (const status of upTo(3)) await publishExit(publisher, status);
    await events.close();
    const left = [];
    for await (const event of events) left.push(statusOf(event));
    expect(left).toEqual([0, 1, 2]);
  });

  test("by `done`, waits until the consumer is done with what it has", async () => {
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
  test("throws for an address in use, and reclaims a stale one if asked to", () => {
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
    ["driver", { driver: "fibre" as never }],
  ])("throws a TypeError that names %s", (name, options) => {
    const throws = () => listenEvents(temporaryAddress(), options);
    expect(throws).toThrow(TypeError);
    expect(throws).toThrow(name);
  });
});
