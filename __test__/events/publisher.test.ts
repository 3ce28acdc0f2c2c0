import { execFile } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { Code, createServer, type Server, TtrpcError, unpackAny } from "containerd-shim-protos";
import {
  createPublisher,
  Events,
  listenEvents,
  type Publisher,
  TaskExitSchema,
  type Undelivered,
} from "containerd-shim-protos/events";
import { afterEach, describe, expect, test, vi } from "vitest";
import { deferred, failure, rejection } from "../helpers/outcome.js";
import { describeWithPeer, Peer } from "../helpers/peer.js";
import { pathOf, temporaryAddress } from "../helpers/temp.js";
import { publishExit, statuses, upTo } from "./exits.js";

const closers: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  await Promise.all(closers.splice(0).map((close) => close()));
});

type Options = Partial<Parameters<typeof createPublisher>[1]>;

function publisherTo(address: string, options: Options = {}): { publisher: Publisher; lost: Undelivered[] } {
  const publisher = createPublisher(address, { namespace: "default", ...options });
  const lost: Undelivered[] = [];
  publisher.on("undelivered", (undelivered) => lost.push(undelivered));
  closers.push(() => publisher.close({ graceMs: 0 }));
  return { publisher, lost };
}

/** A server of events that handles each with `forward`, and records what came. */
async function serverAt(
  address: string,
  forward: (exitStatus: number) => Promise<void> | void,
): Promise<{ server: Server; came: number[]; metadata: unknown[]; timeouts: (number | undefined)[] }> {
  const came: number[] = [];
  const metadata: unknown[] = [];
  const timeouts: (number | undefined)[] = [];
  const server = createServer();
  server.add(Events, {
    async forward({ envelope }, context) {
      const exitStatus = unpackAny(envelope!.event!, TaskExitSchema)!.exitStatus;
      came.push(exitStatus);
      metadata.push(context.metadata);
      timeouts.push(context.timeoutMs);
      await forward(exitStatus);
      return {};
    },
  });
  await server.listen(address, { reclaimStale: true });
  closers.push(() => server.close({ graceMs: 0 }));
  return { server, came, metadata, timeouts };
}

describeWithPeer("a publisher, with the Rust server", () => {
  test("delivers ten thousand events in order, to a bare path", async () => {
    await using peer = await Peer.events(10_000);
    const { publisher } = publisherTo(pathOf(peer.address));
    const published = upTo(10_000).map((status) => publishExit(publisher, status));
    await Promise.all(published);
    expect(await peer.eventsReport()).toMatchObject({ events: 10_000, ordered: true });
  });

  test("delivers what was published before the server listened, and while it was away", async () => {
    const address = temporaryAddress();
    const { publisher } = publisherTo(address);
    const early = publishExit(publisher, 0);
    await sleep(50);
    {
      await using peer = await Peer.events(1000, address);
      expect(peer.pid).toBeGreaterThan(0);
      await early;
    }
    const later = upTo(1000).map((status) => publishExit(publisher, status));
    await sleep(50);
    await using peer = await Peer.events(1000, address);
    await Promise.all(later);
    expect(await peer.eventsReport()).toMatchObject({ ordered: true });
  });
});

