import { existsSync, statSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { createPublisher, TASK_EXIT_EVENT_TOPIC, TaskExitSchema } from "containerd-shim-protos/events";
import { describe, expect, it, vi } from "vitest";
import { describeWithPeer, Peer, peerCalls } from "../helpers/peer.js";
import { abstractAddress, pathOf, temporaryAddress } from "../helpers/temp.js";
import { needsTerminal, noTerminal, shimctl, Shimctl, TerminalShimctl, visible } from "./shimctl.js";

const EXIT = { containerId: "web", id: "web", pid: 42, exitStatus: 7, exitedAt: { seconds: 1_700_000_000n } };
const TIMESTAMP = { seconds: 1_700_000_000n, nanos: 123_456_789 };

/** A `shimctl events` that listens. */
async function listening(...options: string[]): Promise<Shimctl & { readonly address: string }> {
  return listeningAt(temporaryAddress(), ...options);
}

async function listeningAt(address: string, ...options: string[]) {
  const child = new Shimctl(["events", address, ...options]);
  await child.says("listening on");
  return Object.assign(child, { address });
}

async function publish(address: string, namespace: string, topic: string): Promise<void> {
  await using publisher = createPublisher(address, { namespace });
  await publisher.publish(topic, TaskExitSchema, EXIT, { timestamp: TIMESTAMP });
}

describe("shimctl events", () => {
  it("prints a line for each event", async () => {
    await using child = await listening();
    await publish(child.address, "default", TASK_EXIT_EVENT_TOPIC);
    await child.says("\n");
    child.kill("SIGINT");
    const { code, stdout } = await child.outcome();
    expect(code).toBe(0);
    await expect(stdout).toMatchFileSnapshot("golden/events.txt");
  });

  it("prints the envelope as JSON, with the event unpacked", async () => {
    await using child = await listening("--json");
    await publish(child.address, "default", TASK_EXIT_EVENT_TOPIC);
    await child.says("}\n");
    child.kill("SIGTERM");
    const { code, stdout } = await child.outcome();
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toEqual({
      timestamp: "2023-11-14T22:13:20.123456789Z",
      namespace: "default",
      topic: "/tasks/exit",
      event: {
        "@type": "containerd.events.TaskExit",
        containerId: "web",
        id: "web",
        pid: 42,
        exitStatus: 7,
        exitedAt: "2023-11-14T22:13:20Z",
      },
    });
  });

  it("filters by prefixes of topics and by namespaces", async () => {
    await using child = await listening(
      "--topic",
      "/tasks/",
      "--topic",
      "/a",
      "-n",
      "default",
      "-n",
      "k8s.io",
    );
    for (const namespace of ["other", "default", "k8s.io"]) {
      for (const topic of ["/images/x", "/tasks/exit", "/a/b"])
        await publish(child.address, namespace, topic);
    }
    await child.says("k8s.io /a/b");
    const seen = child.stdout
      .trimEnd()
      .split("\n")
      .map((line) => line.split(" ").slice(1, 3).join(" "));
    expect(seen).toEqual(["default /tasks/exit", "default /a/b", "k8s.io /tasks/exit", "k8s.io /a/b"]);
  });

  it.skipIf(noTerminal)(
    `uses colour on a terminal, has a socket that only its user can use, and leaves none behind${needsTerminal}`,
    async () => {
      const address = temporaryAddress();
      await using child = new TerminalShimctl(["events", address]);
      await child.says("listening");
      expect(statSync(pathOf(address)).mode & 0o777).toBe(0o600);
      await publish(address, "default", TASK_EXIT_EVENT_TOPIC);
      await child.says("/tasks/exit");
      child.type("\x03");
      const { code, stdout } = await child.outcome();
      expect(code).toBe(0);
      expect(visible(stdout)).toContain("default ␛[1m/tasks/exit␛[22m");
      expect(existsSync(pathOf(address))).toBe(false);
    },
  );

  it("ends silently when its reader has gone, and leaves no socket file behind", async () => {
    await using child = await listening();
    await publish(child.address, "default", TASK_EXIT_EVENT_TOPIC);
    await child.says("/tasks/exit");
    child.leave();
    await using publisher = createPublisher(child.address, { namespace: "default", retryForMs: 2000 });
    publisher.on("undelivered", () => undefined);
    await publisher.publish(TASK_EXIT_EVENT_TOPIC, TaskExitSchema, EXIT).catch(() => undefined);
    expect(await child.outcome()).toMatchObject({ code: 0 });
    expect(existsSync(pathOf(child.address))).toBe(false);
  });

  it("acknowledges no event whose line has not left the process", async () => {
    await using child = await listening("--json");
    child.ignore();
    const limits = { retryForMs: 1000, timeoutMs: 1000 };
    await using publisher = createPublisher(child.address, { namespace: "default", ...limits });
    publisher.on("undelivered", () => undefined);
    let acknowledged = 0;
    for (let event = 0; event < 3000; event++) {
      const published = publisher.publish(TASK_EXIT_EVENT_TOPIC, TaskExitSchema, EXIT);
      published.then(
        () => acknowledged++,
        () => undefined,
      );
      await publisher.ready().catch(() => undefined);
    }
    // Nothing more happens once the pipe is full.
    for (let before = -1; before < acknowledged; await sleep(300)) before = acknowledged;
    child.kill("SIGTERM");
    await vi.waitFor(() => expect(child.exited).toBe(true), 10_000);
    child.listen();
    const { code, stdout } = await child.outcome();
    expect(code).toBe(0);
    expect(acknowledged).toBeGreaterThan(0);
    expect(stdout.split("\n").length - 1).toBeGreaterThanOrEqual(acknowledged);
  });

  it("ends with 2 if it cannot listen, or if a filter is wrong", async () => {
    const nowhere = await shimctl(["events", "/no/such/folder/e.sock"]);
    expect(nowhere).toMatchObject({ code: 2 });
    expect(nowhere.stderr).toContain("ENOENT");
    await using child = await listening();
    const taken = await shimctl(["events", child.address]);
    expect(taken).toMatchObject({ code: 2 });
    expect(taken.stderr).toContain("something listens on this one already");
    const file = await shimctl(["events", import.meta.filename]);
    expect(file.stderr).toContain(
      `cannot listen on unix://${import.meta.filename}: it is a file, not a socket`,
    );
    const topic = await shimctl(["events", temporaryAddress(), "--topic", "tasks"]);
    expect(topic).toMatchObject({ code: 2 });
    expect(topic.stderr).toContain('"tasks" must be the beginning of topics');
  });

  it("takes events of its own user at an abstract name, which has no permissions", async () => {
    await using child = await listeningAt(abstractAddress());
    await publish(child.address, "default", TASK_EXIT_EVENT_TOPIC);
    await child.says("\n");
    child.kill("SIGINT");
    expect((await child.outcome()).stdout).toContain("/tasks/exit");
  });

  it("ends with 3 if there is no containerd to pass events on to", async () => {
    const { code, stderr } = await shimctl(["events", temporaryAddress(), "--forward", temporaryAddress()]);
    expect(code).toBe(3);
    expect(stderr).toContain("ENOENT");
  });
});

describeWithPeer("shimctl events, with the Rust client and server", () => {
  it("prints what the Rust client publishes, and passes it on with --forward", async () => {
    await using containerd = await Peer.task("v3");
    await using child = await listening("--json", "--forward", containerd.address);
    const calls = await peerCalls(child.address, { only: "Forward" });
    expect(calls).toEqual([expect.objectContaining({ method: "Forward", response: "" }) as unknown]);
    await child.says("}\n");
    const event = JSON.parse(child.stdout) as { topic: string; event: { "@type": string } };
    expect(event.topic).toMatch(/^\//);
    expect(event.event["@type"]).toMatch(/^containerd\.events\./);
    // The server reports the bytes that it got.
    const state = await shimctl(["call", containerd.address, "v3.Task/State", '{"id":"forwarded"}']);
    expect((JSON.parse(state.stdout) as { bundle: string }).bundle).toBe(calls[0]?.request);
  });
});
