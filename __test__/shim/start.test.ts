import { spawnSync } from "node:child_process";
import { once } from "node:events";
import {
  closeSync,
  constants,
  existsSync,
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { Code, connect, createClient } from "containerd-shim-protos";
import { Sandbox } from "containerd-shim-protos/sandbox";
import { Streaming } from "containerd-shim-protos/streaming";
import { Task as TaskV2 } from "containerd-shim-protos/task/v2";
import { Task } from "containerd-shim-protos/task/v3";
import { expect, test, vi } from "vitest";
import { pathOf, temporaryPath } from "../helpers/temp.js";
import { FIXTURE, ShimHost } from "./shim.js";
import { makeFifo } from "../helpers/shell.js";
import { ROOT } from "../helpers/started.js";

/** A log pipe like containerd's, with what has been written to it. */
class LogPipe implements Disposable {
  readonly #fd: number;

  constructor({ bundle }: ShimHost) {
    const path = makeFifo(join(bundle, "log"));
    this.#fd = openSync(path, constants.O_RDWR | constants.O_NONBLOCK);
  }

  read(): string {
    const bytes = Buffer.alloc(1 << 20);
    let size = 0;
    try {
      for (;;) size += readSync(this.#fd, bytes, { offset: size });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EAGAIN") throw error;
    }
    return bytes.toString("utf8", 0, size);
  }

  [Symbol.dispose](): void {
    closeSync(this.#fd);
  }
}

const addressIn = (bundle: string) => readFileSync(join(bundle, "address"), "utf8");

const gone = (host: ShimHost) => vi.waitFor(() => expect(host.processes()).toEqual([]), 10_000);

test("start answers and closes its output while the server keeps running", async () => {
  using host = new ShimHost();
  const address = await host.address();
  await using connection = await connect(address);
  const { shimPid } = await createClient(Task, connection).connect({});
  expect(host.processes()).toEqual([shimPid]);
  for (const fd of ["0", "1", "2"]) {
    expect(existsSync(`/proc/${shimPid}/fd/${fd}`)).toBe(true);
    expect(spawnSync("readlink", [`/proc/${shimPid}/fd/${fd}`]).stdout.toString()).toBe("/dev/null\n");
  }
});

test("the server leads a session of its own, outside the bundle, under the shim's name", async () => {
  using host = new ShimHost();
  await host.address(["-debug"]);
  const [pid = 0] = host.processes();
  // After the name in brackets: state, parent, group, session.
  const [, , , session] = readFileSync(`/proc/${pid}/stat`, "utf8").replace(/.*\) /, "").split(" ");
  expect(Number(session)).toBe(pid);
  expect(spawnSync("readlink", [`/proc/${pid}/cwd`]).stdout.toString()).toBe("/\n");
  const command = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
  expect(command[0]).toBe("containerd-shim-fixture-v1");
  expect(command).toEqual(expect.arrayContaining(["-namespace", "tests", "-id", "box", "-debug"]));
  const score = (process: number | string) => Number(readFileSync(`/proc/${process}/oom_score_adj`, "utf8"));
  expect(score(pid)).toBe(Math.min(score("self") + 1, 1000));
  expect(readFileSync(`/proc/${pid}/environ`, "utf8")).toContain("CONTAINERD_SHIM_STARTER=");
});

test("only this user can use the socket and its folder", async () => {
  using host = new ShimHost();
  const path = pathOf(await host.address());
  expect(statSync(path).mode & 0o777).toBe(0o600);
  expect(statSync(dirname(path)).mode & 0o777).toBe(0o700);
  expect(dirname(path)).toBe(host.sockets);
});

test("both versions of the task service are served by the same handlers", async () => {
  using host = new ShimHost();
  await using connection = await connect(await host.address());
  for (const client of [createClient(Task, connection), createClient(TaskV2, connection)] as const) {
    expect(await client.state({ id: "box" })).toMatchObject({ id: "box", bundle: host.bundle });
    await expect(client.pause({})).rejects.toMatchObject({ code: Code.Unimplemented });
  }
});

test("the sandbox service is served if the shim has one", async () => {
  using without = new ShimHost();
  await using first = await connect(await without.address());
  await expect(createClient(Sandbox, first).pingSandbox({})).rejects.toMatchObject({
    code: Code.Unimplemented,
  });
  using host = new ShimHost({ does: "sandbox" });
  await using second = await connect(await host.address());
  await createClient(Sandbox, second).pingSandbox({});
  await createClient(Task, second).connect({});
});

test("services of the shim's own are served on the same socket", async () => {
  using host = new ShimHost({ does: "streams" });
  await using connection = await connect(await host.address());
  for await (const { typeUrl } of createClient(Streaming, connection).stream([])) expect(typeUrl).toBe("box");
  await createClient(Task, connection).connect({});
  expect.assertions(1);
});

test("interceptors of the shim's own see the requests of every version, and may refuse them", async () => {
  using host = new ShimHost({ does: "intercepted" });
  await using connection = await connect(await host.address());
  for (const client of [createClient(Task, connection), createClient(TaskV2, connection)] as const) {
    expect(await client.state({ id: "box" })).toMatchObject({ id: "box" });
    await expect(client.state({ execId: "refused" })).rejects.toMatchObject({ code: Code.PermissionDenied });
  }
});

test("the options that containerd passes to the runtime reach the service", async () => {
  using host = new ShimHost();
  await using connection = await connect(await host.address());
  const { stats } = await createClient(Task, connection).stats({});
  expect(stats).toMatchObject({ typeUrl: "some.Options", value: Uint8Array.of(1, 2) });
});

test("what Node or the shim prints goes to the log, never to the output that containerd reads", async () => {
  using host = new ShimHost({ does: "noise" });
  using log = new LogPipe(host);
  // Throws unless stderr is empty and stdout is the answer.
  await host.address(["-debug"]);
  await vi.waitFor(() => expect(log.read()).toContain("a warning of the service"));
});

test("the lines of the log have containerd's form", async () => {
  using host = new ShimHost({ does: "noise" });
  using log = new LogPipe(host);
  await host.address(["-debug"]);
  const lines = log.read();
  const rest = 'runtime="io.containerd.fixture.v1" namespace="tests" id="box"';
  expect(lines).toMatch(new RegExp(`^time="[^"]+Z" level=info msg="printed by the service" ${rest}$`, "m"));
  expect(lines).toMatch(
    new RegExp(`^time="[^"]+Z" level=warning msg="an error of the service" ${rest}$`, "m"),
  );
  expect(lines).toMatch(
    new RegExp(`^time="[^"]+Z" level=debug msg="debugging" of="the service" ${rest}$`, "m"),
  );
});

test("without -debug nothing of level debug is logged", async () => {
  using host = new ShimHost({ does: "noise" });
  using log = new LogPipe(host);
  await host.address();
  expect(log.read()).not.toContain("level=debug");
});

test("a log that nobody reads does not hold up the shim, and says how much was lost", async () => {
  using host = new ShimHost({ does: "flood" });
  using log = new LogPipe(host);
  await using connection = await connect(await host.address());
  const client = createClient(Task, connection);
  await client.connect({});
  expect(log.read()).toContain("line 0 ");
  await client.kill({ signal: 1 });
  expect(log.read()).toMatch(/level=warning msg="\d+ lines of the log were dropped".*\n.* msg="signal 1"/);
});

test("a log that nobody reads does not hold up the shim either once a process has inherited its streams", async () => {
  using host = new ShimHost();
  using _log = new LogPipe(host);
  await using connection = await connect(await host.address());
  const client = createClient(Task, connection);
  for (const signal of [7, 8]) await client.kill({ signal }, { timeoutMs: 5000 });
  expect(await client.connect({}, { timeoutMs: 5000 })).toMatchObject({ version: host.id });
});

test("a service that cannot be created fails start with its reason, and leaves nothing behind", async () => {
  using host = new ShimHost({ does: "fail" });
  expect(await host.start()).toEqual({
    code: 1,
    stdout: Buffer.alloc(0),
    stderr: "io.containerd.fixture.v1: the service has no engine\n",
  });
  await gone(host);
  expect(readdirSync(host.sockets)).toEqual([]);
});

const apart = spawnSync("unshare", ["--mount", "true"]).status === 0;

test.skipIf(!apart)("where the system does not let it become a daemon, start says why", async () => {
  const script = 'mount -o remount,bind,ro /proc && exec "$@"';
  const program = ["--mount", "sh", "-c", script, "sh", process.execPath, FIXTURE];
  using host = new ShimHost({ executable: "unshare", program });
  const { code, stderr } = await host.start();
  const why = "EROFS: read-only file system, open '/proc/self/oom_score_adj'";
  expect([code, stderr]).toEqual([1, `io.containerd.fixture.v1: ${why}\n`]);
  await gone(host);
});

test("an error that nobody catches before the server serves is what start says", async () => {
  using host = new ShimHost({ does: "bug" });
  const { code, stderr } = await host.start();
  expect([code, stderr]).toEqual([1, "io.containerd.fixture.v1: a bug in the service\n"]);
  // It has answered, and is about to end.
  await gone(host);
});

test("a server that dies before it serves fails start, which says how it ended", async () => {
  using host = new ShimHost({ does: "die" });
  const { code, stdout, stderr } = await host.start();
  expect({ code, stdout: stdout.length }).toEqual({ code: 1, stdout: 0 });
  expect(stderr).toBe("io.containerd.fixture.v1: the server ended with SIGKILL before it served\n");
});

test("the server ends, too, if start is killed before it serves", async () => {
  using host = new ShimHost({ does: "slow" });
  const start = host.spawn([...host.flags, "start"], host.params);
  // The server makes the folder, then waits for its service.
  await vi.waitFor(() => expect(existsSync(host.sockets)).toBe(true), 10_000);
  start.kill("SIGKILL");
  await once(start, "exit");
  await gone(host);
  expect(readdirSync(host.sockets)).toEqual([]);
});

test("parameters on stdin that are for another shim are refused", async () => {
  using host = new ShimHost();
  using other = new ShimHost({ id: "another" });
  const { code, stderr } = await host.run([...host.flags, "start"], other.params);
  expect(code).toBe(1);
  expect(stderr).toContain("stdin is for another in namespace tests, not for box in tests");
});

test("an older containerd that replaces the one of a shim finds its address in the bundle", async () => {
  using host = new ShimHost();
  const address = await host.address();
  expect(addressIn(host.bundle)).toBe(address);
  // A container of a sandbox has no start of its own.
  const bundle = temporaryPath();
  mkdirSync(bundle);
  await using connection = await connect(address);
  const task = createClient(Task, connection);
  await task.create({ id: "inner", bundle });
  expect(addressIn(bundle)).toBe(address);
  writeFileSync(join(bundle, "address"), "unix:///another");
  await task.create({ id: "inner", bundle });
  expect(addressIn(bundle)).toBe("unix:///another");
  expect(await task.create({ id: "lost", bundle: temporaryPath() })).toMatchObject({ pid: 7 });
});

test("containers of a group share one shim", async () => {
  using first = new ShimHost({ id: "one", does: "group" });
  const address = await first.address();
  using second = new ShimHost({ id: "two", does: "group", sockets: first.sockets });
  expect(await second.address()).toBe(address);
  expect(addressIn(second.bundle)).toBe(address);
  await vi.waitFor(() => expect(first.processes()).toHaveLength(1), 10_000);
});

test("two containers of a group that start at once share one shim", async () => {
  using first = new ShimHost({ id: "one", does: "group" });
  using second = new ShimHost({ id: "two", does: "group", sockets: first.sockets });
  const [one, two] = await Promise.all([first.address(), second.address()]);
  expect(one).toBe(two);
  await vi.waitFor(() => expect(first.processes()).toHaveLength(1), 10_000);
  await using connection = await connect(one);
  expect(first.processes()).toEqual([(await createClient(Task, connection).connect({})).shimPid]);
});

test("a sandbox without a spec has a shim of its own, which the containers that name it share", async () => {
  using sandbox = new ShimHost({ id: "pod", does: "annotated" });
  const address = await sandbox.address();
  using container = new ShimHost({ id: "one", does: "annotated", sockets: sandbox.sockets });
  writeFileSync(join(container.bundle, "config.json"), JSON.stringify({ annotations: { second: "pod" } }));
  expect(await container.address()).toBe(address);
});

test("the shim of a sandbox tells containerd 2.0 to 2.2, in JSON, that it takes the sandbox's containers", async () => {
  const bundle = join(temporaryPath(), "io.containerd.sandbox.controller.v1.shim", "tests", "pod");
  using host = new ShimHost({ id: "pod", bundle, does: "sandbox" });
  const { code, stdout } = await host.run([...host.flags, "start"]);
  const { address, ...rest } = JSON.parse(stdout.toString()) as { address: string };
  expect({ code, ...rest }).toEqual({ code: 0, version: 3, protocol: "ttrpc" });
  expect(addressIn(bundle)).toBe(address);
  await using connection = await connect(address);
  expect(await createClient(Sandbox, connection).pingSandbox({})).toMatchObject({});
  await createClient(Task, connection).shutdown({});
  await gone(host);
});

test("containers without a group have one shim each", async () => {
  using first = new ShimHost({ id: "one" });
  using second = new ShimHost({ id: "two", sockets: first.sockets });
  expect(await first.address()).not.toBe(await second.address());
});

test("a bundle without a config.json, as that of a sandbox, names no group", async () => {
  const sockets = temporaryPath();
  using pod = new ShimHost({ id: "pod", does: "annotated", sockets });
  using other = new ShimHost({ id: "other", does: "annotated", sockets });
  expect(await pod.address()).not.toBe(await other.address());
});

test("Shutdown is answered, and then the process ends and the socket is removed", async () => {
  using host = new ShimHost();
  const address = await host.address();
  await using connection = await connect(address);
  const client = createClient(Task, connection);
  // A call that would wait forever does not keep the process alive.
  const waiting = client.wait({}).catch(({ code }: { code: Code }) => code);
  await client.connect({});
  await client.shutdown({});
  await gone(host);
  expect(existsSync(pathOf(address))).toBe(false);
  expect(await waiting).toBe(Code.Unavailable);
});

test("a shim that lingers for its events logs those that it loses, and leaves its successor's socket, even one with the same inode number", async () => {
  using host = new ShimHost();
  using log = new LogPipe(host);
  const path = pathOf(await host.address());
  const kept = temporaryPath();
  linkSync(path, kept);
  {
    await using connection = await connect(path);
    const client = createClient(Task, connection);
    await client.kill({ signal: 5 });
    await client.shutdown({});
  }
  await vi.waitFor(() => expect(existsSync(path)).toBe(false), 10_000);
  expect(host.processes()).toHaveLength(1);
  // Filesystems reuse a free inode number.
  linkSync(kept, path);
  await vi.waitFor(() => expect(host.processes()).toEqual([]), 15_000);
  expect(existsSync(path)).toBe(true);
  expect(log.read()).toMatch(
    / level=error msg="an event was lost" topic="\/tasks\/oom" error=".*the publisher is closed, and before that: cannot connect to /,
  );
}, 40_000);

test("SIGTERM ends the shim in the same way; SIGPIPE does not end it", async () => {
  using host = new ShimHost();
  const address = await host.address();
  const [pid = 0] = host.processes();
  process.kill(pid, "SIGPIPE");
  await using connection = await connect(address);
  expect(await createClient(Task, connection).connect({})).toMatchObject({ shimPid: pid });
  process.kill(pid, "SIGTERM");
  await gone(host);
  expect(existsSync(pathOf(address))).toBe(false);
});

test("a bug that ends the shim is logged, and the socket is removed", async () => {
  using host = new ShimHost();
  using log = new LogPipe(host);
  const address = await host.address();
  await using connection = await connect(address);
  await createClient(Task, connection).kill({ signal: 6 });
  await gone(host);
  expect(log.read()).toContain("a bug");
  expect(existsSync(pathOf(address))).toBe(false);
});

test("a bug is logged though its line of the script is longer than the pipe of the log", async () => {
  const program = temporaryPath(".mjs");
  const library = pathToFileURL(join(ROOT, "dist/shim/index.js")).href;
  const padding = "x".repeat(128 << 10);
  const bug = `setTimeout(() => { throw new Error("a bug" + "${padding}".at(128 << 10)); }, 10)`;
  writeFileSync(
    program,
    `import { runShim } from ${JSON.stringify(library)};
    const kill = () => { ${bug}; return {}; };
    void runShim("io.containerd.long.v1", { createTaskService: () => ({ kill }) });`,
  );
  using host = new ShimHost({ program: [program] });
  using log = new LogPipe(host);
  await using connection = await connect(await host.address());
  await createClient(Task, connection).kill({});
  await gone(host);
  expect(log.read()).toMatch(
    /level=error msg="an error that nobody caught ends the shim" .*Error: a bugundefined/,
  );
  rmSync(program);
});
