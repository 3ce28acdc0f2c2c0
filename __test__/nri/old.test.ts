import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Adjustment, createTestRuntime, type PluginHandlers, runPlugin } from "containerd-shim-protos/nri";
import { expect, it, onTestFinished } from "vitest";
import { describeWithGo } from "../helpers/go-peer.js";
import { ROOT, temporaryFolder } from "../helpers/program.js";
import { Started } from "../helpers/started.js";
import { logged } from "./bare-runtime.js";
import { nriPeer, withNriPeer } from "./peer.js";

const BUSY = { timeout: 60_000 };
/** In the order in which the runtime tells of them. */
const EVENTS = [
  "runPodSandbox",
  "createContainer",
  "postCreateContainer",
  "startContainer",
  "postStartContainer",
  "updateContainer",
  "postUpdateContainer",
  "stopContainer",
  "removeContainer",
  "stopPodSandbox",
  "removePodSandbox",
] as const;

/** Runs a plugin that notes its calls, with the old runtime. */
function start(folder: string, handlers: PluginHandlers) {
  const calls: string[] = [];
  const noting = EVENTS.map((name) => [
    name,
    ({ pod, container }: { pod: { name: string }; container?: { name: string } }) =>
      void calls.push(`${name} ${container?.name ?? pod.name}`),
  ]);
  const { lines, log } = logged();
  const plugin = runPlugin(
    "node",
    "10",
    { ...(Object.fromEntries(noting) as PluginHandlers), ...handlers },
    { socket: join(folder, "nri.sock"), ownsProcess: false, log },
  );
  onTestFinished(() => plugin.close());
  return { plugin, calls, lines };
}

async function startRuntime(folder: string, timeout = "30s"): Promise<Started> {
  const runtime = new Started(nriPeer.path, ["runtime", folder, timeout]);
  await runtime.printed("ready\n");
  return runtime;
}

describeWithGo("with the Go code of NRI 0.6, which containerd 1.7.24 and CRI-O 1.31 have,", () => {
  withNriPeer("nri-old");

  it("a plugin gets what there is, and is told what there is not", BUSY, async () => {
    const folder = temporaryFolder();
    await using runtime = await startRuntime(folder);
    const { plugin, calls, lines } = start(folder, {
      synchronize: ({ pods }) => {
        calls.push(`synchronize ${pods[0]?.name}`);
        return [{ containerId: "c0", resources: { cpu: { cpus: "1" } } }];
      },
      updatePodSandbox: () => undefined,
      validateContainerAdjustment: () => undefined,
      createContainer: ({ container }) => {
        calls.push(`createContainer ${container.name}`);
        return new Adjustment().env("B", "2").oomScoreAdj(10).args(["x"]);
      },
      updateContainer: ({ container, resources }) => {
        calls.push(`updateContainer ${container.name}`);
        return {
          update: [{ containerId: container.id, resources: { cpu: { mems: resources?.cpu?.cpus } } }],
        };
      },
    });
    await plugin.ready;
    expect(plugin.runtime).toMatchObject({ version: "1.7.24", nriVersion: "", requestTimeoutMs: 30_000 });
    await runtime.printed("done\n");
    expect(calls).toEqual([
      "synchronize pod",
      ...EVENTS.map((name) => `${name} ${name.endsWith("PodSandbox") ? "pod" : "web"}`),
    ]);
    expect(runtime.output).toContain('synchronized [{"container_id":"c0"');
    expect(runtime.output).toMatch(/^adjustment \{"env":\[\{"key":"B","value":"2"\}\]/m);
    expect(runtime.output).toMatch(/^update \[\{"container_id":"c1".*"cpus":"0","mems":"0"/m);
    expect(lines.filter((line) => line.startsWith("warn"))).toEqual([
      "warn 10-node: containerd 1.7.24 does not know updatePodSandbox, validateContainerAdjustment and never calls these handlers",
      ...["oomScoreAdj", "args"].map(
        (name) =>
          `warn 10-node: containerd 1.7.24 does not support ${name} of adjustments, so it has no effect`,
      ),
    ]);
    expect(await plugin.updateContainers([{ containerId: "c2" }])).toEqual([]);
    await runtime.printed('updates [{"container_id":"c2"');
    runtime.signal("SIGTERM");
    expect(await runtime.ended()).toBe(0);
  });

  it.each<[string, string, () => Promise<void>, string]>([
    ["fails to synchronize", "30s", () => Promise.reject(new Error("not yet")), "failed: not yet"],
    ["synchronizes too late", "1s", () => sleep(1500), "did not end within"],
  ])(
    "a plugin that %s connects again, instead of never being called",
    BUSY,
    async (_, timeout, first, text) => {
      const folder = temporaryFolder();
      await using runtime = await startRuntime(folder, timeout);
      let times = 0;
      const { calls, lines } = start(folder, {
        synchronize: async () => {
          if (++times === 1) await first();
        },
      });
      await runtime.printed("not synchronized: ");
      await runtime.printed("done\n");
      expect(times).toBe(2);
      expect(calls).toHaveLength(EVENTS.length);
      expect(lines.find((line) => line.startsWith("warn 10-node is not connected"))).toContain(
        `is not connected: synchronize ${text}`,
      );
    },
  );

  it("a plugin that the runtime launches is called without being synchronized", BUSY, async () => {
    const folder = temporaryFolder();
    mkdirSync(join(folder, "plugins"));
    const program = join(folder, "plugins", "42-launched");
    writeFileSync(
      join(folder, "plugin.mjs"),
      `import { runPlugin } from ${JSON.stringify(join(ROOT, "dist/nri/index.js"))};
       let synchronized = "no";
       const plugin = runPlugin("other", "00", {
         synchronize: () => { synchronized = "yes"; },
         createContainer: () => ({ adjust: { env: { BY: plugin + " " + synchronized } } }),
       });`,
    );
    writeFileSync(program, `#!/bin/sh\nexec ${process.execPath} ${join(folder, "plugin.mjs")}\n`);
    chmodSync(program, 0o755);
    await using runtime = await startRuntime(folder);
    await runtime.printed("done\n");
    expect(runtime.output).toContain('"value":"42-launched no"');
  });

  it("the test kit drives a plugin", BUSY, async () => {
    await using runtime = await createTestRuntime({ requestTimeoutMs: 10_000 });
    await using plugin = new Started(nriPeer.path, ["plugin", "go", "33", runtime.socket]);
    await runtime.joined("33-go");
    const pod = await runtime.runPod({ name: "p" });
    const { container } = await runtime.createContainer(pod, { name: "c" });
    expect(container.env).toEqual(["go=here"]);
    await runtime.startContainer(container);
    await runtime.updateContainer(container, { cpu: { shares: 2 } });
    await runtime.updatePod(pod, { cpu: { shares: 2 } });
    await runtime.removePod(pod);
    expect(plugin.output.trim().split("\n")).toEqual([
      "synchronize 0 0",
      ...EVENTS.slice(0, 8).map((name) => `${name} ${name === "runPodSandbox" ? "p" : "c"}`),
      "stopPodSandbox p",
      "removeContainer c",
      "removePodSandbox p",
    ]);
  });
});
