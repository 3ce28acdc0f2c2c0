import { createServer, type Server, TtrpcError, Code } from "containerd-shim-protos";
import { Sandbox } from "containerd-shim-protos/sandbox";
import { Status, Task as TaskV2 } from "containerd-shim-protos/task/v2";
import { Task as TaskV3 } from "containerd-shim-protos/task/v3";
import { afterEach, describe, expect, it } from "vitest";
import { needsTerminal, noTerminal, onTerminal, shimctl, Shimctl, visible } from "./shimctl.js";
import { proxyTo, shown } from "./proxied.js";
import { bootstrap, State } from "./state.js";
import { exitEnvelope, serveSubscriptions } from "../events/subscription-server.js";
import { temporaryAddress, temporaryPath } from "../helpers/temp.js";

const servers: Server[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) await server.close({ graceMs: 0 });
});

/** A shim that serves one version of the Task service, for the containers of a state folder. */
async function shimOf(
  state: State,
  name: string,
  task: typeof TaskV3,
  containers: readonly [namespace: string, id: string][],
): Promise<string> {
  const server = createServer().add(task, {
    connect: () => ({ shimPid: 1 }),
    state({ id }) {
      if (!containers.some(([, known]) => known === id)) throw new TtrpcError(`no ${id}`, Code.NotFound);
      return { id, bundle: name, status: Status.RUNNING };
    },
    pids: () => ({ processes: Array.from({ length: 200 }, (_, index) => ({ pid: index + 1000 })) }),
  });
  servers.push(server);
  const address = await server.listen(state.socket(name));
  for (const [namespace, id] of containers) state.bundle(namespace, id, bootstrap(address));
  return address;
}

const older = TaskV2 as unknown as typeof TaskV3;

