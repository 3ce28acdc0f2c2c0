import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { isMessage } from "@bufbuild/protobuf";
import { connect } from "containerd-shim-protos";
import {
  type ContainerdEvent,
  createPublisher,
  type EventSink,
  forwardEvents,
  TaskExitSchema,
} from "containerd-shim-protos/events";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { Containerd } from "./containerd.js";
import { showLogOfFailures } from "./direct.js";
import type { CtrEvents } from "./ctr.js";
import { describeWithEach } from "./releases.js";

const LIFE = ["/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete"];
const SLEEPER = { args: ["/bin/sleep", "100000"], group: "pod" };
const WAIT = { timeout: 15_000, interval: 50 };

describeWithEach("a forwarder as the TTRPC_ADDRESS of shims", (release) => {
  const folder = mkdtempSync("/tmp/shim-events-");
  const address = `unix://${join(folder, "events.sock")}`;
  let containerd: Containerd;
  let events: EventSink;
  let ctr: CtrEvents;
  /** The events that the program got. */
  const given: ContainerdEvent[] = [];

  beforeAll(async () => {
    containerd = await Containerd.start({ release, shimsPublishTo: address.slice("unix://".length) });
    events = forwardEvents(address, containerd.eventsAddress);
    void (async () => {
      for await (const event of events) given.push(event);
    })();
    ctr = await listening();
    await containerd.runContainer("stays", SLEEPER);
  });

  afterAll(async () => {
    ctr?.stop();
    await containerd?.stop();
    await events?.close({ graceMs: 0 });
    rmSync(folder, { recursive: true });
  });

  showLogOfFailures(() => containerd);

  /** `ctr events`, once it receives what is published. */
  async function listening(): Promise<CtrEvents> {
    const started = await containerd.ctr.events();
    const probe = createPublisher(containerd.eventsAddress, { namespace: "probe" });
    await vi.waitFor(async () => {
      await probe.publish("/probe", TaskExitSchema, {});
      expect(started.seen.length).toBeGreaterThan(0);
    }, WAIT);
    await probe.close();
    return started;
  }

  /** The topics of a container's events, in the program's order. */
  const topicsOf = (id: string) =>
    given.filter((event) => containerOf(event) === id).map(({ topic }) => topic);
  const seenOf = (id: string) => ctr.seen.filter(({ message }) => message["container_id"] === id);

  test("delivers a container's life in order to the program, and the same to ctr events", async () => {
    const id = "short";
    await containerd.runContainer(id, { ...SLEEPER, args: ["/bin/true"] });
    await vi.waitFor(() => expect(topicsOf(id)).toContain("/tasks/exit"), WAIT);
    await containerd.ctr.deleteTask(id);
    await vi.waitFor(() => expect(topicsOf(id)).toContain("/tasks/delete"), WAIT);
    await containerd.ctr.deleteContainer(id);
    expect(topicsOf(id)).toEqual(LIFE);
    await vi.waitFor(() => expect(seenOf(id).map(({ topic }) => topic)).toEqual(LIFE), WAIT);
    expect(seenOf(id).every(({ namespace }) => namespace === containerd.ctr.namespace)).toBe(true);
    const exit = given.find(({ topic, message }) => topic === "/tasks/exit" && message !== undefined);
    expect(isMessage(exit?.message, TaskExitSchema)).toBe(true);
    expect(exit?.timestamp.nanos).toBeGreaterThan(0);
  });

  test("passes on to ctr events what a publisher publishes", async () => {
    const publisher = createPublisher(address, { namespace: "elsewhere" });
    await publisher.publish("/tasks/exit", TaskExitSchema, {
      containerId: "mine",
      id: "mine",
      pid: 7,
      exitStatus: 3,
    });
    await vi.waitFor(() => expect(seenOf("mine")).toHaveLength(1), WAIT);
    expect(seenOf("mine")[0]).toMatchObject({
      namespace: "elsewhere",
      topic: "/tasks/exit",
      message: { container_id: "mine", id: "mine", pid: 7, exit_status: 3 },
    });
    await publisher.close();
  });

  test("neither loses nor duplicates events when containerd is killed and restarted meanwhile", async () => {
    await containerd.runContainer("survivor", SLEEPER);
    const publisher = createPublisher(address, { namespace: "default" });
    const acknowledged: number[] = [];
    const publish = async (exitStatus: number) => {
      await publisher.publish("/tasks/exit", TaskExitSchema, { containerId: "counted", exitStatus });
      acknowledged.push(exitStatus);
    };
    const published: Promise<void>[] = [];
    for (let number = 0; number < 300; number++) {
      published.push(publish(number));
      if (number === 100) await containerd.kill();
      if (number === 200) await containerd.restart();
    }
    await Promise.all(published);
    ctr.stop();
    ctr = await listening();
    const counted = given
      .filter((event) => containerOf(event) === "counted")
      .map(({ message }) => isMessage(message, TaskExitSchema) && message.exitStatus);
    const all = Array.from({ length: 300 }, (_, number) => number);
    expect(acknowledged).toEqual(all);
    expect(counted).toEqual(all);

    process.kill((await containerd.ctr.task("survivor")).pid, "SIGKILL");
    await vi.waitFor(() => expect(topicsOf("survivor")).toContain("/tasks/exit"), WAIT);
    await containerd.ctr.deleteTask("survivor");
    await vi.waitFor(() => expect(topicsOf("survivor")).toEqual(LIFE), WAIT);
    await vi.waitFor(
      () => expect(seenOf("survivor").map(({ topic }) => topic)).toEqual(["/tasks/exit", "/tasks/delete"]),
      WAIT,
    );
    await containerd.ctr.deleteContainer("survivor");
    await publisher.close();
  });

  test("does not pass on to containerd what would crash it", async () => {
    const before = events.counts.refused;
    const connection = await connect(address);
    await expect(
      connection.unary("containerd.services.events.ttrpc.v1.Events", "Forward", new Uint8Array()),
    ).rejects.toThrow("no envelope");
    expect(events.counts.refused).toBe(before + 1);
    await connection.close();
    expect(await containerd.ctr.version()).toContain(".");
  });
});

function containerOf({ message }: ContainerdEvent): string | undefined {
  return (message as { containerId?: string } | undefined)?.containerId;
}
