import { Event, type EventName, Plugin, type PluginHandlers } from "containerd-shim-protos/nri";
import { describe, expect, it } from "vitest";
import { bareRuntime } from "./bare-runtime.js";

describe("a plugin", () => {
  it("subscribes to the events that have handlers, and answers all others with empty replies", async () => {
    const { client, plugin } = await bareRuntime({
      startContainer: () => undefined,
      runPodSandbox: () => undefined,
    });
    const { events } = await client.configure({
      requestTimeout: 1500n,
      registrationTimeout: 3000n,
      runtimeName: "r",
    });
    expect(events).toBe((1 << (Event.RUN_POD_SANDBOX - 1)) | (1 << (Event.START_CONTAINER - 1)));
    await plugin.ready;
    expect(plugin.runtime).toEqual({
      name: "r",
      version: "",
      nriVersion: "",
      registrationTimeoutMs: 3000,
      requestTimeoutMs: 1500,
    });
    expect(await client.synchronize({ more: true })).toMatchObject({ more: true, update: [] });
    for (const { localName } of Plugin.methods) {
      if (localName === "configure" || localName === "synchronize") continue;
      const call = client[localName as "runPodSandbox"];
      await expect(call({}), localName).resolves.toBeDefined();
    }
  });

  it("knows how long its runtime waits, also if that does not say it", async () => {
    const timeouts = async (requestTimeout: bigint, timeoutMs: number) => {
      const { client, plugin } = await bareRuntime({});
      await client.configure({ requestTimeout }, { timeoutMs });
      await plugin.ready;
      return plugin.runtime?.requestTimeoutMs;
    };
    expect(await timeouts(7000n, 60_000)).toBe(7000);
    // NRI before 0.8 does not say it.
    expect(await timeouts(0n, 60_000)).toBe(60_000);
    expect(await timeouts(0n, 0)).toBe(2000);
  });

  it("without handlers of events does not subscribe to all of them, as an empty mask would", async () => {
    const { client } = await bareRuntime({ synchronize: () => undefined });
    expect((await client.configure({})).events).toBe(1 << (Event.POST_UPDATE_CONTAINER - 1));
  });

  // NRI before 0.10 refuses a plugin that subscribes to an event which it does not know.
  const MASKS: Record<string, number> = {
    old: 0b000_0000_0001,
    "pods only": 0b1_1000_0000_0001,
    all: 0b11_1000_0000_0001,
  };
  it.each([
    ["containerd", "1.7.27", "", "old"],
    ["containerd", "v2.1.5", "", "old"],
    ["containerd", "v2.2.0", "", "all"],
    ["containerd", "v10.0.0", "", "all"],
    ["containerd", "v2.0.0+unknown", "v0.12.0", "all"],
    ["containerd", "unknown", "", "all"],
    ["cri-o", "1.32.11", "", "old"],
    ["cri-o", "1.33.0", "", "pods only"],
    ["cri-o", "1.34.0", "", "all"],
    ["toString", "1.0.0", "", "all"],
  ])("subscribes with %s %s of NRI %j to the events that it knows: %s", async (name, version, nri, which) => {
    const { client, plugin, lines } = await bareRuntime({
      runPodSandbox: () => undefined,
      updatePodSandbox: () => undefined,
      postUpdatePodSandbox: () => undefined,
      validateContainerAdjustment: () => undefined,
    });
    const request = { runtimeName: name, runtimeVersion: version, NRIVersion: nri };
    expect((await client.configure(request)).events).toBe(MASKS[which]);
    await plugin.ready;
    const unknown = { all: [], "pods only": ["validateContainerAdjustment"] }[which] ?? [
      "updatePodSandbox",
      "postUpdatePodSandbox",
      "validateContainerAdjustment",
    ];
    const text = `${name} ${version} does not know ${unknown.join(", ")} and never calls these handlers`;
    expect(lines.filter((line) => line.startsWith("warn"))).toEqual(
      unknown.length === 0 ? [] : [`warn 00-bare: ${text}`],
    );
  });

  it.each([
    ["containerd", "v2.2.9", "", true],
    ["containerd", "2.4.2", "v0.12.3", true],
    ["docker", "29.0.0", "v0.11.0", true],
    ["cri-o", "1.40.0", "v0.12.4", false],
    ["containerd", "3.0.0", "unknown", false],
    ["docker", "29.0.0", "", false],
  ])("warns that %s %s of NRI %j ignores its failure policy: %s", async (name, version, nri, ignores) => {
    const options = { failurePolicy: { failRequest: true } };
    const { client, plugin, lines } = await bareRuntime({}, undefined, undefined, options);
    const request = { runtimeName: name, runtimeVersion: version, NRIVersion: nri };
    expect((await client.configure(request)).failurePolicy).toMatchObject({ failRequest: true });
    await plugin.ready;
    const text = `warn 00-bare: ${name} ${version} does not know the failure policy and ignores it`;
    expect(lines.filter((line) => line.startsWith("warn"))).toEqual(ignores ? [text] : []);
  });

  it("gets a list that comes in hundreds of parts whole and in order", async () => {
    const seen: string[][] = [];
    const { client } = await bareRuntime({
      synchronize: ({ pods, containers }) => void seen.push([...pods, ...containers].map(({ id }) => id)),
    });
    await client.configure({});
    const parts = Array.from({ length: 300 }, (_, index) => `${index}`);
    for (let round = 0; round < 2; round++) {
      for (const id of parts) {
        const more = id !== "299";
        const reply = await client.synchronize({ pods: [{ id }], containers: [{ id: `c${id}` }], more });
        expect(reply.more).toBe(more);
      }
    }
    const all = [...parts, ...parts.map((id) => `c${id}`)];
    expect(seen).toEqual([all, all]);
  });

  it("may subscribe to some of its events, by an option or by configure", async () => {
    const handlers = {
      runPodSandbox: () => undefined,
      stopPodSandbox: () => undefined,
      stopContainer: () => undefined,
    };
    const narrowed = { ...handlers, configure: () => ["stopContainer"] as const };
    const { client } = await bareRuntime(narrowed, ["stopContainer", "runPodSandbox"]);
    expect((await client.configure({})).events).toBe(1 << (Event.STOP_CONTAINER - 1));
  });

  it("ends if configure subscribes to what has no handler, or throws", async () => {
    const { client, plugin } = await bareRuntime({
      runPodSandbox: () => undefined,
      configure: () => ["stopContainer"],
    });
    await expect(client.configure({})).rejects.toThrow(
      /stopContainer, which this plugin does not subscribe to/,
    );
    await expect(plugin.ready).rejects.toThrow(/stopContainer/);
    expect(await plugin.closed).toMatchObject({ reason: "configure" });
  });

  /** What StateChange tells of: the events without a reply of their own. */
  const STATE_CHANGES = {
    runPodSandbox: [Event.RUN_POD_SANDBOX, "pod p"],
    postUpdatePodSandbox: [Event.POST_UPDATE_POD_SANDBOX, "pod p"],
    stopPodSandbox: [Event.STOP_POD_SANDBOX, "pod p"],
    removePodSandbox: [Event.REMOVE_POD_SANDBOX, "pod p"],
    postCreateContainer: [Event.POST_CREATE_CONTAINER, "pod p, container c"],
    startContainer: [Event.START_CONTAINER, "pod p, container c"],
    postStartContainer: [Event.POST_START_CONTAINER, "pod p, container c"],
    postUpdateContainer: [Event.POST_UPDATE_CONTAINER, "pod p, container c"],
    removeContainer: [Event.REMOVE_CONTAINER, "pod p, container c"],
  } as const satisfies Partial<Record<EventName, readonly [Event, string]>>;
  const HANDLERS: Required<Omit<PluginHandlers, "configure" | "synchronize" | "shutdown">> = {
    runPodSandbox: () => undefined,
    updatePodSandbox: () => undefined,
    postUpdatePodSandbox: () => undefined,
    stopPodSandbox: () => undefined,
    removePodSandbox: () => undefined,
    createContainer: () => undefined,
    postCreateContainer: () => undefined,
    startContainer: () => undefined,
    postStartContainer: () => undefined,
    updateContainer: () => undefined,
    postUpdateContainer: () => undefined,
    stopContainer: () => undefined,
    removeContainer: () => undefined,
    validateContainerAdjustment: () => undefined,
  };

  it("gets each event of StateChange, by its own handler and no other, from runtimes that only know that", async () => {
    const calls: string[] = [];
    const noting = Object.keys(HANDLERS).map((name) => [
      name,
      ({ pod, container }: { pod: { name: string }; container?: { name: string } }) =>
        void calls.push(`${name}: pod ${pod.name}${container ? `, container ${container.name}` : ""}`),
    ]);
    const { client } = await bareRuntime(Object.fromEntries(noting) as PluginHandlers);
    await client.configure({});
    const about = { pod: { name: "p" }, container: { name: "c" } };
    const known = new Map<Event, string>(
      Object.entries(STATE_CHANGES).map(([name, [event, subject]]) => [event, `${name}: ${subject}`]),
    );
    for (const event of Object.values(Event).filter((value) => typeof value === "number")) {
      calls.length = 0;
      expect(await client.stateChange({ event, ...about })).toMatchObject({});
      expect([Event[event], calls]).toEqual([Event[event], known.has(event) ? [known.get(event)] : []]);
    }
    await client.stateChange({ event: 99 as Event, ...about });
    // A runtime may leave out what an event is about.
    await client.stateChange({ event: Event.REMOVE_CONTAINER });
    expect(calls).toEqual(["removeContainer: pod , container "]);
  });

  it.each(Object.entries(STATE_CHANGES))(
    "without a handler answers StateChange of %s",
    async (name, [event]) => {
      const { client } = await bareRuntime({ ...HANDLERS, [name]: undefined });
      await client.configure({});
      expect(await client.stateChange({ event })).toMatchObject({});
    },
  );
});
