import { createPublisher, forwardEvents } from "containerd-shim-protos/events";
import { afterEach, expect, test } from "vitest";
import { describeWithPeer, peerPublish } from "../helpers/peer.js";
import { temporaryAddress } from "../helpers/temp.js";
import { publishExit, statuses, upTo } from "./exits.js";
import { closeAll, publisherTo, sinkAt } from "./sinks.js";

afterEach(closeAll);

const COUNT = 3000;

describeWithPeer("with the thread driver", () => {
  test("a sink yields each of the Rust client's events once, and holds the client back when there are too many", async () => {
    const { events, address } = sinkAt({ driver: "thread", maxQueuedEvents: 50 });
    const published = peerPublish(address, { count: COUNT, inflight: 200 });
    // More calls than the client's own queue holds: it does not always write them in order.
    const came = await statuses(events, COUNT);
    expect(came.toSorted((a, b) => a - b)).toEqual(upTo(COUNT));
    expect(await published).toEqual({ failed: 0, first: null });
  });

  test("a forwarder passes on what a publisher with the thread driver sends", async () => {
    const { events, address } = sinkAt();
    await using forwarder = forwardEvents(temporaryAddress(), address, { driver: "thread" });
    const publisher = publisherTo(forwarder.address, { driver: "thread", maxInFlight: 100 });
    const published = upTo(COUNT).map((status) => publishExit(publisher, status));
    const [passed, came] = await Promise.all([statuses(forwarder, COUNT), statuses(events, COUNT)]);
    expect(passed).toEqual(upTo(COUNT));
    expect(came).toEqual(upTo(COUNT));
    await Promise.all(published);
  });

  test("a publisher delivers once its server listens", async () => {
    const address = temporaryAddress();
    await using publisher = createPublisher(address, { namespace: "default", driver: "thread" });
    const published = publishExit(publisher, 7);
    const { events } = sinkAt({}, address);
    expect(await statuses(events, 1)).toEqual([7]);
    await published;
  });
});
