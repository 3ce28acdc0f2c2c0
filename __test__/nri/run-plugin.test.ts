import { setTimeout as sleep } from "node:timers/promises";
import { Code, connect, createClient, createServer, TtrpcError } from "containerd-shim-protos";
import {
  createTestRuntime,
  Mux,
  Plugin,
  PLUGIN_CONNECTION,
  runPlugin,
  Runtime,
  RUNTIME_CONNECTION,
} from "containerd-shim-protos/nri";
import { createServer as createSocketServer } from "node:net";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import { ROOT, Started } from "../helpers/started.js";
import { temporaryPath } from "../helpers/temp.js";
import { watchUncaught } from "../helpers/uncaught.js";
import { logged } from "./bare-runtime.js";

watchUncaught();

describe("a plugin", () => {
  it("connects again when its runtime has come back, and gives up if it does not", async () => {
    const { lines, log } = logged();
    const path = temporaryPath(".sock");
    let configured = 0;
    const handlers = { configure: () => void configured++, runPodSandbox: () => undefined };
    const reconnect = { initialDelayMs: 20, maxDelayMs: 50, giveUpMs: 1000 };
    const plugin = runPlugin("again", "10", handlers, { socket: path, ownsProcess: false, reconnect, log });
    onTestFinished(() => plugin.close());
    await vi.waitFor(() => expect(lines.join("\n")).toMatch(/10-again is not connected: .*ENOENT/));
    for (const count of [1, 2]) {
      const accepted: Mux[] = [];
      const listener = createSocketServer((socket) => {
        const mux = new Mux(socket);
        accepted.push(mux);
        const toPlugin = mux.open(PLUGIN_CONNECTION);
        const server = createServer().add(Runtime, {
          registerPlugin: async () => {
            const client = createClient(Plugin, await connect(toPlugin));
            client.configure({}).catch(() => undefined);
            return {};
          },
        });
        void server.listen(mux.open(RUNTIME_CONNECTION));
        void mux.closed.then(() => server.close());
      }).listen(path);
      await plugin.ready;
      await vi.waitFor(() => expect(plugin.runtime).toBeDefined());
      expect(configured).toBe(count);
      listener.close();
      for (const mux of accepted) await mux.close();
    }
    expect(await plugin.closed).toMatchObject({
      reason: "error",
      error: { code: Code.Unavailable, cause: { code: "ENOENT" } },
    });
    expect(lines.at(-1)).toMatch(/^error 10-again has ended: cannot connect to unix:.*ENOENT/);
  });

  it("takes the socket that NRI_PLUGIN_SOCKET names, which must be one, unless the variable is empty", async () => {
    onTestFinished(() => void vi.unstubAllEnvs());
    for (const value of ["3x", "-1", "1000000"]) {
      vi.stubEnv("NRI_PLUGIN_SOCKET", value);
      const text = `NRI_PLUGIN_SOCKET, "${value}", is not the descriptor of a socket`;
      expect(() => runPlugin("a", "10", {})).toThrow(text);
    }
    vi.stubEnv("NRI_PLUGIN_SOCKET", "");
    const plugin = runPlugin("a", "10", {}, { ownsProcess: false });
    await plugin.close();
    expect(await plugin.closed).toEqual({ reason: "local" });
  });

  it("ends its process with 1 when its runtime is lost, though a server keeps that alive, unless another begins", async () => {
    const nri = JSON.stringify(join(ROOT, "dist/nri/index.js"));
    const program = (then: string) => `
      import { createServer } from "node:http";
      import { runPlugin } from ${nri};
      createServer().listen(0, "127.0.0.1");
      const run = () => runPlugin("a", "10", {}, { socket: "unix:///nonexistent/nri.sock", reconnect: false });
      console.log((await run().closed).reason);
      ${then}`;
    const began = performance.now();
    await using alone = new Started(process.execPath, ["--input-type=module", "-e", program("")]);
    await using again = new Started(process.execPath, [
      "--input-type=module",
      "-e",
      program("await new Promise((go) => setTimeout(go, 3000)); console.log((await run().closed).reason);"),
    ]);
    expect([await alone.ended(), alone.output]).toEqual([1, "error\n"]);
    expect(performance.now() - began).toBeGreaterThan(4000);
    expect([await again.ended(), again.output]).toEqual([1, "error\nerror\n"]);
  });

  it("logs lines that are lines, and no more, whatever they tell of", async () => {
    const written: unknown[] = [];
    const spy = vi.spyOn(process.stderr, "write").mockImplementation((text) => written.push(text) > 0);
    onTestFinished(() => spy.mockRestore());
    const socket = `${temporaryPath()}/\u001b]0;title\u0007\u009b31m\r\n\u202eerror`;
    const handlers = { runPodSandbox: () => undefined };
    await runPlugin("quiet", "10", handlers, { socket, ownsProcess: false, reconnect: false }).closed;
    expect(written).toHaveLength(1);
    expect(written[0]).toContain(String.raw`/\u001b]0;title\u0007\u009b31m\r\n\u202eerror: `);
    expect(written[0]).toMatch(/^[^\p{Cc}\p{Bidi_Control}]*\n$/u);
  });

  it("ends by its signal, or before it has begun, without an error", async () => {
    const aborter = new AbortController();
    await using runtime = await createTestRuntime();
    const plugin = await runtime.start(
      "a",
      "10",
      { runPodSandbox: () => undefined },
      { signal: aborter.signal },
    );
    aborter.abort();
    expect(await plugin.closed).toEqual({ reason: "local" });
    await vi.waitFor(() => expect(runtime.plugins).toEqual([]));
    const early = runPlugin("b", "10", {}, { socket: runtime.socket, ownsProcess: false });
    await early.close();
    await expect(early.ready).rejects.toMatchObject({ code: Code.Unavailable });
    expect(await early.closed).toEqual({ reason: "local" });
    const { signal } = aborter;
    const never = runPlugin("c", "10", {}, { socket: runtime.socket, ownsProcess: false, signal });
    expect(await never.closed).toEqual({ reason: "local" });
  });

  it("that does not synchronize, or ends before, fails to start in a test", async () => {
    await using runtime = await createTestRuntime();
    const synchronize = () => {
      throw new TtrpcError("no room", Code.ResourceExhausted);
    };
    await expect(runtime.start("a", "10", { synchronize })).rejects.toMatchObject({
      code: Code.ResourceExhausted,
      message: "synchronize failed: no room",
    });
    const aborter = new AbortController();
    const ended = runtime.start(
      "b",
      "10",
      { synchronize: () => aborter.abort() },
      { signal: aborter.signal },
    );
    await expect(ended).rejects.toMatchObject({ code: Code.Unavailable });
    expect(runtime.plugins).toEqual([]);
    // One that connects again has another try.
    let tries = 0;
    const again = { synchronize: () => (++tries < 2 ? synchronize() : undefined) };
    await runtime.start("c", "10", again, { reconnect: { initialDelayMs: 1 } });
    expect([tries, runtime.plugins]).toEqual([2, ["10-c"]]);
  });

  it("meets a pod and a container with values of their own for what is undefined", async () => {
    await using runtime = await createTestRuntime();
    const pod = await runtime.runPod({
      id: undefined,
      name: undefined,
      uid: undefined,
      namespace: undefined,
    });
    expect(pod).toMatchObject({ id: "pod-1", name: "pod-1", uid: "pod-1", namespace: "default" });
    const nothing = { id: undefined, name: undefined, podSandboxId: undefined, args: undefined };
    const { container } = await runtime.createContainer(pod, nothing);
    const id = "container-2";
    expect(container).toMatchObject({ id, name: id, podSandboxId: "pod-1", args: ["sh"] });
  });

  it("has started when it is synchronized itself, beside another with its name and index", async () => {
    await using runtime = await createTestRuntime();
    const first = await runtime.start("same", "10", {});
    let isSynchronized = false;
    const synchronize = async () => {
      await sleep(50);
      isSynchronized = true;
    };
    await runtime.start("same", "10", { synchronize });
    expect([isSynchronized, runtime.plugins]).toEqual([true, ["10-same", "10-same"]]);
    await first.close();
    await vi.waitFor(() => expect(runtime.plugins).toEqual(["10-same"]));
  });

  it.each<[string, unknown[], string]>([
    ["a name", ["a b", "10", {}], "the plugin's name must consist of letters"],
    ["an index", ["a", "1", {}], 'the plugin\'s index must be two digits, such as "10", not "1"'],
    ["an index that is a number", ["a", 10, {}], "the plugin's index must be two digits"],
    ["no handlers", ["a", "10", undefined], "the handlers must be an object, not undefined"],
    [
      "an unknown handler",
      ["a", "10", { createPod() {} }],
      "createPod is not a handler; the handlers are runPodSandbox",
    ],
    [
      "no function",
      ["a", "10", { runPodSandbox: 1 }],
      "the handler runPodSandbox must be a function, not number",
    ],
    ["an unknown option", ["a", "10", {}, { sockets: "" }], "did you mean socket?"],
    ["an address", ["a", "10", {}, { socket: "nri.sock" }], 'the address "nri.sock" is not one of'],
    ["an event", ["a", "10", {}, { events: ["stop"] }], "events has stop, which is not one of"],
    ["an event without handler", ["a", "10", {}, { events: ["runPodSandbox"] }], "has no handler for"],
    [
      "a delay",
      ["a", "10", {}, { reconnect: { maxDelayMs: 0 } }],
      "reconnect.maxDelayMs must be a number of milliseconds, 1 or more",
    ],
    ["a log", ["a", "10", {}, { log: {} }], "log must have a function info"],
  ])("refuses %s that is wrong with a TypeError", (_, args, text) => {
    const run = () => (runPlugin as (...args: unknown[]) => unknown)(...args);
    expect(run).toThrow(TypeError);
    expect(run).toThrow(text);
  });
});