describe("a container's id in place of an address", () => {
  it("may be a sandbox's, whose shim has no container yet", async () => {
    const state = new State();
    const server = createServer().add(Sandbox, {
      sandboxStatus: ({ sandboxId }) => ({ sandboxId, state: "SANDBOX_READY" }),
    });
    servers.push(server);
    state.sandbox("k8s.io", "pod-1234", bootstrap(await server.listen(temporaryAddress())));
    const request = ["Sandbox/SandboxStatus", '{"sandboxId":"pod-1234"}'];
    const { code, stdout, stderr } = await shimctl(["call", "pod", ...request, "--state", state.state]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(JSON.parse(stdout)).toEqual({ sandboxId: "pod-1234", state: "SANDBOX_READY" });
    const other = await shimctl(["call", "web", ...request, "--state", state.state]);
    expect(other).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('no container has the id "web"'),
    });
  });

  it("may be cut short, and names the container in requests of the Task service", async () => {
    const state = new State();
    await shimOf(state, "three", TaskV3, [["default", "web-1234"]]);
    await shimOf(state, "two", older, [["default", "db-5678"]]);
    const call = async (...args: string[]) => {
      const outcome = await shimctl(["call", ...args, "--state", state.state]);
      expect(outcome).toMatchObject({ code: 0, stderr: "" });
      return JSON.parse(outcome.stdout) as Record<string, unknown>;
    };
    expect(await call("web", "Task/State")).toEqual({ id: "web-1234", bundle: "three", status: "RUNNING" });
    // The shim decides on the version.
    expect(await call("db", "Task/State")).toEqual({ id: "db-5678", bundle: "two", status: "RUNNING" });
    expect(await call("db", "v2.Task.State")).toMatchObject({ id: "db-5678" });
    expect(await call("web", "Task.State", '{"execId":"x"}')).toMatchObject({ id: "web-1234" });
    const other = await shimctl(["call", "web", "Task/State", '{"id":"other"}', "--state", state.state]);
    expect(other).toMatchObject({ code: 1, stderr: expect.stringContaining("no other") as string });
  });

  it.each([
    ["call", "web", "Task/State"],
    ["stats", "web", "--count", "1", "--interval", "1ms", "--json"],
    ["bench", "web", "Task/State", "--calls", "1", "--warmup", "1ms", "-c", "1"],
  ])(
    "lets %s ask the shim over one connection, in the version that containerd's state names",
    async (...args) => {
      const state = new State();
      const address = await shimOf(state, "two", older, [["default", "other"]]);
      await using proxy = await proxyTo(address, "--json");
      state.bundle("default", "web", bootstrap(proxy.address, 2));
      await shimctl([...args, "--state", state.state]);
      await proxy.says('"event":"close"');
      proxy.kill("SIGINT");
      const events = shown((await proxy.outcome()).stdout);
      expect(events.filter(({ event }) => event === "open")).toHaveLength(1);
      const services = events.filter(({ type }) => type === "request").map(({ service }) => service);
      expect(new Set(services)).toEqual(new Set(["containerd.task.v2.Task"]));
    },
  );

  it("must be unambiguous, for which a namespace helps", async () => {
    const state = new State();
    await shimOf(state, "one", TaskV3, [["default", "web"]]);
    await shimOf(state, "other", TaskV3, [["k8s.io", "web"]]);
    const args = ["call", "web", "Task/State", "--state", state.state];
    const { code, stderr } = await shimctl(args);
    expect(code).toBe(2);
    expect(stderr).toContain('the id "web" is ambiguous: default/web, k8s.io/web');
    expect(stderr).toContain("-n");
    expect((await shimctl([...args, "-n", "k8s.io"])).stdout).toContain("other");
    expect((await shimctl(args, { env: { CONTAINERD_NAMESPACE: "default" } })).stdout).toContain("one");
    expect((await shimctl(["-n", "k8s.io", ...args])).stdout).toContain("other");
  });

  it("is looked for as if variables that are empty were not set", async () => {
    const state = new State();
    await shimOf(state, "one", TaskV3, [["default", "web"]]);
    const args = ["call", "web", "Task/State", "--state", state.state];
    const env = { CONTAINERD_STATE: "", CONTAINERD_ADDRESS: "", CONTAINERD_NAMESPACE: "" };
    expect(await shimctl(args, { env })).toMatchObject({ code: 0, stderr: "" });
  });

  it("that nothing has ends with 2", async () => {
    const state = new State();
    await shimOf(state, "one", TaskV3, [["default", "web"]]);
    const { code, stderr } = await shimctl(["stats", "nobody", "--state", state.state]);
    expect(code).toBe(2);
    expect(stderr).toContain(`no container has the id "nobody" in ${state.state}`);
    expect(stderr).toContain("shimctl ls");
  });

  it("is taken by bench and proxy too", async () => {
    const state = new State();
    await shimOf(state, "two", older, [["default", "web"]]);
    const between = temporaryAddress();
    await using proxy = new Shimctl(["proxy", between, "web", "--state", state.state]);
    await proxy.says("listening");
    const args = [
      "bench",
      between,
      "Task/State",
      '{"id":"web"}',
      "--calls",
      "3",
      "--warmup",
      "1ms",
      "--json",
    ];
    const outcome = await shimctl(args);
    expect(outcome).toMatchObject({ code: 0, stderr: "" });
    await proxy.says("containerd.task.v2.Task/State");
    const direct = ["bench", "web", "Task/State", "--calls", "3", "--json", "--state", state.state];
    expect(JSON.parse((await shimctl(direct)).stdout)).toMatchObject({ calls: 3, failed: 0 });
  });

  describe("for events", () => {
    /** What the command prints of three containers' events, and what it asks containerd for. */
    async function follow(state: State, ...options: string[]): Promise<{ ids: string[]; asked: string }> {
      const socket = temporaryPath();
      let asked = "";
      const containerd = await serveSubscriptions(`unix:${socket}`, (call) => {
        asked = call.request.toString("latin1");
        for (const id of ["web-1234", "db", "web", "end"]) call.write(exitEnvelope(0, id));
      });
      try {
        const args = ["events", ...options, "--state", state.state, "--address", socket, "--json"];
        await using child = new Shimctl(args);
        await child.printsLines(1);
        child.kill("SIGINT");
        const { stdout } = await child.outcome();
        const lines = stdout.trimEnd().split("\n");
        const ids = lines.map((line) => (JSON.parse(line) as { event: { containerId: string } }).event);
        return { ids: ids.map(({ containerId }) => containerId), asked };
      } finally {
        containerd.forceShutdown();
      }
    }

    it("is the whole id, because the container may be still to come", async () => {
      const state = new State();
      await shimOf(state, "one", TaskV3, [["default", "web-1234"]]);
      const { ids, asked } = await follow(state, "web");
      expect(ids).toEqual(["web"]);
      expect(asked).not.toContain("namespace");
    });

    it("stands for its container only, not for another namespace's of the same id", async () => {
      const state = new State();
      await shimOf(state, "one", TaskV3, [["default", "web"]]);
      const { ids, asked } = await follow(state, "web");
      expect(ids).toEqual(["web"]);
      expect(asked).toContain('namespace=="default"');
    });

    it("must be unambiguous, for which a namespace helps", async () => {
      const state = new State();
      await shimOf(state, "one", TaskV3, [
        ["default", "web"],
        ["k8s.io", "web"],
      ]);
      const { code, stderr } = await shimctl(["events", "web", "--state", state.state]);
      expect(code).toBe(2);
      expect(stderr).toContain('the id "web" is ambiguous: default/web, k8s.io/web');
      expect((await follow(state, "web", "-n", "default")).ids).toEqual(["web"]);
    });
  });
});