describe("the order of events", () => {
  test("is kept by one event in flight at a time, unless maxInFlight says otherwise", async () => {
    const address = temporaryAddress();
    let atOnce = 0;
    let most = 0;
    await serverAt(address, async () => {
      most = Math.max(most, ++atOnce);
      await sleep(2);
      atOnce--;
    });
    for (const [options, limit] of [
      [{}, 1],
      [{ maxInFlight: 7 }, 7],
    ] as const) {
      most = 0;
      const { publisher } = publisherTo(address, options);
      await Promise.all(upTo(20).map((status) => publishExit(publisher, status)));
      expect(most).toBe(limit);
    }
  });

  test("survives a transient refusal: nothing is sent before the refused event", async () => {
    const address = temporaryAddress();
    let refusals = 3;
    const { came } = await serverAt(address, (status) => {
      if (status === 2 && refusals-- > 0) throw new TtrpcError("later", Code.ResourceExhausted);
    });
    const { publisher } = publisherTo(address);
    await Promise.all(upTo(5).map((status) => publishExit(publisher, status)));
    expect(came).toEqual([0, 1, 2, 2, 2, 2, 3, 4]);
  });

  test("survives the loss of a connection with several events in flight", async () => {
    const address = temporaryAddress();
    const first = await serverAt(address, () => new Promise(() => {}));
    const { publisher } = publisherTo(address, { maxInFlight: 5 });
    const published = upTo(20).map((status) => publishExit(publisher, status));
    await vi.waitFor(() => expect(first.came).toEqual(upTo(5)));
    await first.server.close({ graceMs: 0 });
    const second = await serverAt(address, () => {});
    await Promise.all(published);
    expect(second.came).toEqual(upTo(20));
  });

  test("matters more than an event that failed while a later one was delivered", async () => {
    const address = temporaryAddress();
    const { came } = await serverAt(address, (status) => {
      if (status === 1) throw new TtrpcError("later", Code.Unavailable);
    });
    const { publisher, lost } = publisherTo(address, { maxInFlight: 3 });
    const published = upTo(5).map((status) => publishExit(publisher, status));
    const error = await failure(published[1]!);
    expect(error).toMatchObject({
      code: Code.Aborted,
      cause: { code: Code.Unavailable, rawMessage: "later" },
    });
    await Promise.all([0, 2, 3, 4].map((status) => published[status]));
    expect(came).toEqual([0, 1, 2, 3, 4]);
    await vi.waitFor(() => expect(lost).toHaveLength(1));
  });
});

describe("an attempt", () => {
  test("has a deadline, which is sent to the server, and is followed by another", async () => {
    const address = temporaryAddress();
    let slow = 2;
    const { came, timeouts } = await serverAt(address, () => {
      return slow-- > 0 ? new Promise(() => {}) : undefined;
    });
    const { publisher } = publisherTo(address, { timeoutMs: 80 });
    await publishExit(publisher, 0);
    expect(came).toEqual([0, 0, 0]);
    expect(timeouts).toEqual([80, 80, 80]);
  });

  test("carries the namespace as metadata, as a shim's does", async () => {
    const address = temporaryAddress();
    const { metadata } = await serverAt(address, () => {});
    const { publisher } = publisherTo(address);
    await publishExit(publisher, 0);
    await publisher.publish("/tasks/exit", TaskExitSchema, {}, { namespace: "moby" });
    expect(metadata).toEqual([
      { "containerd-namespace-ttrpc": ["default"] },
      { "containerd-namespace-ttrpc": ["moby"] },
    ]);
  });

  test("is the last if the server's answer is permanent", async () => {
    const address = temporaryAddress();
    const { came } = await serverAt(address, () => {
      throw new TtrpcError("no such thing", Code.InvalidArgument);
    });
    const { publisher, lost } = publisherTo(address);
    expect(await failure(publishExit(publisher, 7))).toMatchObject({
      code: Code.InvalidArgument,
      message: "containerd.services.events.ttrpc.v1.Events/Forward: no such thing",
      rawMessage: "no such thing",
      address: address,
    });
    expect(came).toEqual([7]);
    await vi.waitFor(() => expect(lost).toHaveLength(1));
  });
});

