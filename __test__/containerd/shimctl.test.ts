import { execFile } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, readFileSync, renameSync, watch, writeFileSync } from "node:fs";
import { connect, createServer, type Server } from "node:net";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import { decodeFrame, decodeRequest, FrameType } from "../helpers/wire.js";
import { needsTerminal, noTerminal, shimctl, Shimctl, TerminalShimctl } from "../cli/shimctl.js";
import { openTask } from "containerd-shim-protos/shims";
import { linkPackages } from "../cli/new-shim.js";
import { Containerd } from "./containerd.js";
import { ShimUser } from "./shims.js";
import { describeWith, describeWithEach, packaged, toolOf } from "./releases.js";

const run = promisify(execFile);
const SHIM = "containerd-shim-runc-v2";

describeWithEach("shimctl, with a real shim", (release) => {
  let containerd: Containerd;
  let address: string;
  let version: number;

  beforeAll(async () => {
    containerd = await Containerd.start({ release });
    const busy = "while true; do i=0; while [ $i -lt 2000 ]; do i=$((i+1)); done; sleep 0.01; done";
    await containerd.runContainer("busy", { args: ["/bin/sh", "-c", busy], memoryLimit: 32 << 20 });
    await containerd.runContainer("idle", { args: ["/bin/sleep", "100000"] });
    address = containerd.shimAddress("busy");
    version = release === packaged ? 2 : 3;
  });

  afterAll(async () => {
    await containerd?.stop();
  });

  const ls = (...rest: string[]) => ["ls", "--state", join(containerd.folder, "state"), ...rest];

  test("ls lists containerd's shims, as ctr does, from containerd's state folder", async () => {
    const { code, stdout } = await shimctl(ls("--json"));
    expect(code).toBe(0);
    const { namespace } = containerd.ctr;
    const ours = (JSON.parse(stdout) as Record<string, unknown>[]).filter(
      (shim) => shim["namespace"] === namespace,
    );
    const tasks = await containerd.ctr.tasks();
    expect(
      ours.map(({ id, taskPid, state }) => ({ id, pid: taskPid, status: String(state).toUpperCase() })),
    ).toEqual(tasks.toSorted((a, b) => (a.id < b.id ? -1 : 1)));
    for (const { id, address: at, version: v, pid, uptimeSeconds, error } of ours) {
      expect({ at, v, error }).toEqual({ at: containerd.shimAddress(String(id)), v: version, error: null });
      expect(readFileSync(`/proc/${String(pid)}/cmdline`, "utf8")).toContain(SHIM);
      expect(uptimeSeconds).toBeGreaterThan(0);
    }
  });

  test.skipIf(noTerminal)(
    `ls --watch shows that a container pauses and resumes${needsTerminal}`,
    async () => {
      await using child = new TerminalShimctl(ls("--watch", "--interval", "100ms"));
      await child.says("running");
      const task = `containerd.task.v${version}.Task`;
      expect(await shimctl(["call", address, `${task}/Pause`, '{"id":"busy"}'])).toMatchObject({ code: 0 });
      await child.says("paused");
      expect(await shimctl(["call", address, `${task}/Resume`, '{"id":"busy"}'])).toMatchObject({ code: 0 });
      child.type("\x03");
      expect(await child.outcome()).toMatchObject({ code: 0 });
    },
  );

  test("call prints what ctr knows, and a status for what nobody knows", async () => {
    const state = await shimctl(["call", address, `v${version}.Task/State`, '{"id":"busy"}']);
    const { pid, status } = await containerd.ctr.task("busy");
    expect(JSON.parse(state.stdout)).toMatchObject({
      id: "busy",
      bundle: containerd.bundle("busy"),
      pid,
      status,
    });
    const nobody = await shimctl(["call", address, `v${version}.Task/Pids`, '{"id":"nobody"}']);
    expect(nobody).toMatchObject({ code: 1, stdout: "" });
    expect(nobody.stderr).toContain("NotFound (5)");
    const other = await shimctl(["call", address, `v${5 - version}.Task/State`, '{"id":"busy"}']);
    expect(other).toMatchObject({ code: 1 });
    expect(other.stderr).toContain("Unimplemented (12)");
  });

  test("call runs a process in the container, from JSON alone", async () => {
    const { Spec } = await containerd.ctr.containerInfo("idle");
    const output = join(containerd.folder, "from-shimctl");
    const spec = {
      "@type": "types.containerd.io/opencontainers/runtime-spec/1/Process",
      value: { ...Spec.process, args: ["/bin/echo", "hello"], terminal: false },
    };
    const exec = { id: "idle", execId: "hello" };
    const call = async (method: string, request: object) => {
      const route = `v${version}.Task/${method}`;
      const outcome = await shimctl(["call", containerd.shimAddress("idle"), route, JSON.stringify(request)]);
      expect(outcome).toMatchObject({ code: 0, stderr: "" });
      return JSON.parse(outcome.stdout) as Record<string, unknown>;
    };
    await call("Exec", { ...exec, spec, stdout: `file://${output}`, stderr: `file://${output}` });
    const { pid } = await call("Start", exec);
    const wait = await call("Wait", exec);
    expect(wait).not.toHaveProperty("exitStatus");
    expect(await call("Delete", exec)).toMatchObject({ pid });
    expect(readFileSync(output, "utf8")).toBe("hello\n");
  });

  test("stats shows what a container uses, with cgroups v1 and v2", async () => {
    const { code, stdout } = await shimctl([
      "stats",
      address,
      "busy",
      "--json",
      "-c",
      "3",
      "--interval",
      "200ms",
    ]);
    expect(code).toBe(0);
    const samples = stdout
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as Record<string, number>);
    expect(samples).toHaveLength(3);
    for (const sample of samples) {
      expect(sample["memoryLimitBytes"]).toBe(32 << 20);
      expect(sample["memoryBytes"]).toBeGreaterThan(0);
      expect(sample["processes"]).toBeGreaterThan(0);
      expect(sample["cpuPercent"]).toBeGreaterThan(0);
    }
  });

  test("a container's id is enough, and the shim's version is found", async () => {
    const state = ["--state", join(containerd.folder, "state"), "-n", containerd.ctr.namespace];
    const { code, stdout } = await shimctl(["call", "bus", "Task/State", ...state]);
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ id: "busy", status: "RUNNING" });
    await using task = await openTask("idle", { state: join(containerd.folder, "state") });
    expect(task).toMatchObject({ id: "idle", version, namespace: containerd.ctr.namespace });
    expect(await task.usage()).toMatchObject({ processes: 1 });
  });

  test("stats ends when its container has", async () => {
    await containerd.runContainer("short", { args: ["/bin/sleep", "100000"] });
    const state = ["--state", join(containerd.folder, "state")];
    await using child = new Shimctl(["stats", "short", "--json", "--interval", "100ms", ...state]);
    await child.printsLines(1);
    await containerd.ctr.command(["task", "kill", "-s", "KILL", "short"]);
    expect(await child.outcome()).toMatchObject({ code: 0, stderr: "short has ended\n" });
  });

  test("new-shim writes a shim that runs a container", async () => {
    const folder = join(containerd.folder, "mine");
    expect(await shimctl(["new-shim", folder])).toMatchObject({ code: 0, stderr: "" });
    linkPackages(folder);
    await run("npm", ["run", "build"], { cwd: folder });
    const runtime = join(folder, "containerd-shim-mine-v1");
    const user = new ShimUser(containerd, { name: "mine", runtime });
    expect(await user.run("hello", ["/bin/echo", "hello"])).toMatchObject({ code: 0, stdout: "hello\n" });
  });

  test("bench calls the shim", async () => {
    const args = [
      "bench",
      address,
      `v${version}.Task/State`,
      '{"id":"busy"}',
      "-c",
      "8",
      "--calls",
      "200",
      "--json",
    ];
    const { code, stdout } = await shimctl(args);
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ calls: 200, failed: 0 });
  });

  test("events can sit between shims and containerd, which still gets every event", async () => {
    const between = join(containerd.folder, "between.sock");
    await using child = new Shimctl(["events", between, "--forward", containerd.eventsAddress, "--json"]);
    await child.says("listening on");
    await using own = await Containerd.start({ release, shimsPublishTo: between });
    await own.runContainer("stays", { args: ["/bin/sleep", "100000"], group: "pod" });
    await own.runContainer("short", { args: ["/bin/true"], group: "pod" });
    await child.says("/tasks/exit");
    await own.ctr.deleteTask("short");
    await child.says("/tasks/delete");
    const topics = child.stdout
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as { topic: string; event: { containerId: string } })
      .filter(({ event }) => event.containerId === "short")
      .map(({ topic }) => topic);
    expect(topics).toEqual(["/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete"]);
  });
});