describe("the layout of replies", () => {
  it("shows fields with default values if asked", async () => {
    const state = new State();
    await shimOf(state, "one", TaskV3, [["default", "web"]]);
    const { stdout } = await shimctl([
      "call",
      "web",
      "Task/State",
      "--emit-defaults",
      "--state",
      state.state,
    ]);
    expect(JSON.parse(stdout)).toMatchObject({ id: "web", pid: 0, stdin: "", terminal: false });
  });

  it.skipIf(noTerminal)(`is one line on a terminal too, with --json${needsTerminal}`, async () => {
    const state = new State();
    await shimOf(state, "one", TaskV3, [["default", "web"]]);
    const args = ["call", "web", "Task/State", "--state", state.state];
    expect((await onTerminal(args)).stdout.trimEnd().split("\n").length).toBeGreaterThan(3);
    const lines = visible((await onTerminal([...args, "--json"], { env: { NO_COLOR: "1" } })).stdout);
    expect(JSON.parse(lines)).toMatchObject({ id: "web" });
    expect(lines.trimEnd().split("\n")).toHaveLength(1);
  });

  it("is JSON for definitions, one per line", async () => {
    const { code, stdout } = await shimctl([
      "describe",
      "--json",
      "v3.Task.Connect",
      "containerd.v1.types.Status",
    ]);
    expect(code).toBe(0);
    const [method, input, output, status] = stdout
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(method).toEqual({
      kind: "unary",
      name: "containerd.task.v3.Task/Connect",
      input: "containerd.task.v3.ConnectRequest",
      output: "containerd.task.v3.ConnectResponse",
    });
    expect(input).toMatchObject({
      kind: "message",
      fields: [{ name: "id", jsonName: "id", number: 1, type: "string", repeated: false }],
    });
    expect(output).toMatchObject({ name: "containerd.task.v3.ConnectResponse" });
    expect(status).toMatchObject({
      kind: "enum",
      values: expect.arrayContaining([{ name: "RUNNING", number: 2 }]) as unknown,
    });
  });

  it("of the proxy is cut short, unless --full asks for all", async () => {
    const state = new State();
    await shimOf(state, "one", TaskV3, [["default", "web"]]);
    for (const [flags, listed] of [
      [[], false],
      [["--full"], true],
      [["--json"], true],
    ] as const) {
      const between = temporaryAddress();
      await using proxy = new Shimctl(["proxy", between, "web", "--state", state.state, ...flags]);
      await proxy.says("listening");
      expect(await shimctl(["call", between, "v3.Task/Pids", '{"id":"web"}'])).toMatchObject({ code: 0 });
      await proxy.says(flags[0] === "--json" ? '"close"' : "closed");
      expect(proxy.stdout.includes("1199"), flags.join("")).toBe(listed);
      expect(proxy.stdout.includes("--full")).toBe(!listed);
    }
  });
});
