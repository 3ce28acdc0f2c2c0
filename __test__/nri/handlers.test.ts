import { setTimeout as sleep } from "node:timers/promises";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { Code, TtrpcError } from "containerd-shim-protos";
import {
  Adjustment,
  ContainerAdjustmentSchema,
  ContainerUpdateSchema,
  createTestRuntime,
  type PluginHandlers,
  type ResourcesSpec,
  type UpdateSpec,
} from "containerd-shim-protos/nri";
import { describe, expect, it, vi } from "vitest";
import { bareRuntime, logged } from "./bare-runtime.js";

const hang = () => new Promise<undefined>(() => undefined);
type ContainerAdjustmentInit = MessageInitShape<typeof ContainerAdjustmentSchema>;

describe("a plugin", () => {
  it("fails what the runtime does when a handler throws, and goes on", async () => {
    await using runtime = await createTestRuntime();
    const { lines, log } = logged();
    let fails = true;
    const createContainer = () => {
      if (fails) throw new TtrpcError("no room", Code.ResourceExhausted);
    };
    await runtime.start("thrower", "10", { createContainer }, { log });
    const pod = await runtime.runPod({ name: "web" });
    await expect(runtime.createContainer(pod, { id: "f00", name: "nginx" })).rejects.toMatchObject({
      code: Code.ResourceExhausted,
      rawMessage: "no room",
    });
    expect(lines).toContain("error 10-thrower: createContainer of default/web/nginx (f00) failed: no room");
    fails = false;
    await runtime.createContainer(pod);
    expect(runtime.plugins).toEqual(["10-thrower"]);
  });

  it("logs where a mistake in a handler is, which the text of its error does not say", async () => {
    await using runtime = await createTestRuntime();
    const { lines, log } = logged();
    const runPodSandbox = () => {
      (undefined as unknown as { method(): void }).method();
    };
    await runtime.start("mistaken", "10", { runPodSandbox }, { log });
    await expect(runtime.runPod({ name: "web" })).rejects.toThrow(/method/);
    const line = lines.find((each) => each.startsWith("error")) ?? "";
    expect(line).toMatch(
      /^error 10-mistaken: runPodSandbox of default\/web \(.*\) failed: Cannot read .*'method'\)/,
    );
    expect(line).toMatch(/, at \S*runPodSandbox \(\S*handlers\.test\.ts:\d+:\d+\)/);
  });

  it("that fails to synchronize tells the runtime why, and ends the connection", async () => {
    const synchronize = () => Promise.reject(new Error("not yet"));
    const { client, plugin } = await bareRuntime({ synchronize });
    await client.configure({});
    await expect(client.synchronize({})).rejects.toMatchObject({ rawMessage: "not yet" });
    expect(await plugin.closed).toMatchObject({
      reason: "error",
      error: { message: "synchronize failed: not yet" },
    });
  });

  const broken = create(ContainerUpdateSchema, { containerId: "a" });
  broken.containerId = 1 as never;
  const changed = new Adjustment();
  changed.message.env.push("A=b" as never);
  const WRONG_UPDATES = [
    ["no list", "x", "update must be an array, not string"],
    ["a list of texts", ["x"], "update[0] must be an object, not string"],
    ["a changed message", [broken], "update[0].containerId must be a string"],
  ] as const;

  const LONG = "x".repeat(4 << 20);
  const HALVES = ["a", "b"].map((id) => ({ containerId: id.padEnd(2 << 20), resources: {} }));
  it.each<[keyof PluginHandlers, string, unknown, string]>([
    ...WRONG_UPDATES.flatMap(([what, value, text]): [keyof PluginHandlers, string, unknown, string][] => [
      ["synchronize", what, value, text],
      ["stopContainer", what, value, text],
      ["createContainer", what, { update: value }, text],
      ["updateContainer", what, { update: value }, text],
    ]),
    ["createContainer", "a text", "nothing", "it must be an object, not string"],
    ["createContainer", "null", null, "it must be an object, not null"],
    ["createContainer", "a part that is unknown", { env: {} }, "it has no env; it has adjust, update, evict"],
    ["createContainer", "no adjustment", { adjust: null }, "the adjustment must be an object, not null"],
    ["createContainer", "a wrong field", { adjust: { env: { A: 1 } } }, "env.A must be a string, not number"],
    ["createContainer", "a changed adjustment", changed, "adjust.env[0]"],
    ["createContainer", "a changed adjustment in it", { adjust: changed }, "adjust.env[0]"],
    ["createContainer", "an eviction of nothing", { evict: [{}] }, "evict[0].containerId must be a string"],
    ["updateContainer", "a text", "nothing", "it must be an object, not string"],
    ["updateContainer", "an eviction of nothing", { evict: [{}] }, "evict[0].containerId must be a string"],
    ["createContainer", "too much", { adjust: { env: { A: LONG } } }, "exceed maximum message size"],
    ["updateContainer", "too much", { update: HALVES }, "exceed maximum message size"],
    ["stopContainer", "too much", HALVES, "exceed maximum message size"],
    ["synchronize", "an update that is too large", [{ containerId: LONG }], "exceed maximum message size"],
    ["validateContainerAdjustment", "a number", 1, "the reason must be a string, not number"],
    ["configure", "an event it does not handle", ["stopPodSandbox"], "stopPodSandbox, which this plugin"],
  ])("%s that returns %s fails and is logged as if it had thrown", async (name, _, value, text) => {
    const { client, lines } = await bareRuntime({ [name]: () => value });
    const isOfAll = name === "synchronize" || name === "configure";
    const about = { pod: { name: "web", namespace: "shop" }, container: { name: "nginx", id: "f00" } };
    const subject = isOfAll ? "" : " of shop/web/nginx (f00)";
    const expected = `00-bare: ${name}${subject} returned a wrong value: `;
    const outcome = await (
      client[name as "createContainer"](isOfAll ? {} : about) as Promise<{ reason?: string }>
    ).catch((error: TtrpcError) => ({ reason: error.rawMessage }));
    expect(outcome.reason).toContain(expected);
    expect(outcome.reason).toContain(text);
    expect(lines.find((line) => line.startsWith("error"))).toBe(`error ${outcome.reason}`);
  });

  it.each<[string, string, ContainerAdjustmentInit]>([
    ["a variable", "Env A", { env: [{ key: "A" }, { key: "A" }] }],
    ["a mount", "Mounts /a", { mounts: [{ destination: "/a" }, { destination: "/a" }] }],
    ["a device", "Devices /a", { linux: { devices: [{ path: "/a" }, { path: "/a" }] } }],
    ["a limit", "Rlimits RLIMIT_A", { rlimits: [{ type: "RLIMIT_A" }, { type: "RLIMIT_A" }] }],
    ["a CDI name", "CdiDevices a", { CDIDevices: [{ name: "a" }, { name: "a" }] }],
    ["a namespace", "Namespace ipc", { linux: { namespaces: [{ type: "-ipc" }, { type: "ipc" }] } }],
    [
      "a size of huge pages",
      "HugepageLimits 2MB",
      { linux: { resources: { hugepageLimits: [{ pageSize: "2MB" }, { pageSize: "2MB" }] } } },
    ],
  ])("that sets %s twice fails the container, as with NRI", async (_, what, init) => {
    await using runtime = await createTestRuntime();
    const adjust = create(ContainerAdjustmentSchema, init);
    await runtime.start("twice", "10", { createContainer: () => ({ adjust }) });
    const text = `plugins "10-twice" and "10-twice" both tried to set ${what}`;
    await expect(runtime.createContainer(await runtime.runPod())).rejects.toThrow(text);
    expect(runtime.containers).toEqual([]);
  });

  it.each<[string, ResourcesSpec]>([
    ["MemLimit", { memory: { limit: 1 } }],
    ["MemUseHierarchy", { memory: { useHierarchy: false } }],
    ["CPUShares", { cpu: { shares: 2 } }],
    ["CPUSetCPUs", { cpu: { cpus: "0" } }],
    ["HugepageLimits 2MB", { hugepages: { "2MB": 1 } }],
    ["CgroupsUnified memory.high", { unified: { "memory.high": "1" } }],
    ["BlockioClass", { blockioClass: "a" }],
  ])("that sets %s of a container in two updates fails what the runtime does", async (what, resources) => {
    await using runtime = await createTestRuntime();
    let update: UpdateSpec[] = [];
    const both = () => ({ update });
    const handlers = { createContainer: both, updateContainer: both, stopContainer: () => update };
    await runtime.start("twice", "10", handlers);
    const pod = await runtime.runPod();
    const { container } = await runtime.createContainer(pod);
    const one = { containerId: container.id, resources };
    update = [one, { ...one, containerId: "other" }, one];
    const text = `plugins "10-twice" and "10-twice" both tried to set ${what}`;
    await expect(runtime.createContainer(pod)).rejects.toThrow(text);
    await expect(runtime.updateContainer(container, {})).rejects.toThrow(text);
    await expect(runtime.stopContainer(container)).rejects.toThrow(text);
    update = [one, { ...one, ignoreFailure: true }];
    await runtime.stopContainer(container);
    expect(runtime.updates).toHaveLength(1);
  });

  it("warns once of what its runtime ignores, because it is too old, in what the plugin changes", async () => {
    const handlers: PluginHandlers = {
      createContainer: () =>
        new Adjustment({
          env: { A: "b" },
          args: ["sh"],
          sysctl: { a: "1" },
          namespaces: { ipc: "" },
          oomScoreAdj: 1,
          rlimits: { RLIMIT_NOFILE: { soft: 1, hard: 1 } },
          cdiDevices: ["example.com/a=b"],
          resources: { pids: 5, cpu: { shares: 5 } },
          seccomp: { defaultAction: "SCMP_ACT_ALLOW" },
          memoryPolicy: { mode: 0 },
        }),
    };
    const warnings = async (runtimeName: string, runtimeVersion: string, NRIVersion = "") => {
      const { client, lines } = await bareRuntime(handlers);
      await client.configure({ runtimeName, runtimeVersion, NRIVersion });
      for (const id of ["a", "b"]) await client.createContainer({ container: { id } });
      return lines.flatMap(
        (line) => /support (\S+) of adjustments, so it has no effect$/.exec(line)?.[1] ?? [],
      );
    };
    const upTo: Record<string, string[]> = {
      "0.11": ["sysctl", "memoryPolicy"],
      "0.10": ["sysctl", "memoryPolicy"],
      "0.9": ["args", "seccomp", "namespaces", "sysctl", "memoryPolicy"],
    };
    const young = ["cdiDevices", "oomScoreAdj", "resources.pids"];
    const old = (more: string[]) => [...more, ...(upTo["0.9"] as string[])];
    expect(await warnings("containerd", "1.7.2")).toEqual(old(["rlimits", ...young]));
    expect(await warnings("cri-o", "1.28.4")).toEqual(old(["rlimits", ...young]));
    expect(await warnings("containerd", "1.7.24~ds1")).toEqual(old(young));
    expect(await warnings("cri-o", "1.31.13")).toEqual(old(young));
    expect(await warnings("containerd", "v1.7.26")).toEqual(upTo["0.9"]);
    expect(await warnings("containerd", "v2.1.5")).toEqual(upTo["0.9"]);
    expect(await warnings("cri-o", "1.34.1")).toEqual(upTo["0.10"]);
    expect(await warnings("containerd", "v2.2.0-rc.0")).toEqual(upTo["0.10"]);
    expect(await warnings("containerd", "v2.2.3")).toEqual(upTo["0.11"]);
    expect(await warnings("containerd", "v2.1.5", "v0.12.0")).toEqual([]);
    expect(await warnings("other", "1.0.0")).toEqual([]);
  });

  it("does not send a runtime what would crash it, a sysctl or the errno of a seccomp rule", async () => {
    const rule = { names: ["mkdir"], action: "SCMP_ACT_ERRNO", errnoRet: 38 };
    const adjustment = new Adjustment({
      env: { A: "b" },
      netDevices: { eth1: "eth0" },
      sysctl: { a: "1" },
      seccomp: { defaultAction: "SCMP_ACT_ALLOW", syscalls: [rule] },
    });
    const sent = async (runtimeName: string, runtimeVersion: string, NRIVersion = "") => {
      const { client } = await bareRuntime({ createContainer: () => adjustment });
      await client.configure({ runtimeName, runtimeVersion, NRIVersion });
      const { adjust } = await client.createContainer({ container: { id: "a" } });
      expect(adjust).toMatchObject({ env: [{ key: "A", value: "b" }] });
      expect(adjust?.linux?.netDevices).toMatchObject({ eth1: { name: "eth0" } });
      const [sentRule] = adjust?.linux?.seccompPolicy?.syscalls ?? [];
      expect(sentRule).toMatchObject({ names: ["mkdir"], action: "SCMP_ACT_ERRNO" });
      return [adjust?.linux?.sysctl["a"], sentRule?.errnoRet?.value];
    };
    for (const version of ["v2.2.0", "v2.2.9"])
      expect(await sent("containerd", version)).toEqual([undefined, undefined]);
    for (const version of ["1.34.0", "1.35.0"])
      expect(await sent("cri-o", version)).toEqual([undefined, undefined]);
    // Each has it from the same adjustment.
    expect(await sent("containerd", "2.4.2", "v0.12.3")).toEqual(["1", 38]);
    expect(await sent("containerd", "v2.1.5")).toEqual(["1", 38]);
    expect(await sent("other", "1.0")).toEqual(["1", 38]);
  });

  it("rejects the adjustments of others by a reason or an error", async () => {
    await using runtime = await createTestRuntime();
    let answer: () => string | undefined = () => undefined;
    const seen: unknown[] = [];
    await runtime.start("adjuster", "10", { createContainer: () => new Adjustment().env("A", "1") });
    await runtime.start("setter", "20", { createContainer: () => new Adjustment().sysctl("a", "b") });
    await runtime.start("validator", "30", {
      validateContainerAdjustment: ({ adjust, plugins }) => {
        seen.push(
          adjust?.env.map(({ key }) => key),
          adjust?.linux?.sysctl,
          plugins.map(({ name }) => name),
        );
        return answer();
      },
    });
    const pod = await runtime.runPod();
    await runtime.createContainer(pod);
    expect(seen).toEqual([["A"], { a: "b" }, ["adjuster", "setter", "validator"]]);
    answer = () => "not A";
    await expect(runtime.createContainer(pod)).rejects.toThrow("reason: not A");
    answer = () => {
      throw new Error("broken");
    };
    await expect(runtime.createContainer(pod)).rejects.toThrow("reason: broken");
  });

  it("that is slow is warned of first, and is disconnected at the runtime's timeout; its signal aborts", async () => {
    await using runtime = await createTestRuntime({ requestTimeoutMs: 400 });
    const { lines, log } = logged();
    let aborted: unknown;
    const plugin = await runtime.start(
      "slow",
      "10",
      {
        runPodSandbox: async (_, { signal, requestTimeoutMs }) => {
          expect(requestTimeoutMs).toBe(400);
          await new Promise((resolve) => signal.addEventListener("abort", resolve));
          aborted = signal.reason;
        },
        createContainer: () => sleep(350),
      },
      { log },
    );
    const pod = await runtime.runPod();
    expect(await plugin.closed).toMatchObject({ reason: "remote" });
    await vi.waitFor(() => expect(aborted).toBeInstanceOf(TtrpcError));
    expect(lines.filter((line) => line.startsWith("warn"))).toEqual([
      "warn 10-slow: runPodSandbox of default/pod-1 (pod-1) still runs, 320 ms of the 400 ms after which the runtime disconnects",
      expect.stringMatching(
        /^warn 10-slow: runPodSandbox of default\/pod-1 \(pod-1\) took \d+ ms of the 400 ms/,
      ),
    ]);
    // The runtime continues without it.
    await runtime.createContainer(pod);
    expect(runtime.plugins).toEqual([]);
  });

  it("logs whole milliseconds, though a runtime in Go asks for fractions of them", async () => {
    const { client, lines } = await bareRuntime({ runPodSandbox: hang });
    await client.configure({});
    const call = client.runPodSandbox({ pod: { id: "p" } }, { timeoutMs: 199.9567 });
    await expect(call).rejects.toMatchObject({ code: Code.DeadlineExceeded });
    expect(lines.find((line) => line.startsWith("warn"))).toContain("160 ms of the 200 ms after which");
  });

  it("logs nothing of a handler that is far from a very long timeout", async () => {
    await using runtime = await createTestRuntime({ requestTimeoutMs: 2 ** 32 - 1 });
    const { lines, log } = logged();
    await runtime.start("patient", "10", { runPodSandbox: () => sleep(20) }, { log });
    await runtime.runPod();
    expect(lines.filter((line) => !line.startsWith("info"))).toEqual([]);
  });

  it.each([Code.Unavailable, Code.DeadlineExceeded])(
    "that fails with code %i fails the container, and its plugin stays connected",
    async (code) => {
      await using runtime = await createTestRuntime();
      const createContainer = () => {
        throw new TtrpcError("the backend is away", code);
      };
      await runtime.start("behind", "10", { createContainer });
      const creation = runtime.createContainer(await runtime.runPod());
      await expect(creation).rejects.toMatchObject({ code, rawMessage: "the backend is away" });
      expect(runtime.plugins).toEqual(["10-behind"]);
    },
  );
});
