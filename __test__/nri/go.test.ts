import { chmodSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Adjustment, createTestRuntime, runPlugin } from "containerd-shim-protos/nri";
import { expect, it, onTestFinished, vi } from "vitest";
import { describeWithGo } from "../helpers/go-peer.js";
import { ROOT, temporaryFolder } from "../helpers/program.js";
import { Started } from "../helpers/started.js";
import { nriPeer, withNriPeer } from "./peer.js";

const BUSY = { timeout: 60_000 };

describeWithGo("with NRI's own Go code", () => {
  withNriPeer();

  it(
    "a plugin is synchronized with 15 MiB of pods, updates more than fits a reply, and adjusts a container",
    BUSY,
    async () => {
      const folder = temporaryFolder();
      await using runtime = new Started(nriPeer.path, ["runtime", folder, "1"]);
      await runtime.printed("ready\n");
      const seen: number[] = [];
      const plugin = runPlugin(
        "go",
        "10",
        {
          synchronize: ({ pods, containers }) => {
            seen.push(pods.length, containers.length);
            return Array.from({ length: 3000 }, (_, index) => ({
              containerId: `${index}`.padEnd(2000, "x"),
            }));
          },
          createContainer: ({ pod, container }) => {
            seen.push(container.env[0]?.length ?? 0);
            return {
              adjust: {
                env: { SEEN_BY: `${pod.namespace}/${pod.name}`, OLD: null, LONG: "z".repeat(1 << 20) },
              },
            };
          },
        },
        {
          socket: join(folder, "nri.sock"),
          ownsProcess: false,
          reconnect: false,
          registrationTimeoutMs: 30_000,
        },
      );
      onTestFinished(() => plugin.close());
      await plugin.ready;
      await runtime.printed("updates 3000\n");
      await runtime.printed('"SEEN_BY"');
      expect(seen).toEqual([60, 60, 100_002]);
      expect(runtime.output).toContain('"value":"default/pod"');
      expect(runtime.output).not.toContain("OLD");
      runtime.signal("SIGTERM");
      expect(await plugin.closed).toMatchObject({ reason: "remote" });
      expect(await runtime.ended()).toBe(0);
    },
  );

  it("the last change of an entry counts, and a removal lets a plugin replace another's", BUSY, async () => {
    const folder = temporaryFolder();
    await using runtime = new Started(nriPeer.path, ["runtime", folder, "2"]);
    await runtime.printed("ready\n");
    const adjustments = { "10": twice(new Adjustment(), "first"), "20": twice(removals(), "last") };
    for (const [index, adjustment] of Object.entries(adjustments)) {
      const plugin = runPlugin(
        `p${index}`,
        index,
        { createContainer: () => adjustment },
        { socket: join(folder, "nri.sock"), ownsProcess: false, reconnect: false },
      );
      onTestFinished(() => plugin.close());
      await plugin.ready;
    }
    await runtime.printed('"env"');
    const made = JSON.parse(runtime.output.trim().split("\n").at(-1)!) as Record<string, any>;
    expect(made["env"]).toEqual([{ key: "A", value: "last" }]);
    expect(made["annotations"]).toMatchObject({ a: "last" });
    expect(made["mounts"]).toEqual([{ destination: "/a", source: "/last" }]);
    const { devices, sysctl, net_devices, rdt, resources } = made["linux"];
    expect(devices).toEqual([expect.objectContaining({ path: "/dev/a", type: "c" })]);
    expect(sysctl).toMatchObject({ a: "last" });
    expect(net_devices).toMatchObject({ a: { name: "last" } });
    expect(rdt).toEqual({ clos_id: { value: "last" } });
    // What cannot be removed belongs to one plugin.
    expect(made["rlimits"]).toEqual([{ type: "RLIMIT_NOFILE", hard: 2, soft: 2 }]);
    expect(made["CDI_devices"]).toEqual([{ name: "v.com/a=0" }]);
    expect(made["linux"].namespaces).toEqual([{ type: "ipc", path: "/last" }]);
    expect(resources.hugepage_limits).toEqual([{ page_size: "2MB", limit: 2 }]);
  });

  it(
    "a plugin that the runtime launches has its name, index, socket and configuration, and fails when they are lost",
    BUSY,
    async () => {
      const folder = temporaryFolder();
      for (const name of ["plugins", "conf.d"]) mkdirSync(join(folder, name));
      const printed = join(folder, "printed");
      // The name of a file may be any; that of a plugin which connects by itself may not.
      const program = join(folder, "plugins", "42-launched@1");
      writeFileSync(join(folder, "conf.d", "launched@1.conf"), "a: b");
      writeFileSync(
        join(folder, "plugin.mjs"),
        `import { writeFileSync, appendFileSync } from "node:fs";
       import { runPlugin } from ${JSON.stringify(join(ROOT, "dist/nri/index.js"))};
       const plugin = runPlugin("other", "00", {
         configure: ({ config }) => writeFileSync(${JSON.stringify(printed)}, config + "\\n"),
         createContainer: () => ({ adjust: { env: { BY: plugin.toString() } } }),
       });
       await plugin.closed;
       process.once("exit", (code) => appendFileSync(${JSON.stringify(printed)}, "exit " + code + "\\n"));
      `,
      );
      // The runtime gives no PATH.
      writeFileSync(program, `#!/bin/sh\nexec ${process.execPath} ${join(folder, "plugin.mjs")}\n`);
      chmodSync(program, 0o755);
      await using runtime = new Started(nriPeer.path, ["runtime", folder, "1"]);
      await runtime.printed('"BY"');
      expect(runtime.output).toContain('"value":"42-launched@1"');
      // The runtime would end the plugin too; here it only goes.
      runtime.signal("SIGKILL");
      await vi.waitFor(() => expect(readFileSync(printed, "utf8")).toBe("a: b\nexit 1\n"), 30_000);
    },
  );

  it("the test kit drives a plugin made with the Go module", BUSY, async () => {
    await using runtime = await createTestRuntime({ requestTimeoutMs: 10_000 });
    await using plugin = new Started(nriPeer.path, ["plugin", "recorder", "33", runtime.socket]);
    await runtime.joined("33-recorder");
    const pod = await runtime.runPod({ name: "p" });
    const { container } = await runtime.createContainer(pod, { name: "c" });
    expect(container.env).toEqual(["recorder=here"]);
    await runtime.startContainer(container);
    await runtime.stopPod(pod);
    await runtime.removePod(pod);
    const calls = plugin.output
      .trim()
      .split("\n")
      .map((line) => (JSON.parse(line) as { call: string }).call);
    expect(calls).toEqual([
      "synchronize",
      "runPodSandbox",
      "createContainer",
      "postCreateContainer",
      "startContainer",
      "postStartContainer",
      "stopContainer",
      "stopPodSandbox",
      "removeContainer",
      "removePodSandbox",
    ]);
  });
});

/** Removes what {@link twice} sets and can be removed. */
function removals(): Adjustment {
  return new Adjustment()
    .removeEnv("A")
    .removeAnnotation("a")
    .removeMount("/a")
    .removeDevice("/dev/a")
    .removeSysctl("a")
    .removeNetDevice("a")
    .removeRdt();
}

/** Sets entries twice. Those without a removal are set by the plugin whose value is `last` only. */
function twice(to: Adjustment, value: string): Adjustment {
  for (const each of ["wrong", value]) {
    to.env("A", each)
      .annotation("a", each)
      .mount({ destination: "/a", source: `/${each}` })
      .device({ path: "/dev/a", type: each === "wrong" ? "b" : "c", major: 1, minor: 1 })
      .sysctl("a", each)
      .netDevice("a", each)
      .rdt({ closId: each });
    if (value === "first") continue;
    const number = each === "wrong" ? 1 : 2;
    to.rlimit("RLIMIT_NOFILE", { soft: number, hard: number })
      .cdiDevice("v.com/a=0")
      .removeNamespace("ipc")
      .namespace("ipc", `/${each}`)
      .resources({ hugepages: { "2MB": number } });
  }
  return to;
}
