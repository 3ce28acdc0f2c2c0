import { setTimeout as sleep } from "node:timers/promises";
import { Code, connect, createServer, packAny, TtrpcError } from "containerd-shim-protos";
import {
  createPublisher,
  Events,
  type EventSinkOptions,
  forwardEvents,
  listenEvents,
  type PublisherOptions,
  TaskExitSchema,
} from "containerd-shim-protos/events";
import { afterEach, describe, expect, test, vi } from "vitest";
import { deferred, failure, failureOf } from "../helpers/outcome.js";
import { describeWithPeer, Peer, peerPublish } from "../helpers/peer.js";
import { rawConnect, RawServer } from "../helpers/raw-peer.js";
import { temporaryAddress } from "../helpers/temp.js";
import { publishExit, statuses, upTo } from "./exits.js";

const closers: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  await Promise.all(closers.splice(0).map((close) => close()));
});

/** A stand-in for containerd, which answers bytes with bytes and records what arrived. */
async function containerdIn(
  answer: () => Promise<Uint8Array> | Uint8Array = () => new Uint8Array(),
): Promise<{ address: string; came: Uint8Array[] }> {
  const address = temporaryAddress();
  const came: Uint8Array[] = [];
  const server = createServer();
  server.addRaw(Events.typeName, {
    Forward: {
      kind: "unary",
      handle(payload) {
        came.push(payload);
        return answer();
      },
    },
  });
  await server.listen(address, { reclaimStale: true });
  closers.push(() => server.close({ graceMs: 0 }));
  return { address, came };
}

function forwarderTo(to: string, options: EventSinkOptions = {}) {
  const address = temporaryAddress();
  const events = forwardEvents(address, to, options);
  closers.push(() => events.close({ graceMs: 0 }));
  return { address, events };
}

function publisherTo(address: string, options: Partial<PublisherOptions> = {}) {
  const publisher = createPublisher(address, { namespace: "default", ...options });
  publisher.on("undelivered", () => undefined);
  closers.push(() => publisher.close({ graceMs: 0 }));
  return publisher;
}

async function connectionTo(address: string) {
  const connection = await connect(address);
  closers.push(() => connection.close());
  return connection;
}

/** A request that only survives as bytes: it has unknown fields, and a field out of order. */
function oddRequest(): Uint8Array {
  const { value } = packAny(TaskExitSchema, { containerId: "web", exitStatus: 3 });
  const text = (tag: number, content: string | Uint8Array) =>
    Buffer.concat([Buffer.from([tag, content.length]), Buffer.from(content)]);
  const event = Buffer.concat([text(0x0a, TaskExitSchema.typeName), text(0x12, value)]);
  const envelope = [
    text(0x22, event),
    text(0x0a, "\x08\x07"),
    text(0x12, "odd"),
    text(0x1a, "/tasks/exit"),
    text(0x7a, "?"),
  ];
  return Buffer.concat([text(0x7a, "unknown"), text(0x0a, Buffer.concat(envelope))]);
}

