import { Code } from "containerd-shim-protos";
import { createTestRuntime, type PluginHandlers } from "containerd-shim-protos/nri";
import { describe, expect, test } from "vitest";
import { Node } from "./node.js";
import { start } from "./nri-plugin.js";
import { useNamedPods } from "./nri-pods.js";
import { useRunning } from "./suite.js";

/** The events of pods and containers but those that change resources, which need a kubelet. */
const EVENTS = [
  "runPodSandbox",
  "createContainer",
  "postCreateContainer",
  "startContainer",
  "postStartContainer",
  "stopContainer",
  "removeContainer",
  "stopPodSandbox",
  "removePodSandbox",
] as const;

const node = useRunning(() => Node.start());
const pods = useNamedPods(node);

describe("a plugin of containerd", () => {
  test("gets the calls that the test runtime makes, also when another fails a pod, a container or its start", async () => {
    const calls: Record<"containerd" | "test", string[]> = { containerd: [], test: [] };
    const noting = (by: "containerd" | "test"): PluginHandlers => {
      const note =
        (name: string) =>
        ({ container }: { container?: { name: string; state: number } }) =>
          // Of a container that is undone containerd knows little but the id.
          void calls[by].push(name === "createContainer" ? `${name} in state ${container?.state}` : name);
      return Object.fromEntries(EVENTS.map((name) => [name, note(name)]));
    };
    const failing = (): PluginHandlers => ({
      runPodSandbox({ pod }) {
        if (pod.name === "failing") throw new Error("not this pod");
      },
      createContainer({ container }) {
        if (container.name === "first") throw new Error("not the first");
      },
      startContainer({ container }) {
        if (container.name === "second") throw new Error("not the second");
      },
    });
    await start("noting", "10", noting("containerd"));
    await start("failing", "20", failing());
    await expect(pods.run("failing")).rejects.toThrow("not this pod");
    const pod = await pods.run("undone");
    await expect(pods.start(pod, "first")).rejects.toThrow("not the first");
    await expect(pods.start(pod, "second")).rejects.toThrow("not the second");
    await pods.start(pod, "third");
    await node().crictl(["rmp", "--force", pod]);

    await using runtime = await createTestRuntime();
    await runtime.start("noting", "10", noting("test"));
    await runtime.start("failing", "20", failing());
    await expect(runtime.runPod({ name: "failing" })).rejects.toThrow("not this pod");
    const other = await runtime.runPod();
    await expect(runtime.createContainer(other, { name: "first" })).rejects.toThrow("not the first");
    const { container: second } = await runtime.createContainer(other, { name: "second" });
    await expect(runtime.startContainer(second)).rejects.toThrow("not the second");
    await runtime.startContainer((await runtime.createContainer(other, { name: "third" })).container);
    await runtime.removePod(other);
    expect(calls.test).toEqual(calls.containerd);
  });

  test("that updates what cannot be is told so, after containerd has made the other updates", async () => {
    const plugin = await start("updater", "10", {});
    const pod = await pods.run("refused");
    const containerId = await pods.start(pod, "c");
    const updates = ["999999", "0"].map((cpus) => ({ containerId, resources: { cpu: { cpus } } }));
    await expect(plugin.updateContainers(updates)).rejects.toMatchObject({
      code: Code.Unknown,
      rawMessage: expect.stringContaining("NRI update of some containers failed"),
    });
    expect(await plugin.updateContainers([{ containerId: "none" }])).toEqual([]);
    expect(await pods.exec(containerId, "grep Cpus_allowed_list /proc/1/status")).toMatch(/\t0\s*$/);
  });
});
