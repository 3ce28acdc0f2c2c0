import { createRegistry, isMessage } from "@bufbuild/protobuf";
import { Code, connectSync, createSyncClient } from "containerd-shim-protos";
import { type ContainerdEvent, TASK_EXIT_EVENT_TOPIC, TaskExitSchema } from "containerd-shim-protos/events";
import { Task } from "containerd-shim-protos/task/v3";
import * as fc from "fast-check";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { failure } from "../helpers/outcome.js";
import { describeWithPeer, Peer } from "../helpers/peer.js";
import { watchUncaught } from "../helpers/uncaught.js";
import { temporaryAddress } from "../helpers/temp.js";
import { publishExit, statuses, upTo } from "./exits.js";
import { clientOf, closeAll, publisherTo, requestOf, sinkAt } from "./sinks.js";

const uncaught = watchUncaught();
afterEach(closeAll);

const warnings: string[] = [];
const onWarning = ({ name, message }: Error) => {
  if (name === "TtrpcWarning") warnings.push(message);
};
beforeAll(() => void process.on("warning", onWarning));
afterAll(() => void process.off("warning", onWarning));
beforeEach(() => void warnings.splice(0));

/** A registry that runs `lookUp` for each name. */
function registryOf(lookUp: (name: string) => unknown) {
  const registry = createRegistry();
  registry.getMessage = (name) => lookUp(name) as ReturnType<typeof registry.getMessage>;
  return registry;
}

describe("a registry", () => {
  test("that throws costs no event its delivery, leaves containerd's types known, and is reported once", async () => {
    const registry = registryOf(() => {
      throw new Error("boom");
    });
    const { events, address } = sinkAt({ registry });
    const publisher = publisherTo(address, { maxInFlight: 10 });
    const published = upTo(10).map((status) => publishExit(publisher, status));
    expect(await statuses(events, 10)).toEqual(upTo(10));
    await Promise.all(published);
    expect(events.counts).toMatchObject({ received: 10, taken: 10, refused: 0 });
    await vi.waitFor(() => expect(warnings).toEqual([expect.stringMatching(/^registry.*: boom$/)]));
  });

  test.each([5, "text", {}, [], () => undefined, Promise.resolve(), { kind: "message" }, null])(
    "that gives %j for a type leaves the event without a message",
    async (type) => {
      const { events, address } = sinkAt({ registry: registryOf(() => type) });
      const call = (await clientOf(address)).forward(requestOf({ type: "my.Event" }));
      const { value } = await events[Symbol.asyncIterator]().next();
      expect(value).toMatchObject({ type: "my.Event", message: undefined });
      await call;
    },
  );

  test("that is asynchronous and rejects does not end the process, and is reported", async () => {
    const { events, address } = sinkAt({ registry: registryOf(() => Promise.reject(new Error("boom"))) });
    const call = (await clientOf(address)).forward(requestOf({ type: "my.Event" }));
    const { value } = await events[Symbol.asyncIterator]().next();
    expect(value).toMatchObject({ type: "my.Event", message: undefined });
    await call;
    await vi.waitFor(() =>
      expect(warnings).toEqual([expect.stringMatching(/^registry.*returned a Promise$/)]),
    );
  });

  test("is not asked for the type of an event that nobody wants", async () => {
    const asked: string[] = [];
    const registry = registryOf((name) => void asked.push(name));
    const { events, address } = sinkAt({ registry, namespaces: ["moby"] });
    const client = await clientOf(address);
    await client.forward(requestOf({ namespace: "default" }));
    const call = client.forward(requestOf({ namespace: "moby" }));
    await events[Symbol.asyncIterator]().next();
    await call;
    expect(asked).toEqual([TaskExitSchema.typeName]);
  });

  test("that closes the sink refuses the events that were not acknowledged, and harms nothing else", async () => {
    let close = () => {};
    const registry = registryOf(() => close());
    const { events, address } = sinkAt({ registry });
    close = () => void events.close();
    const client = await clientOf(address);
    const calls = upTo(3).map(() => failure(client.forward(requestOf({}))));
    for (const { code } of await Promise.all(calls)) expect(code).toBe(Code.Unavailable);
  });

  describeWithPeer("with the Rust server", () => {
    test("that makes a blocking call is not called while a batch is read, so no event is lost", async () => {
      await using peer = await Peer.task("v3");
      using connection = connectSync(peer.address);
      const task = createSyncClient(Task, connection);
      const registry = registryOf(() => void task.state({ id: "web" }, { timeoutMs: 15_000 }));
      const { events, address } = sinkAt({ registry });
      const publisher = publisherTo(address, { maxInFlight: 50 });
      const published = upTo(50).map((status) => publishExit(publisher, status));
      expect(await statuses(events, 50)).toEqual(upTo(50));
      await Promise.all(published);
    });
  });
});

describe("a publisher", () => {
  const message = (exitStatus: number, throws: boolean) => ({
    get exitStatus() {
      if (throws) throw new RangeError(`boom ${exitStatus}`);
      return exitStatus;
    },
  });

  test("delivers all other events in order, whichever messages throw while they are encoded", async () => {
    const { events, address } = sinkAt();
    await fc.assert(
      fc.asyncProperty(fc.array(fc.boolean(), { minLength: 1, maxLength: 20 }), async (throwing) => {
        const publisher = publisherTo(address, { maxInFlight: 4 });
        const published = throwing.map((throws, status) =>
          publisher.publish(TASK_EXIT_EVENT_TOPIC, TaskExitSchema, message(status, throws)),
        );
        const settling = Promise.allSettled(published);
        const good = [...throwing.keys()].filter((status) => throwing[status] === false);
        if (good.length > 0) expect(await statuses(events, good.length)).toEqual(good);
        const settled = await settling;
        for (const [status, each] of settled.entries()) {
          if (throwing[status] === false) expect(each.status).toBe("fulfilled");
          else expect(each).toMatchObject({ reason: new RangeError(`boom ${status}`) });
        }
        await publisher.close();
      }),
      { numRuns: 30 },
    );
  });

  test("tells its listeners of every event that it gave up, and the process of each that throws", async () => {
    const publisher = publisherTo(temporaryAddress(), { retryForMs: 1 });
    const told: [listener: string, event: ContainerdEvent][] = [];
    publisher.on("undelivered", ({ event }) => {
      told.push(["first", event]);
      throw new Error(`boom ${told.length}`);
    });
    publisher.prependListener("undelivered", ({ event }) => void told.push(["before", event]));
    await Promise.all(upTo(5).map((status) => failure(publishExit(publisher, status))));
    await vi.waitFor(() => expect(told).toHaveLength(10));
    const statusesOf = (name: string) =>
      told.flatMap(([listener, { message: found }]) =>
        listener === name && isMessage(found, TaskExitSchema) ? [found.exitStatus] : [],
      );
    expect(statusesOf("first")).toEqual(upTo(5));
    expect(statusesOf("before")).toEqual(upTo(5));
    expect(uncaught.splice(0)).toHaveLength(5);
  });

  test("reports by a warning what its listeners were not there for any more", async () => {
    const publisher = publisherTo(temporaryAddress(), { retryForMs: 1 });
    publisher.removeAllListeners("undelivered");
    const told: unknown[] = [];
    publisher.once("undelivered", (undelivered) => void told.push(undelivered));
    await Promise.all(upTo(3).map((status) => failure(publishExit(publisher, status))));
    await vi.waitFor(() => expect(warnings).toEqual([expect.stringContaining("not delivered: 2")]));
    expect(told).toHaveLength(1);
  });
});