describe("a request that is passed on", () => {
  test("is byte for byte what arrived, with its metadata in order and in its case, and so is the answer", async () => {
    await using containerd = await RawServer.listen();
    const { address, events } = forwarderTo(containerd.address);
    using shim = await rawConnect(address);
    const request = {
      service: Events.typeName,
      method: "Forward",
      payload: new Uint8Array(oddRequest()),
      timeoutNano: 5_000_000_000n,
      metadata: [
        ["B", "2"],
        ["a", "1"],
        ["b", "3"],
        ["containerd-namespace-ttrpc", "odd"],
      ] as const,
    };
    const answered = shim.call(1, request);
    const atContainerd = await containerd.accept();
    const passed = await atContainerd.nextRequest();
    expect(passed).toMatchObject({ ...request, timeoutNano: expect.any(BigInt) });
    expect(passed.timeoutNano).toBeGreaterThan(0n);
    expect(passed.timeoutNano).toBeLessThanOrEqual(request.timeoutNano);
    await atContainerd.reply(passed.streamId, Uint8Array.of(0x7a, 1, 33));
    expect((await answered).payload).toEqual(Uint8Array.of(0x7a, 1, 33));
    const { value } = await events[Symbol.asyncIterator]().next();
    expect(value).toMatchObject({ namespace: "odd", topic: "/tasks/exit", message: { exitStatus: 3 } });
  });

  test("has no deadline if the caller set none", async () => {
    await using containerd = await RawServer.listen();
    const { address } = forwarderTo(containerd.address);
    using shim = await rawConnect(address);
    const answered = shim.call(1, { service: Events.typeName, method: "Forward", payload: oddRequest() });
    const atContainerd = await containerd.accept();
    const { streamId, timeoutNano } = await atContainerd.nextRequest();
    expect(timeoutNano).toBe(0n);
    await atContainerd.reply(streamId, new Uint8Array());
    await answered;
  });

  test("is never one without an envelope, which would crash containerd", async () => {
    const containerd = listenEvents(temporaryAddress());
    closers.push(() => containerd.close());
    const { address, events } = forwarderTo(containerd.address);
    const connection = await connectionTo(address);
    const error = await failure(connection.unary(Events.typeName, "Forward", new Uint8Array()));
    expect(error.code).toBe(Code.InvalidArgument);
    expect([containerd.counts.received, events.counts.refused]).toEqual([0, 1]);
  });

  test("may be one that the program's filter leaves out", async () => {
    const { address: to, came } = await containerdIn();
    const { address, events } = forwarderTo(to, { topics: ["/images/"] });
    const publisher = publisherTo(address);
    await publishExit(publisher, 0);
    await publisher.publish("/images/create", TaskExitSchema, { exitStatus: 1 });
    expect(await statuses(events, 1)).toEqual([1]);
    expect(came).toHaveLength(2);
    expect(events.counts).toMatchObject({ filtered: 1, taken: 1 });
  });
});

describe("containerd's answer", () => {
  test("reaches the shim with status, message and details, and the program does not get a refused event", async () => {
    const detail = packAny(TaskExitSchema, { exitStatus: 9 });
    const { address: to } = await containerdIn(() => {
      throw new TtrpcError("no such namespace", Code.NotFound, { details: [detail] });
    });
    const { address, events } = forwarderTo(to);
    const connection = await connectionTo(address);
    const error = await failure(connection.unary(Events.typeName, "Forward", oddRequest()));
    expect(error).toMatchObject({ code: Code.NotFound, rawMessage: "no such namespace" });
    expect(error.details).toEqual([detail]);
    expect(events.counts).toMatchObject({ refused: 1, queued: 0 });
  });

  test("comes before the program gets the event, and late answers do not change the order", async () => {
    const gates = upTo(3).map(() => deferred());
    let number = 0;
    const { address: to } = await containerdIn(async () => {
      await gates[number++]?.promise;
      return new Uint8Array();
    });
    const { address, events } = forwarderTo(to);
    const publisher = publisherTo(address, { maxInFlight: 3 });
    const published = upTo(3).map((status) => publishExit(publisher, status));
    await vi.waitFor(() => expect(number).toBe(3));
    gates[2]?.resolve();
    await published[2];
    const taken = statuses(events, 3);
    await sleep(20);
    expect(events.counts.taken).toBe(0);
    gates[0]?.resolve();
    gates[1]?.resolve();
    expect(await taken).toEqual([0, 1, 2]);
    await Promise.all(published);
  });
});

describe("while containerd is away", () => {
  test("events wait, and then reach it and the program in order, once each", async () => {
    const to = temporaryAddress();
    const first = listenEvents(to, { acknowledge: "arrived" });
    const { address, events } = forwarderTo(to);
    const publisher = publisherTo(address);
    await publishExit(publisher, 0);
    await first.close();
    const published = [1, 2, 3].map((status) => publishExit(publisher, status));
    await sleep(100);
    const second = listenEvents(to, { acknowledge: "arrived" });
    closers.push(() => second.close());
    await Promise.all(published);
    expect(await statuses(first, 1)).toEqual([0]);
    expect(await statuses(second, 3)).toEqual([1, 2, 3]);
    expect(await statuses(events, 4)).toEqual([0, 1, 2, 3]);
    expect(events.counts.received).toBe(4);
  });

  test("a shim's deadline passes as usual, and the program does not get an event that containerd never had", async () => {
    const { address, events } = forwarderTo(temporaryAddress());
    const connection = await connectionTo(address);
    const call = connection.unary(Events.typeName, "Forward", oddRequest(), { timeoutMs: 50 });
    expect((await failure(call)).code).toBe(Code.DeadlineExceeded);
    // Either deadline may pass first: that of the call, or that of passing it on.
    await vi.waitFor(() => expect(events.counts.expired + events.counts.refused).toBe(1));
    expect(events.counts.queued).toBe(0);
  });
});

