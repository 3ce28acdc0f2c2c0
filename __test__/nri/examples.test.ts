import { createServer as createSocketServer, type Server } from "node:net";
import { type Client, connect, createClient, createServer } from "containerd-shim-protos";
import {
  ContainerState,
  createTestRuntime,
  Mux,
  Plugin,
  PLUGIN_CONNECTION,
  Runtime,
  RUNTIME_CONNECTION,
} from "containerd-shim-protos/nri";
import { describe, expect, it, vi } from "vitest";
import { Program } from "../helpers/program.js";
import { temporaryPath } from "../helpers/temp.js";

/** A runtime that configures each plugin that connects, does something with it, and ends the connection. */
function runtimeOf(path: string, use: (client: Client<typeof Plugin>) => Promise<void>): Server {
  return createSocketServer((socket) => {
    const mux = new Mux(socket);
    const toPlugin = mux.open(PLUGIN_CONNECTION);
    const server = createServer().add(Runtime, {
      registerPlugin: () => {
        void connect(toPlugin)
          .then(async (connection) => {
            const client = createClient(Plugin, connection);
            await client.configure({});
            await use(client);
          })
          .finally(() => mux.close());
        return {};
      },
    });
    void server.listen(mux.open(RUNTIME_CONNECTION));
    void mux.closed.then(() => server.close());
  }).listen(path);
}

describe("the example", () => {
  it("nri-logger prints a line for each event, and frees its runtime at once when it is interrupted", async () => {
    await using runtime = await createTestRuntime({ requestTimeoutMs: 10_000 });
    await using logger = new Program("examples/nri-logger.ts", [runtime.socket]);
    await runtime.joined("10-logger");
    const pod = await runtime.runPod({ name: "p" });
    const { container } = await runtime.createContainer(pod, { name: "c" });
    await runtime.startContainer(container);
    await logger.printed("default/p/c: start\n");
    expect(logger.output).toBe(
      "test-runtime 1.0.0 has 0 pods, 0 containers\ndefault/p: run\ndefault/p/c: create\ndefault/p/c: start\n",
    );
    logger.signal("SIGINT");
    expect(await logger.ended()).toBe(130);
    await vi.waitFor(() => expect(runtime.plugins).toEqual([]));
    await runtime.runPod();
  });

  it("nri-logger fails when its runtime has gone", async () => {
    await using runtime = await createTestRuntime({ requestTimeoutMs: 10_000 });
    await using logger = new Program("examples/nri-logger.ts", [runtime.socket]);
    await runtime.joined("10-logger");
    await runtime.close();
    await vi.waitFor(() => expect(logger.errors).toContain("10-logger is not connected"), 5000);
    logger.signal("SIGTERM");
    expect(await logger.ended()).toBe(143);
  });

  it("nri-injector adds what the pod's annotations name", async () => {
    await using runtime = await createTestRuntime({ requestTimeoutMs: 10_000 });
    await using _injector = new Program("examples/nri-injector.ts", [runtime.socket]);
    await runtime.joined("20-injector");
    const annotations = { "env.inject.example.com/A": "b", "device.inject.example.com/c": "/dev/null" };
    const pod = await runtime.runPod({ annotations });
    const { container } = await runtime.createContainer(pod, { name: "c" });
    expect(container.env).toEqual(["A=b"]);
    expect(container.linux?.devices).toMatchObject([{ path: "/dev/null", type: "c", major: 1n, minor: 3n }]);
    const other = await runtime.createContainer(pod, { name: "other" });
    expect(other.container.linux?.devices ?? []).toEqual([]);
    const wrong = await runtime.runPod({ annotations: { "device.inject.example.com/c": "/dev/none" } });
    await expect(runtime.createContainer(wrong, { name: "c" })).rejects.toThrow("ENOENT");
    const folder = await runtime.runPod({ annotations: { "device.inject.example.com/c": "/dev" } });
    await expect(runtime.createContainer(folder, { name: "c" })).rejects.toThrow("/dev is no device");
  });

  it("nri-cpu-pinning gives pinned containers CPUs of their own, and the others the rest", async () => {
    await using runtime = await createTestRuntime({ requestTimeoutMs: 10_000 });
    await using _pinning = new Program("examples/nri-cpu-pinning.ts", [runtime.socket, "0-3"]);
    await runtime.joined("90-cpu-pinning");
    const pod = await runtime.runPod({ annotations: { "pin.example.com/fast": "2" } });
    const { container: slow } = await runtime.createContainer(pod, { name: "slow" });
    expect(slow.linux?.resources?.cpu?.cpus).toBe("0,1,2,3");
    const { container: fast } = await runtime.createContainer(pod, { name: "fast" });
    expect(fast.linux?.resources?.cpu?.cpus).toBe("0,1");
    expect(slow.linux?.resources?.cpu?.cpus).toBe("2,3");
    await expect(runtime.createContainer(pod, { name: "fast" })).rejects.toThrow(
      "2 CPUs are wanted, and 1 can be pinned",
    );
    await runtime.stopContainer(fast);
    expect(slow.linux?.resources?.cpu?.cpus).toBe("2,3,0,1");
    const wrong = await runtime.runPod({
      annotations: { "pin.example.com/c": "two", "pin.example.com/d": "-1" },
    });
    for (const name of ["c", "d"])
      await expect(runtime.createContainer(wrong, { name })).rejects.toThrow("must be a number of CPUs");
  });

  it("nri-cpu-pinning gives the CPUs of a container that ended while it was away to others", async () => {
    const socket = temporaryPath(".sock");
    const pod = { id: "p", annotations: { "pin.example.com/fast": "2" } };
    const container = (id: string, state: ContainerState, cpus: string) => ({
      id,
      name: "fast",
      podSandboxId: "p",
      state,
      linux: { resources: { cpu: { cpus } } },
    });
    const { CONTAINER_RUNNING: running, CONTAINER_STOPPED: stopped } = ContainerState;
    const moved: string[][] = [];
    const inventories = [
      [container("a", running, "0-1")],
      [
        container("b", running, "2,3"),
        container("c", stopped, "0"),
        { ...container("d", running, ""), name: "d" },
      ],
    ];
    const listener = runtimeOf(socket, async (client) => {
      const { update } = await client.synchronize({ pods: [pod], containers: inventories.shift() ?? [] });
      moved.push(update.map(({ containerId, linux }) => `${containerId}: ${linux?.resources?.cpu?.cpus}`));
    });
    await using _pinning = new Program("examples/nri-cpu-pinning.ts", [socket, "0-3"]);
    await vi.waitFor(() => expect(moved).toEqual([[], ["d: 0,1"]]), 15_000);
    listener.close();
  });
});