/** The bytes that passed a point of a connection. */
interface Recorded {
  readonly up: Buffer[];
  readonly down: Buffer[];
}

/** Passes connections on, and keeps the bytes of each that carried any. */
class Recorder implements AsyncDisposable {
  readonly #connections: Recorded[] = [];
  readonly #server: Server;

  constructor(address: string, target: string) {
    this.#server = createServer({ allowHalfOpen: true }, (client) => {
      const server = connect({ path: target, allowHalfOpen: true });
      const recorded: Recorded = { up: [], down: [] };
      this.#connections.push(recorded);
      client.on("data", (chunk: Buffer) => recorded.up.push(chunk));
      server.on("data", (chunk: Buffer) => recorded.down.push(chunk));
      client.pipe(server).pipe(client);
      client.on("error", () => server.destroy());
      server.on("error", () => client.destroy());
    });
    this.#server.listen(address);
  }

  get recorded(): { up: Buffer; down: Buffer }[] {
    return this.#connections
      .map(({ up, down }) => ({ up: Buffer.concat(up), down: Buffer.concat(down) }))
      .filter(({ up, down }) => up.length + down.length > 0);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

describeWith(packaged, "shimctl proxy, between a real containerd and its shim", () => {
  let containerd: Containerd;

  beforeAll(async () => {
    containerd = await Containerd.start();
  });

  afterAll(async () => {
    await containerd?.stop();
  });

  /**
   * A program of the shim's name that starts the shim, writes its address to a file, and gives containerd another address
   * once something listens there.
   */
  function standBetween(): { shimAddress: () => Promise<string>; given: string; ready: () => void } {
    const { folder } = containerd;
    const [given, written, ready] = ["given.sock", "shim-address", "ready"].map((name) =>
      join(folder, name),
    ) as [string, string, string];
    const real = toolOf(packaged, SHIM);
    mkdirSync(join(folder, "wrappers"), { recursive: true });
    const script = `#!/bin/sh
for last; do :; done
[ "$last" = start ] || exec '${real}' "$@"
'${real}' "$@" > '${written}.new' || exit
mv '${written}.new' '${written}'
while [ ! -e '${ready}' ]; do sleep 0.01; done
printf 'unix://${given}'
`;
    writeFileSync(join(folder, "wrappers", SHIM), script, { mode: 0o755 });
    return {
      given,
      ready: () => {
        writeFileSync(`${ready}.new`, "");
        renameSync(`${ready}.new`, ready);
      },
      async shimAddress() {
        const watcher = watch(folder);
        try {
          while (!existsSync(written)) await once(watcher, "change");
        } finally {
          watcher.close();
        }
        return readFileSync(written, "utf8").trim().replace("unix://", "");
      },
    };
  }

  test("passes on a `ctr run` byte for byte in both directions, and decodes all of it", async () => {
    const { folder, ctr } = containerd;
    const { shimAddress, given, ready } = standBetween();
    const [toProxy, toShim] = [join(folder, "to-proxy.sock"), join(folder, "to-shim.sock")];
    const args = [
      "run",
      "--rm",
      "--null-io",
      "--runc-root",
      join(folder, "runc"),
      "--rootfs",
      join(folder, "rootfs"),
    ];
    const global = ["--address", ctr.address, "--namespace", ctr.namespace];
    const running = run(toolOf(packaged, "ctr"), [...global, ...args, "recorded", "/bin/true"]);
    running.catch(() => undefined);

    // containerd → before → shimctl proxy → behind → shim
    await using behind = new Recorder(toShim, await shimAddress());
    await using proxy = new Shimctl(["proxy", toProxy, toShim, "--json"]);
    await proxy.says("listening on");
    await using before = new Recorder(given, toProxy);
    ready();
    await running;
    await proxy.says('"event":"close"');
    proxy.kill("SIGINT");
    const { code, stdout } = await proxy.outcome();
    expect(code).toBe(0);

    expect(before.recorded.length).toBeGreaterThan(0);
    expect(behind.recorded).toEqual(before.recorded);
    const bytes = before.recorded.map(({ up, down }) => up.length + down.length);
    expect(Math.min(...bytes)).toBeGreaterThan(100);

    const methods = before.recorded.flatMap(({ up }) => methodsOf(up));
    for (const method of ["Create", "Wait", "Start", "Delete", "Shutdown"]) expect(methods).toContain(method);
    const frames = stdout
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as Record<string, unknown>)
      .filter(({ event }) => event === "frame");
    const requests = frames.filter(({ type }) => type === "request");
    expect(requests.map(({ method }) => method)).toEqual(methods);
    expect(frames.filter(({ type }) => type === "response")).toHaveLength(methods.length);
    for (const frame of frames) expect(frame).not.toHaveProperty("problem");
    expect(requests.find(({ method }) => method === "Create")).toMatchObject({
      service: "containerd.task.v2.Task",
      message: { id: "recorded", bundle: containerd.bundle("recorded") },
    });
  });
});

/** The methods of the requests in a client's bytes. */
function methodsOf(bytes: Buffer): string[] {
  const methods: string[] = [];
  for (let next = decodeFrame(bytes); next !== undefined; next = decodeFrame(next.rest)) {
    if (next.frame.type === FrameType.Request) methods.push(decodeRequest(next.frame.body).method);
  }
  return methods;
}