describe("a slow program", () => {
  test("does not keep shims waiting while there is room", async () => {
    const { address: to, came } = await containerdIn();
    const { address, events } = forwarderTo(to);
    const publisher = publisherTo(address);
    for (const status of upTo(10)) await publishExit(publisher, status);
    expect(came).toHaveLength(10);
    expect(events.counts).toMatchObject({ queued: 10, taken: 0 });
  });

  test("whose queue is full holds events back from containerd, too", async () => {
    const { address: to, came } = await containerdIn();
    const { address, events } = forwarderTo(to, { maxQueuedEvents: 2 });
    const publisher = publisherTo(address);
    const published = upTo(4).map((status) => publishExit(publisher, status));
    await published[1];
    await vi.waitFor(() => expect(events.counts.received).toBe(3));
    await sleep(20);
    expect(came).toHaveLength(2);
    expect(await statuses(events, 4)).toEqual(upTo(4));
    await Promise.all(published);
    expect(came).toHaveLength(4);
  });

  test("drops no more events on their way to containerd than may wait, and then is not read", async () => {
    const { address: to, came } = await containerdIn(() => new Promise<never>(() => undefined));
    const { address, events } = forwarderTo(to, { whenFull: "dropOldest", maxQueuedEvents: 10 });
    const publisher = publisherTo(address, { maxInFlight: 100 });
    for (const number of upTo(100)) publishExit(publisher, number).catch(() => undefined);
    await vi.waitFor(() => expect(events.counts).toMatchObject({ received: 20, dropped: 10, queued: 10 }));
    // As many as are sent at once have arrived there.
    await vi.waitFor(() => expect(came).toHaveLength(10));
    expect(events.counts.received).toBe(20);
  });

  test("by `done`, holds back the acknowledgement of an event that containerd has, until it is done", async () => {
    const { address: to, came } = await containerdIn();
    const { address, events } = forwarderTo(to, { acknowledge: "done" });
    let acknowledged = false;
    const published = publishExit(publisherTo(address), 0).then(() => (acknowledged = true));
    const loop = events[Symbol.asyncIterator]();
    await loop.next();
    await sleep(20);
    expect([came.length, acknowledged]).toEqual([1, false]);
    void loop.next();
    await published;
  });
});

describeWithPeer("between the Rust client and the Rust server", () => {
  test("ten thousand events stay in order", async () => {
    await using peer = await Peer.events(10_000);
    const { address, events } = forwarderTo(peer.address, { maxQueuedEvents: 500 });
    const taken = statuses(events, 10_000);
    expect(await peerPublish(address, { count: 10_000, inflight: 50 })).toEqual({ failed: 0, first: null });
    expect(await peer.eventsReport()).toMatchObject({ ordered: true });
    expect(await taken).toEqual(upTo(10_000));
  });
});

describe("forwardEvents", () => {
  test("throws for a wrong address of containerd, and for an address that cannot be bound", () => {
    expect(() => forwardEvents(temporaryAddress(), "containerd")).toThrow(TypeError);
    expect(failureOf(() => forwardEvents("unix:///no/such/folder.sock", "/tmp/x")).code).toBe(
      Code.Unavailable,
    );
  });

  test("when closed, answers the events that it holds, and lets containerd answer those in flight", async () => {
    const gate = deferred();
    const { address: to, came } = await containerdIn(async () => {
      await gate.promise;
      return new Uint8Array();
    });
    const { address, events } = forwarderTo(to, { maxQueuedEvents: 1 });
    const connections = [await connectionTo(address), await connectionTo(address)];
    const calls = connections.map((connection) => connection.unary(Events.typeName, "Forward", oddRequest()));
    const outcomes = Promise.allSettled(calls);
    await vi.waitFor(() => expect([events.counts.received, came.length]).toEqual([1, 1]));
    const closed = events.close();
    gate.resolve();
    await closed;
    expect((await outcomes).map(({ status }) => status).toSorted()).toEqual(["fulfilled", "rejected"]);
    expect(await statuses(events, 1)).toEqual([3]);
  });
});
