import { toJson } from "@bufbuild/protobuf";
import { Code } from "containerd-shim-protos";
import {
  Adjustment,
  createTestRuntime,
  type LinuxRdt,
  LinuxRdtSchema,
  type PluginHandlers,
} from "containerd-shim-protos/nri";
import { describe, expect, it, vi } from "vitest";
import { bareRuntime } from "./bare-runtime.js";

describe("a plugin", () => {
  it("gets the events of pods and containers in order, and changes what is created", async () => {
    await using runtime = await createTestRuntime();
    const calls: string[] = [];
    const note =
      (name: string) =>
      ({ pod, container }: { pod: { name: string }; container?: { name: string } }) =>
        void calls.push(`${name} ${container?.name ?? pod.name}`);
    await runtime.start("all", "10", {
      configure: () => void calls.push("configure"),
      synchronize: () => void calls.push("synchronize"),
      runPodSandbox: note("runPodSandbox"),
      updatePodSandbox: note("updatePodSandbox"),
      postUpdatePodSandbox: note("postUpdatePodSandbox"),
      stopPodSandbox: note("stopPodSandbox"),
      removePodSandbox: note("removePodSandbox"),
      createContainer: (event) => {
        note("createContainer")(event);
        return { adjust: { env: { ADDED: "1", A: null }, resources: { cpu: { cpus: "0" } } } };
      },
      postCreateContainer: note("postCreateContainer"),
      startContainer: note("startContainer"),
      postStartContainer: note("postStartContainer"),
      updateContainer: (event) => {
        note("updateContainer")(event);
        return { update: [{ containerId: event.container.id, resources: { cpu: { shares: 7 } } }] };
      },
      postUpdateContainer: note("postUpdateContainer"),
      stopContainer: note("stopContainer") as () => undefined,
      removeContainer: note("removeContainer"),
    });
    const pod = await runtime.runPod({ name: "p" });
    await runtime.updatePod(pod, { cpu: { cpus: "0" } });
    const { container, adjustments } = await runtime.createContainer(pod, { name: "c", env: ["A=b", "C=d"] });
    // What the container itself has stays.
    expect(container.env).toEqual(["A=b", "C=d", "ADDED=1"]);
    expect([...adjustments.keys()]).toEqual(["10-all"]);
    await runtime.startContainer(container);
    await runtime.updateContainer(container, { memory: { limit: 1 << 20 } });
    expect(container.linux?.resources).toMatchObject({
      cpu: { cpus: "0", shares: { value: 7n } },
      memory: { limit: { value: BigInt(1 << 20) } },
    });
    await runtime.stopPod(pod);
    await runtime.removePod(pod);
    expect(calls).toEqual([
      "configure",
      "synchronize",
      "runPodSandbox p",
      "updatePodSandbox p",
      "postUpdatePodSandbox p",
      "createContainer c",
      "postCreateContainer c",
      "startContainer c",
      "postStartContainer c",
      "updateContainer c",
      "postUpdateContainer c",
      "stopContainer c",
      "stopPodSandbox p",
      "removeContainer c",
      "removePodSandbox p",
    ]);
  });

  it("may be an instance of a class, and is called in the order of indexes beside others", async () => {
    class Counter implements PluginHandlers {
      pods = 0;
      runPodSandbox() {
        this.pods++;
      }
    }
    await using runtime = await createTestRuntime();
    const counter = new Counter();
    const order: string[] = [];
    await runtime.start("last", "90", {
      createContainer: ({ container }) => void order.push(`last ${container.env}`),
    });
    await runtime.start("first", "05", { createContainer: () => new Adjustment().env("A", "1") });
    await runtime.start("counter", "50", counter);
    expect(runtime.plugins).toEqual(["05-first", "50-counter", "90-last"]);
    const pod = await runtime.runPod();
    await runtime.createContainer(pod);
    expect([counter.pods, order]).toEqual([1, ["last A=1"]]);
  });

  it("sees everything at once that came in parts, and the updates that fit no reply follow it", async () => {
    await using runtime = await createTestRuntime({ partSize: 7, requestTimeoutMs: 15_000 });
    const pods = await Promise.all(Array.from({ length: 20 }, () => runtime.runPod()));
    for (const pod of pods) await runtime.createContainer(pod);
    const seen: number[][] = [];
    const padding = "x".repeat(3000);
    await runtime.start("sync", "10", {
      synchronize: ({ pods: all, containers }) => {
        seen.push([all.length, containers.length]);
        // 9 MB, of which a reply holds 4 MiB.
        return Array.from({ length: 3000 }, (_, index) => ({
          containerId: index === 2999 ? (containers[3]?.id ?? "") : `${index}${padding}`,
          resources: { cpu: { cpus: "3" } },
        }));
      },
    });
    expect(seen).toEqual([[20, 20]]);
    await vi.waitFor(() => expect(runtime.updates).toHaveLength(3000), 15_000);
    expect(runtime.containers[3]?.linux?.resources?.cpu?.cpus).toBe("3");
  });

  it("updates and evicts containers at any time, but not inside a handler, where the runtime would wait for it", async () => {
    await using runtime = await createTestRuntime();
    let inside: unknown;
    const plugin = await runtime.start("updater", "10", {
      runPodSandbox: async (_, context) => {
        inside = await context.plugin.updateContainers([]).catch((error: unknown) => error);
      },
    });
    const pod = await runtime.runPod();
    expect(inside).toMatchObject({
      code: Code.FailedPrecondition,
      message: expect.stringContaining("return the updates"),
    });
    const { container } = await runtime.createContainer(pod);
    const failed = await plugin.updateContainers([
      { containerId: container.id, resources: { memory: { limit: 5 } } },
      { containerId: "none" },
    ]);
    expect(failed.map(({ containerId }) => containerId)).toEqual(["none"]);
    expect(container.linux?.resources?.memory?.limit?.value).toBe(5n);
    await plugin.evict([{ containerId: container.id, reason: "too much" }]);
    expect(runtime.evictions).toMatchObject([{ containerId: container.id, reason: "too much" }]);
    await expect(plugin.updateContainers([{ containerId: 1 } as never])).rejects.toThrow(
      "updates[0].containerId",
    );
    await plugin.close();
    await expect(plugin.updateContainers([])).rejects.toMatchObject({ code: Code.Unavailable });
  });

  it("warns once that updates can block a runtime with an old NRI", async () => {
    const warnings = async (runtimeName: string, runtimeVersion: string, NRIVersion: string) => {
      const { plugin, client, lines } = await bareRuntime({});
      await client.configure({ runtimeName, runtimeVersion, NRIVersion });
      await plugin.ready;
      await plugin.updateContainers([]);
      await plugin.evict([]);
      return lines.filter((line) => line.startsWith("warn"));
    };
    const text =
      "can hang when a plugin updates containers while it does anything else: return updates from handlers";
    expect(await warnings("containerd", "v2.2.9", "")).toEqual([`warn 00-bare: containerd v2.2.9 ${text}`]);
    expect(await warnings("containerd", "2.3.7", "v0.12.0")).toEqual([
      `warn 00-bare: containerd 2.3.7 ${text}`,
    ]);
    expect(await warnings("cri-o", "1.35.0", "")).toEqual([`warn 00-bare: cri-o 1.35.0 ${text}`]);
    expect(await warnings("containerd", "2.4.2", "v0.12.3")).toEqual([]);
    expect(await warnings("docker", "29.0.0", "")).toEqual([]);
  });

  it("sends all parts of many updates though the runtime fails one, and then rejects as it does", async () => {
    const sent: number[] = [];
    const { plugin, client } = await bareRuntime({}, undefined, ({ update }) => {
      sent.push(update.length);
      if (sent.length === 1) throw new Error("NRI update of some containers failed");
      return {};
    });
    await client.configure({});
    await plugin.ready;
    const updates = Array.from({ length: 4 }, (_, index) => ({
      containerId: `${index}`.padEnd(2_000_000, "x"),
    }));
    await expect(plugin.updateContainers(updates)).rejects.toMatchObject({
      code: Code.Unknown,
      rawMessage: expect.stringContaining("NRI update of some containers failed"),
    });
    expect(sent).toEqual([1, 1, 1, 1]);
  });

  it("waits for earlier updates within its own deadline, and is then not made", async () => {
    const asked: string[] = [];
    let answer!: () => void;
    const answered = new Promise<void>((resolve) => (answer = resolve));
    const { plugin, client } = await bareRuntime({}, undefined, async ({ update }) => {
      asked.push(update[0]?.containerId ?? "");
      await answered;
      return {};
    });
    await client.configure({});
    await plugin.ready;
    const first = plugin.updateContainers([{ containerId: "first" }], { timeoutMs: 0 });
    const late = plugin.updateContainers([{ containerId: "late" }], { timeoutMs: 20 });
    await expect(late).rejects.toMatchObject({ code: Code.DeadlineExceeded });
    const last = plugin.updateContainers([{ containerId: "last" }]);
    answer();
    expect(await Promise.all([first, last])).toEqual([[], []]);
    expect(asked).toEqual(["first", "last"]);
  });

  const OWN = { closId: { value: "own" }, schemata: { value: ["L3:0=1"] } };
  it.each<[string, (() => Adjustment)[], object | undefined, object | undefined]>([
    [
      "fields of two plugins are joined",
      [() => new Adjustment().rdt({ closId: "a" }), () => new Adjustment().rdt({ enableMonitoring: true })],
      { closId: { value: "a" }, enableMonitoring: { value: true } },
      { ...OWN, closId: { value: "a" }, enableMonitoring: { value: true } },
    ],
    [
      "a removal takes back what was set before",
      [
        () => new Adjustment().rdt({ closId: "a", enableMonitoring: true }),
        () => new Adjustment().removeRdt(),
      ],
      { remove: true },
      undefined,
    ],
    [
      "a removal and a value replace what another plugin has set, and keep the container's own",
      [
        () => new Adjustment().rdt({ closId: "a", enableMonitoring: true }),
        () => new Adjustment().removeRdt().rdt({ closId: "b" }),
      ],
      { closId: { value: "b" } },
      { ...OWN, closId: { value: "b" } },
    ],
    ["nothing changes nothing", [() => new Adjustment().rdt({})], {}, OWN],
  ])("changes RDT as NRI does: %s", async (_, plugins, asked, made) => {
    await using runtime = await createTestRuntime();
    const seen: unknown[] = [];
    for (const [index, adjustment] of plugins.entries()) {
      await runtime.start("rdt", `${index}0`, {
        createContainer({ container }) {
          seen.push(container.linux?.rdt);
          return adjustment();
        },
      });
    }
    const fields = (rdt: LinuxRdt | undefined) => rdt && toJson(LinuxRdtSchema, rdt);
    let adjusted: unknown;
    const validateContainerAdjustment: PluginHandlers["validateContainerAdjustment"] = ({ adjust }) =>
      void (adjusted = fields(adjust?.linux?.rdt));
    await runtime.start("validator", "90", { validateContainerAdjustment });
    const { container } = await runtime.createContainer(await runtime.runPod(), { linux: { rdt: OWN } });
    expect(adjusted).toEqual(asked);
    expect(fields(container.linux?.rdt)).toEqual(made);
    expect(seen).toMatchObject(plugins.map(() => OWN));
  });

  it("gets no container of a pod that has been removed", async () => {
    await using runtime = await createTestRuntime();
    const asked: string[] = [];
    await runtime.start("p", "10", { createContainer: ({ container }) => void asked.push(container.id) });
    const pod = await runtime.runPod();
    await runtime.removePod(pod);
    await expect(runtime.createContainer(pod)).rejects.toThrow(new TypeError(`there is no pod ${pod.id}`));
    expect(asked).toEqual([]);
  });
});
