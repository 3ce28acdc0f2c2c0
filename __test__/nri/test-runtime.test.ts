import {
  Adjustment,
  createTestRuntime,
  FieldOwnersSchema,
  Field,
  type PluginHandlers,
} from "containerd-shim-protos/nri";
import { create, toJson } from "@bufbuild/protobuf";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, it, vi } from "vitest";

const hang = () => new Promise<never>(() => undefined);

describe("the test runtime", () => {
  it("fails a container when two plugins set the same entry, and names both", async () => {
    await using runtime = await createTestRuntime();
    await runtime.start("one", "10", { createContainer: () => new Adjustment().env("A", "1") });
    await runtime.start("two", "20", { createContainer: () => new Adjustment().env("A", "2") });
    await expect(runtime.createContainer(await runtime.runPod())).rejects.toThrow(
      'plugins "20-two" and "10-one" both tried to set Env A',
    );
    expect(runtime.containers).toEqual([]);
  });

  it("tells the plugin that validates who owns what", async () => {
    await using runtime = await createTestRuntime();
    const owners: unknown[] = [];
    await runtime.start("one", "10", {
      createContainer: () => new Adjustment().oomScoreAdj(1).sysctl("a", "b"),
    });
    await runtime.start("two", "20", {
      createContainer: () => ({ update: [{ containerId: "other", resources: { cpu: { cpus: "0" } } }] }),
      validateContainerAdjustment({ container, owners: all }) {
        for (const id of [container.id, "other"])
          owners.push(toJson(FieldOwnersSchema, all?.owners[id] ?? create(FieldOwnersSchema)));
      },
    });
    await runtime.createContainer(await runtime.runPod());
    expect(owners).toEqual([
      {
        simple: { [Field.OomScoreAdj]: "10-one" },
        compound: { [Field.Sysctl]: { owners: { a: "10-one" } } },
      },
      { simple: { [Field.CPUSetCPUs]: "20-two" } },
    ]);
  });

  it("makes a container as containerd does: removals of its own variables and devices do nothing, and of memory only the limit counts", async () => {
    await using runtime = await createTestRuntime();
    await runtime.start("p", "10", {
      createContainer: () =>
        new Adjustment({ env: { A: null }, resources: { memory: { limit: 1000, reservation: 5 }, pids: -1 } })
          .removeDevice("/dev/a")
          .mount({ destination: "/data/below" })
          .mount({ destination: "/data" })
          .device({ path: "/dev/b", type: "b", major: 1, minor: 2 }),
    });
    const { container } = await runtime.createContainer(await runtime.runPod(), {
      env: ["A=b"],
      linux: { devices: [{ path: "/dev/a", type: "c" }], resources: { pids: { limit: 7n } } },
    });
    const { devices, resources } = container.linux!;
    expect(container.env).toEqual(["A=b"]);
    expect(container.mounts.map(({ destination }) => destination)).toEqual(["/data", "/data/below"]);
    expect(devices.map(({ path }) => path)).toEqual(["/dev/a", "/dev/b"]);
    expect(resources!.devices).toMatchObject([{ allow: true, type: "b", access: "rwm" }]);
    expect(resources!.memory).toMatchObject({ limit: { value: 1000n }, swap: { value: 1000n } });
    expect(resources!.memory!.reservation).toBeUndefined();
    expect(resources!.pids!.limit).toBe(7n);
  });

  it("shows the next plugin the resources of an update with what those before it have changed", async () => {
    await using runtime = await createTestRuntime();
    const seen: unknown[] = [];
    await runtime.start("one", "10", {
      updateContainer: ({ container }) => ({
        update: [{ containerId: container.id, resources: { cpu: { cpus: "1" } } }],
      }),
    });
    await runtime.start("two", "20", {
      updateContainer: ({ resources }) =>
        void seen.push(resources?.cpu?.cpus, resources?.memory?.limit?.value),
    });
    const { container } = await runtime.createContainer(await runtime.runPod());
    await runtime.updateContainer(container, { cpu: { cpus: "0" }, memory: { limit: 9 } });
    expect(seen).toEqual(["1", 9n]);
    expect(container.linux?.resources?.cpu?.cpus).toBe("1");
  });

  it("keeps what an update asks for when a plugin updates the container without resources", async () => {
    await using runtime = await createTestRuntime();
    await runtime.start("p", "10", {
      updateContainer: ({ container }) => ({ update: [{ containerId: container.id }] }),
    });
    const { container } = await runtime.createContainer(await runtime.runPod());
    await runtime.updateContainer(container, { cpu: { cpus: "0" } });
    expect(container.linux?.resources?.cpu?.cpus).toBe("0");
  });

  it("stops and removes what has failed to be run, created or started, and stops what is removed, once", async () => {
    await using runtime = await createTestRuntime();
    const calls: string[] = [];
    const note = (name: string) => () => void calls.push(name);
    await runtime.start("noting", "10", {
      runPodSandbox: note("run pod"),
      createContainer: note("create"),
      startContainer: note("start"),
      stopContainer: note("stop"),
      removeContainer: note("remove"),
      stopPodSandbox: note("stop pod"),
      removePodSandbox: note("remove pod"),
    });
    let failing: string | undefined;
    const failed = (name: string) => () => {
      if (name === failing) throw new Error(`no ${name}`);
    };
    const handlers = {
      runPodSandbox: failed("pod"),
      createContainer: failed("create"),
      startContainer: failed("start"),
      stopContainer: failed("create"),
    };
    await runtime.start("failing", "20", handlers);
    failing = "pod";
    await expect(runtime.runPod()).rejects.toThrow("no pod");
    expect(calls.splice(0)).toEqual(["run pod", "stop pod", "remove pod"]);
    expect(runtime.pods).toEqual([]);
    failing = "create";
    const pod = await runtime.runPod();
    expect(calls.splice(0)).toEqual(["run pod"]);
    // The error of what is undone does not hide the first one.
    await expect(runtime.createContainer(pod)).rejects.toThrow("no create");
    expect(calls.splice(0)).toEqual(["create", "stop", "remove"]);
    failing = "start";
    const { container } = await runtime.createContainer(pod);
    await expect(runtime.startContainer(container)).rejects.toThrow("no start");
    expect(calls.splice(0)).toEqual(["create", "start", "stop"]);
    await runtime.createContainer(pod);
    await runtime.removePod(pod);
    expect(calls).toEqual(["create", "stop pod", "remove", "stop", "remove", "remove pod"]);
  });

  it("fails a container when a plugin that validates does not answer", async () => {
    await using runtime = await createTestRuntime({ requestTimeoutMs: 100 });
    await runtime.start("late", "10", { validateContainerAdjustment: hang });
    const pod = await runtime.runPod();
    await expect(runtime.createContainer(pod)).rejects.toThrow("validator plugin 10-late failed: ");
    expect(runtime.plugins).toEqual([]);
    await expect(runtime.createContainer(pod)).resolves.toBeDefined();
  });

  it("does one thing at a time, however much it is asked for, and synchronizes plugins between", async () => {
    await using runtime = await createTestRuntime();
    let running = 0;
    const overlaps: string[] = [];
    const alone = (name: string) => async () => {
      if (++running > 1) overlaps.push(name);
      await sleep(5);
      running--;
    };
    const handlers = (): PluginHandlers => ({
      synchronize: alone("synchronize"),
      runPodSandbox: alone("runPodSandbox"),
      createContainer: alone("createContainer"),
      validateContainerAdjustment: alone("validateContainerAdjustment"),
      postCreateContainer: alone("postCreateContainer"),
    });
    const plugin = await runtime.start("one", "10", handlers());
    const pods = await Promise.all([runtime.runPod(), runtime.runPod()]);
    const created = pods.map((pod) => runtime.createContainer(pod));
    const updated = plugin.updateContainers([{ containerId: "none" }]);
    await Promise.all([...created, updated, runtime.start("two", "20", handlers())]);
    expect(overlaps).toEqual([]);
  });

  it("passes over a plugin that has gone before its turn, whatever its failure policy", async () => {
    await using runtime = await createTestRuntime();
    const failurePolicy = { failRequest: true };
    await runtime.start("first", "10", {
      async runPodSandbox() {
        await gone.close();
        await vi.waitFor(() => expect(runtime.plugins).toEqual(["10-first"]));
      },
    });
    const gone = await runtime.start("gone", "20", { runPodSandbox: () => undefined }, { failurePolicy });
    await runtime.runPod();
    expect(runtime.plugins).toEqual(["10-first"]);
  });

  it.each([
    [{}, false, []],
    [{ failRequest: true }, true, []],
    [{ keepConnected: true }, false, ["10-late"]],
    [{ failRequest: true, keepConnected: true }, true, ["10-late"]],
  ])(
    "treats a plugin that does not answer by its failure policy %o",
    async (failurePolicy, fails, plugins) => {
      await using runtime = await createTestRuntime({ requestTimeoutMs: 100 });
      await runtime.start("late", "10", { runPodSandbox: hang }, { failurePolicy });
      const made = runtime.runPod().then(
        () => "made",
        (error: Error) => error.message,
      );
      expect(await made).toMatch(
        fails ? /^plugin 10-late failed to handle RunPodSandbox request: / : /^made$/,
      );
      expect(runtime.plugins).toEqual(plugins);
    },
  );
});