describe("an event that cannot be delivered", () => {
  test("is reported with the reason, and nobody needs to await it", async () => {
    const { publisher, lost } = publisherTo(temporaryAddress(), { retryForMs: 60 });
    void publishExit(publisher, 3);
    await vi.waitFor(() => expect(lost).toHaveLength(1));
    const [{ event, error } = {} as Undelivered] = lost;
    expect(event).toMatchObject({
      namespace: "default",
      topic: "/tasks/exit",
      type: "containerd.events.TaskExit",
    });
    expect(event.message).toMatchObject({ exitStatus: 3 });
    expect(event.timestamp.seconds).toBeGreaterThan(1_600_000_000n);
    expect(error.code).toBe(Code.DeadlineExceeded);
    expect(error.message).toContain("ENOENT");
  });

  test("is a warning of the process if nobody listens", async () => {
    const warned = deferred<Error>();
    process.once("warning", warned.resolve);
    const publisher = createPublisher(temporaryAddress(), { namespace: "default", retryForMs: 20 });
    void publishExit(publisher, 0);
    expect((await warned.promise).message).toContain("not delivered: 1");
    await publisher.close();
  });

  test("is a warning that controls no terminal, whatever the server has answered", async () => {
    const address = temporaryAddress();
    await serverAt(address, () => {
      throw new TtrpcError("\u001b]0;title\u0007\r\u202e", Code.InvalidArgument);
    });
    const warned = deferred<Error>();
    process.once("warning", warned.resolve);
    const publisher = createPublisher(address, { namespace: "default" });
    void publishExit(publisher, 0);
    expect((await warned.promise).message).toContain(String.raw`\u001b]0;title\u0007\r\u202e`);
    await publisher.close();
  });

  test("is one that is published while too many events or bytes wait", async () => {
    const { publisher } = publisherTo(temporaryAddress(), { maxQueuedEvents: 2 });
    upTo(2).forEach((status) => void publishExit(publisher, status));
    expect((await failure(publishExit(publisher, 2))).code).toBe(Code.ResourceExhausted);
    const { publisher: other } = publisherTo(temporaryAddress(), { maxQueuedBytes: 10 });
    void publishExit(other, 0);
    expect((await failure(publishExit(other, 1))).code).toBe(Code.ResourceExhausted);
    expect([other.queuedEvents, other.queuedBytes]).toEqual([1, expect.any(Number)]);
  });

  test("is one that is too large for ttrpc", async () => {
    const { publisher } = publisherTo(temporaryAddress());
    const large = publisher.publish("/tasks/exit", TaskExitSchema, { id: "x".repeat(4 << 20) });
    expect((await failure(large)).code).toBe(Code.ResourceExhausted);
  });
});

describe("an event that would harm containerd", () => {
  test.each([
    ["", "must start with"],
    ["tasks/exit", "must start with"],
    ["/", "must not be empty"],
    ["/tasks//exit", "must not be empty"],
    ["/tasks/?", "letters and digits"],
    [undefined as never, "must be a string"],
  ])("is refused before it is sent: the topic %j", async (topic, text) => {
    const { publisher } = publisherTo(temporaryAddress());
    const error = await rejection(publisher.publish(topic, TaskExitSchema, {}));
    expect(error).toBeInstanceOf(TypeError);
    expect(String(error)).toContain(text);
    expect(publisher.queuedEvents).toBe(0);
  });

  test.each([
    { seconds: 253_402_300_800n, nanos: 0 },
    { seconds: -62_135_596_800n },
    { seconds: 1n, nanos: -1 },
    { nanos: 1_000_000_000 },
  ])("is refused before it is sent: the timestamp %o", async (timestamp) => {
    const { publisher } = publisherTo(temporaryAddress());
    const error = await rejection(publisher.publish("/tasks/exit", TaskExitSchema, {}, { timestamp }));
    expect(error).toBeInstanceOf(TypeError);
    expect(String(error)).toContain("timestamp");
    expect(publisher.queuedEvents).toBe(0);
  });

  test("is refused before it is sent: an invalid namespace, a wrong message", async () => {
    const { publisher } = publisherTo(temporaryAddress());
    for (const namespace of ["", "-", "a b", "x".repeat(77), 7 as never]) {
      const error = await rejection(publisher.publish("/tasks/exit", TaskExitSchema, {}, { namespace }));
      expect(error).toBeInstanceOf(TypeError);
      expect(() => createPublisher("/tmp/x", { namespace })).toThrow(TypeError);
    }
    const wrong = await rejection(publisher.publish("/tasks/exit", TaskExitSchema, { pid: "1" as never }));
    expect(wrong).toBeInstanceOf(TypeError);
    expect(String(wrong)).toContain("pid");
    const noSchema = await rejection(publisher.publish("/tasks/exit", {} as never, {} as never));
    expect(noSchema).toBeInstanceOf(TypeError);
    expect(() => createPublisher("/tmp/x", { namespace: "a", timeoutMs: 0 })).toThrow("timeoutMs");
    expect(() => createPublisher("/tmp/x", { namespace: "a", driver: "fibre" as never })).toThrow("driver");
    expect(() => createPublisher({ fd: 3 } as never, { namespace: "a" })).toThrow(TypeError);
  });
});

