import { setTimeout as sleep } from "node:timers/promises";
import { type CallMessage, Code } from "containerd-shim-protos";
import { Events, forwardEvents } from "containerd-shim-protos/events";
import { afterEach, describe, expect, test, vi } from "vitest";
import { listen } from "../helpers/channels.js";
import { failure } from "../helpers/outcome.js";
import { temporaryAddress } from "../helpers/temp.js";
import { publishExit, statuses } from "./exits.js";
import { clientOf, closeAll, connectionTo, publisherTo, requestOf, sinkAt } from "./sinks.js";

afterEach(closeAll);

const sent = () => listen<CallMessage>("ttrpc:client:call:start", "ttrpc:client:call:end");
const served = () => listen<CallMessage>("ttrpc:server:call:start", "ttrpc:server:call:end");

/** The end of each call, with the object that its start had. */
function ends(seen: readonly [string, CallMessage][]): CallMessage[] {
  const started = new Set<CallMessage>();
  return seen.flatMap(([name, message]) => {
    if (name.endsWith(":start")) started.add(message);
    else if (started.delete(message)) return [message];
    return [];
  });
}

describe("the diagnostics channels", () => {
  test("report each event on both sides, with one object from its start to its end", async () => {
    const { events, address } = sinkAt();
    const publisher = publisherTo(address);
    using client = sent();
    using server = served();
    const published = [publishExit(publisher, 0), publishExit(publisher, 1)];
    expect(await statuses(events, 2)).toEqual([0, 1]);
    await Promise.all(published);
    for (const { seen } of [client, server]) {
      expect(seen).toHaveLength(4);
      expect(ends(seen)).toHaveLength(2);
      for (const { service, method, kind, connection, error } of ends(seen)) {
        expect([service, method, kind, error]).toEqual([Events.typeName, "Forward", "unary", undefined]);
        expect(connection).toBeGreaterThan(0);
      }
    }
    expect(client.seen[0]?.[1].address).toBe(address);
  });

  test("report each attempt, and why it failed", async () => {
    const { events, address } = sinkAt({ whenFull: "fail", maxQueuedEvents: 1 });
    const publisher = publisherTo(address, { maxInFlight: 2 });
    using client = sent();
    using server = served();
    const published = [publishExit(publisher, 0), publishExit(publisher, 1)];
    await vi.waitFor(() => expect(ends(server.seen)).not.toHaveLength(0));
    expect(await statuses(events, 2)).toEqual([0, 1]);
    await Promise.all(published);
    for (const { seen } of [client, server]) {
      const codes = ends(seen).map(({ error }) => error?.code);
      expect(new Set(codes)).toEqual(new Set([Code.ResourceExhausted, undefined]));
      expect(codes.filter((code) => code === undefined)).toHaveLength(2);
    }
  });

  test("report an event that is refused, and one whose publisher no longer waits", async () => {
    const { address, events } = sinkAt();
    using server = served();
    const client = await clientOf(address);
    expect((await failure(client.forward({}))).code).toBe(Code.InvalidArgument);
    await failure(client.forward(requestOf({}), { timeoutMs: 20 }));
    await vi.waitFor(() => expect(events.counts.expired).toBe(1));
    const connection = await connectionTo(address);
    connection.unary(Events.typeName, "Forward", new Uint8Array()).catch(() => undefined);
    await sleep(5);
    await connection.close();
    await vi.waitFor(() => expect(server.seen).toHaveLength(6));
    expect(ends(server.seen).map(({ error }) => error?.code)).toEqual([
      Code.InvalidArgument,
      Code.DeadlineExceeded,
      Code.InvalidArgument,
    ]);
  });

  test("report an event that is passed on, once on each side of the forwarder", async () => {
    const { events, address } = sinkAt();
    await using forwarder = forwardEvents(temporaryAddress(), address);
    const client = await clientOf(forwarder.address);
    const call = client.forward(requestOf({ exitStatus: 3 }));
    using calls = sent();
    using requests = served();
    expect(await statuses(events, 1)).toEqual([3]);
    await call;
    expect(ends(calls.seen)).toHaveLength(1);
    expect(ends(requests.seen)).toHaveLength(2);
  });
});
