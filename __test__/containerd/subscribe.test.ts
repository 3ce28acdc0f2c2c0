import { isMessage } from "@bufbuild/protobuf";
import { Code, TtrpcError } from "containerd-shim-protos";
import {
  type ContainerdEvent,
  createPublisher,
  type EventGap,
  type EventSubscription,
  subscribeEvents,
  type SubscribeOptions,
  TaskExitSchema,
} from "containerd-shim-protos/events";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { shimctl, Shimctl } from "../cli/shimctl.js";
import { Containerd } from "./containerd.js";
import { showLogOfFailures } from "./direct.js";
import { describeWithEach } from "./releases.js";

const WAIT = { timeout: 15_000, interval: 20 };
const PROBE = "/probe";

interface Watching {
  readonly events: EventSubscription;
  /** Events, without probes, and gaps, in the order in which the program got them. */
  readonly got: (ContainerdEvent | EventGap)[];
  /** Resolves when containerd delivers to the subscription. */
  live(): Promise<void>;
}

describeWithEach("a subscription to containerd", (release) => {
  let containerd: Containerd;

  beforeAll(async () => {
    containerd = await Containerd.start({ release });
  });
  afterAll(async () => containerd?.stop());
  showLogOfFailures(() => containerd);

  function watch(options: SubscribeOptions = {}): Watching {
    const got: Watching["got"] = [];
    let probes = 0;
    const events = subscribeEvents(`${containerd.folder}/c.sock`, {
      ...options,
      onGap: (gap) => got.push(gap),
    });
    const ended = (async () => {
      for await (const event of events) {
        if (event.topic === PROBE) probes++;
        else got.push(event);
      }
    })();
    ended.catch(() => undefined);
    return {
      events,
      got,
      async live() {
        await using probe = createPublisher(containerd.eventsAddress, { namespace: "probe" });
        const before = probes;
        await vi.waitFor(async () => {
          await probe.publish(PROBE, TaskExitSchema, {});
          expect(probes).toBeGreaterThan(before);
        }, WAIT);
      },
    };
  }

  const topicsOf = (got: Watching["got"]) => got.map((one) => ("topic" in one ? one.topic : "gap"));
  const statusesOf = (got: Watching["got"]) =>
    got.map((one) =>
      "topic" in one ? isMessage(one.message, TaskExitSchema) && one.message.exitStatus : "gap",
    );

  test("gives a container's life with what containerd itself does, typed", async () => {
    const { events, got, live } = watch();
    await live();
    await containerd.runContainer("lives", { args: ["/bin/true"], group: "pod" });
    await vi.waitFor(() => expect(topicsOf(got)).toContain("/tasks/exit"), WAIT);
    await containerd.ctr.deleteTask("lives");
    await containerd.ctr.deleteContainer("lives");
    await vi.waitFor(() => expect(topicsOf(got)).toContain("/containers/delete"), WAIT);
    expect(topicsOf(got)).toEqual(
      expect.arrayContaining(["/containers/create", "/tasks/create", "/tasks/start"]),
    );
    const exit = got.find((one) => "topic" in one && one.topic === "/tasks/exit") as ContainerdEvent;
    expect(exit.namespace).toBe(containerd.ctr.namespace);
    expect(isMessage(exit.message, TaskExitSchema) && exit.message.containerId).toBe("lives");
    expect(exit.timestamp.seconds).toBeGreaterThan(0n);
    expect(got.every((one) => "message" in one && one.message !== undefined)).toBe(true);
    await events.close();
  });

  test("leaves filters, namespaces and topics to containerd, all of which apply", async () => {
    const { events, got, live } = watch({
      filters: ["event.container_id==a", `event.container_id=="b"`, `topic=="${PROBE}"`],
      namespaces: ["one", "t.w-o", "probe"],
      topics: ["/tasks/", "/x.y", PROBE],
    });
    await live();
    await using publisher = createPublisher(containerd.eventsAddress, { namespace: "one" });
    const publish = (containerId: string, exitStatus: number, topic: string, namespace = "one") =>
      publisher.publish(topic, TaskExitSchema, { containerId, exitStatus }, { namespace });
    await publish("a", 1, "/tasks/exit");
    await publish("c", 2, "/tasks/exit");
    await publish("b", 3, "/tasks/exit", "t.w-o");
    await publish("b", 4, "/tasks/exit", "two");
    await publish("b", 5, "/x.y");
    await publish("b", 6, "/x-y");
    await publish("b", 7, "/other/tasks");
    await publish("b", 8, "/tasks/end");
    await vi.waitFor(() => expect(statusesOf(got)).toContain(8), WAIT);
    expect(statusesOf(got)).toEqual([1, 3, 5, 8]);
    expect(events.counts.received).toBe(events.counts.taken);
    await events.close();
  });

  test("ends with containerd's words for a filter that it refuses", async () => {
    const events = subscribeEvents(`${containerd.folder}/c.sock`, { filters: ["!!"] });
    const failed = await events[Symbol.asyncIterator]()
      .next()
      .catch((error: unknown) => error);
    expect(failed).toBeInstanceOf(TtrpcError);
    expect((failed as TtrpcError).message).toMatch(/c\.sock: .*filter/);
    await events.close();
  });

  test.each(["SIGKILL", "SIGTERM"] as const)(
    "comes back after %s of containerd, with a gap between the events",
    async (signal) => {
      const { events, got, live } = watch({ topics: ["/tasks/exit", PROBE] });
      await live();
      await using publisher = createPublisher(containerd.eventsAddress, { namespace: "default" });
      const publish = (exitStatus: number) =>
        publisher.publish("/tasks/exit", TaskExitSchema, { exitStatus });
      const before = Date.now();
      await publish(1);
      await vi.waitFor(() => expect(statusesOf(got)).toEqual([1]), WAIT);
      const lost = Date.now();
      await containerd.kill(signal);
      await vi.waitFor(() => expect(events.connected).toBe(false), WAIT);
      await containerd.restart();
      await live();
      await publish(2);
      await vi.waitFor(() => expect(statusesOf(got).at(-1)).toBe(2), WAIT);
      expect(new Set(statusesOf(got).slice(1, -1))).toEqual(new Set(["gap"]));
      const [, gap] = got as [ContainerdEvent, EventGap];
      expect(gap).toMatchObject({ dropped: 0, error: { code: Code.Unavailable } });
      // Nothing that happened before the last event is missing.
      expect(gap.since.getTime()).toBeGreaterThanOrEqual(before - 1);
      expect(gap.since.getTime()).toBeLessThanOrEqual(lost + 1);
      await events.close();
    },
  );

  test("gives as many events as containerd was given, in order, in batches", async () => {
    const COUNT = 5_000;
    const events = subscribeEvents(`${containerd.folder}/c.sock`, {
      topics: ["/many"],
      maxQueuedEvents: COUNT,
    });
    await using publisher = createPublisher(containerd.eventsAddress, {
      namespace: "default",
      maxQueuedEvents: COUNT,
    });
    const seen: number[] = [];
    const done = (async () => {
      for await (const batch of events.batches()) {
        for (const { message } of batch) seen.push(isMessage(message, TaskExitSchema) ? message.pid : -1);
        if (seen.at(-1) === COUNT) return;
      }
    })();
    await vi.waitFor(async () => {
      await publisher.publish("/many", TaskExitSchema, { pid: 0 });
      expect(seen.length).toBeGreaterThan(0);
    }, WAIT);
    for (let pid = 1; pid <= COUNT; pid++) void publisher.publish("/many", TaskExitSchema, { pid });
    await done;
    expect(seen.filter((pid) => pid > 0)).toEqual(Array.from({ length: COUNT }, (_, index) => index + 1));
    expect(events.counts).toMatchObject({ dropped: 0, invalid: 0, lost: 0 });
    await events.close();
  }, 60_000);

  test("is what shimctl events makes without an address, across a restart of containerd", async () => {
    await using child = new Shimctl(["events", "--json", "--filter", "event.container_id==shown"], {
      env: { CONTAINERD_ADDRESS: `${containerd.folder}/c.sock` },
    });
    await child.says("subscribing to");
    await using publisher = createPublisher(containerd.eventsAddress, { namespace: "default" });
    const publishUntilShown = (exitStatus: number) =>
      vi.waitFor(async () => {
        await publisher.publish("/tasks/exit", TaskExitSchema, { containerId: "shown", exitStatus });
        expect(child.stdout).toContain(`"exitStatus":${exitStatus}`);
      }, WAIT);
    await publishUntilShown(4);
    await containerd.kill();
    await child.says("events may be missing here");
    await containerd.restart();
    await publishUntilShown(5);
    const nowhere = await shimctl(["events", "--address", "/no/such.sock"]);
    expect(nowhere).toMatchObject({ code: 3, stdout: "" });
  });
});