describe("a publisher that publishes faster than the server reads", () => {
  test("has drained() resolve when all are delivered or given up, and at once when none waits", async () => {
    const address = temporaryAddress();
    const { came } = await serverAt(address, () => {});
    const { publisher } = publisherTo(address);
    await publisher.drained();
    for (const status of [1, 2, 3]) void publishExit(publisher, status);
    await Promise.all([publisher.drained(), publisher.drained()]);
    expect(came).toEqual([1, 2, 3]);
    const { publisher: hopeless, lost } = publisherTo(temporaryAddress(), { retryForMs: 30 });
    void publishExit(hopeless, 4);
    await hopeless.drained();
    await vi.waitFor(() => expect(lost).toHaveLength(1));
  });

  test("waits for room with ready()", async () => {
    const address = temporaryAddress();
    await using events = listenEvents(address);
    const { publisher } = publisherTo(address, { maxQueuedEvents: 10, maxInFlight: 10 });
    const all = statuses(events, 1000);
    for (const status of upTo(1000)) {
      await publisher.ready();
      void publishExit(publisher, status);
      expect(publisher.queuedEvents).toBeLessThanOrEqual(10);
    }
    expect(await all).toEqual(upTo(1000));
  });

  test("lets five hundred callers of ready() publish one event each, with room for ten", async () => {
    const address = temporaryAddress();
    await using events = listenEvents(address);
    const { publisher } = publisherTo(address, { maxQueuedEvents: 10, maxInFlight: 10 });
    const all = statuses(events, 500);
    await Promise.all(
      upTo(500).map(async (status) => {
        await publisher.ready();
        await publishExit(publisher, status);
      }),
    );
    expect((await all).toSorted((one, other) => one - other)).toEqual(upTo(500));
  });

  test("rejects pending ready() calls when it closes", async () => {
    const address = temporaryAddress();
    await serverAt(address, () => new Promise(() => {}));
    const { publisher } = publisherTo(address, { maxQueuedEvents: 1, maxInFlight: 1 });
    const outcome = failure(publishExit(publisher, 0));
    const waiting = failure(publisher.ready());
    await publisher.close({ graceMs: 10 });
    expect((await waiting).code).toBe(Code.Unavailable);
    expect((await outcome).code).toBe(Code.Unavailable);
    expect((await failure(publisher.ready())).code).toBe(Code.Unavailable);
  });
});

describe("close", () => {
  test("delivers the waiting events, and accepts no more", async () => {
    const address = temporaryAddress();
    const { came } = await serverAt(address, () => sleep(5));
    const { publisher } = publisherTo(address);
    const published = upTo(5).map((status) => publishExit(publisher, status));
    await publisher.close();
    await Promise.all(published);
    expect(came).toEqual(upTo(5));
    expect((await failure(publishExit(publisher, 5))).code).toBe(Code.Unavailable);
  });

  test("gives up events that are not delivered after graceMs", async () => {
    const address = temporaryAddress();
    await serverAt(address, () => new Promise(() => {}));
    const { publisher } = publisherTo(address);
    const outcomes = Promise.all(upTo(3).map((status) => failure(publishExit(publisher, status))));
    await publisher.close({ graceMs: 30 });
    expect((await outcomes).map(({ code }) => code)).toEqual(Array(3).fill(Code.Unavailable));
    expect(publisher.queuedEvents).toBe(0);
  });
});

test.each(["close", "drained"] as const)(
  "%s() resolves once those that were given up have been reported",
  async (end) => {
    const publisher = createPublisher(temporaryAddress(), { namespace: "default", retryForMs: 100 });
    const lost: unknown[] = [];
    publisher.on("undelivered", (undelivered) => lost.push(undelivered));
    for (let index = 0; index < 100; index++) void publishExit(publisher, index).catch(() => undefined);
    await (end === "close" ? publisher.close({ graceMs: 50 }) : publisher.drained());
    expect(lost).toHaveLength(100);
    await publisher.close();
  },
);

test("a program that ends once its publisher is closed has warned of events that nobody heard of", async () => {
  const program = `
    import { createPublisher, TaskExitSchema } from ${JSON.stringify(import.meta.resolve("containerd-shim-protos/events"))};
    const publisher = createPublisher(${JSON.stringify(temporaryAddress())}, { namespace: "default" });
    publisher.publish("/tasks/exit", TaskExitSchema, {}).catch(() => undefined);
    await publisher.close({ graceMs: 50 });
    process.exit(0);`;
  const { stderr } = await promisify(execFile)(process.execPath, ["--input-type=module", "-e", program]);
  expect(stderr).toMatch(/TtrpcWarning: events that were not delivered: 1, the first for /);
});
