import { spawnSync } from "node:child_process";
import { once } from "node:events";
import {
  copyFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { AnySchema } from "@bufbuild/protobuf/wkt";
import { connect, createClient } from "containerd-shim-protos";
import { DeleteResponseSchema, Task } from "containerd-shim-protos/task/v3";
import { RuntimeInfoSchema } from "containerd-shim-protos/types";
import { beforeAll, expect, onTestFinished, test, vi } from "vitest";
import { ROOT } from "../helpers/program.js";
import { pathOf, temporaryPath } from "../helpers/temp.js";
import { bundleFixture, mustPack, pack } from "./packed.js";
import { ShimHost } from "./shim.js";

const NAME = "containerd-shim-fixture-v1";

/** A folder whose name has a space, far from the package. */
const folder = temporaryPath(" bin");
const program = join(folder, NAME);
/** The same shim, which finds its group in annotations. */
const annotated = join(folder, "containerd-shim-annotated-v1");

/** A file to which a link leads that was where a program is written first. */
const victim = join(folder, "victim");

beforeAll(async () => {
  mkdirSync(folder);
  const script = await bundleFixture();
  const packed = temporaryPath();
  mustPack(script, packed);
  // Installing a shim takes no more than this.
  copyFileSync(packed, program);
  writeFileSync(victim, "untouched", { mode: 0o600 });
  symlinkSync(victim, `${annotated}.new`);
  mustPack(script, annotated, { FIXTURE: "annotated" });
}, 120_000);

const hostOf = (options: ConstructorParameters<typeof ShimHost>[0] = {}) =>
  new ShimHost({ executable: program, ...options });

const gone = (host: ShimHost) => vi.waitFor(() => expect(host.processes()).toEqual([]), 10_000);

test("one copied file serves, with the addon that is in it", async () => {
  using host = hostOf();
  await using connection = await connect(await host.address(["-debug"]));
  const { shimPid } = await createClient(Task, connection).connect({});
  expect(host.processes()).toEqual([shimPid]);
  const command = spawnSync("cat", [`/proc/${shimPid}/cmdline`], { encoding: "utf8" }).stdout.split("\0");
  expect(command[0]).toBe(NAME);
  expect(command).toContain("-debug");
  expect(readlinkSync(`/proc/${shimPid}/cwd`)).toBe("/");
  for (const fd of [0, 1, 2]) expect(readlinkSync(`/proc/${shimPid}/fd/${fd}`)).toBe("/dev/null");
  expect(spawnSync("cat", [`/proc/${shimPid}/maps`], { encoding: "utf8" }).stdout).toContain(program);
});

test("a shim holds no descriptor that whoever starts it has left open", async () => {
  const careless = temporaryPath(".sh");
  writeFileSync(careless, `#!/bin/sh\nexec "${program}" "$@" 9< "${folder}"\n`, { mode: 0o755 });
  using host = hostOf({ executable: careless });
  await using connection = await connect(await host.address());
  const { shimPid } = await createClient(Task, connection).connect({});
  const held = readdirSync(`/proc/${shimPid}/fd`).map((fd) => readLinkOf(`/proc/${shimPid}/fd/${fd}`));
  expect(held).not.toContain(folder);
});

/** A descriptor may be closed meanwhile. */
function readLinkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return "";
  }
}

test("a file that is overwritten in place, as cp does it, ends none of the shims that run from it", async () => {
  const file = join(temporaryPath(), NAME);
  mkdirSync(dirname(file));
  copyFileSync(program, file);
  using first = hostOf({ executable: file });
  using second = hostOf({ executable: file, id: "other" });
  const tasks = [];
  for (const host of [first, second]) {
    const connection = await connect(await host.address());
    onTestFinished(() => connection.close());
    tasks.push(createClient(Task, connection));
  }
  // Any page of it that is still mapped ends its process from now on.
  writeFileSync(file, "");
  for (const task of tasks) {
    const { shimPid } = await task.connect({});
    expect(spawnSync("cat", [`/proc/${shimPid}/maps`], { encoding: "utf8" }).stdout).not.toContain(file);
  }
  copyFileSync(program, file);
  for (const task of tasks) expect(await task.connect({})).toMatchObject({ version: expect.any(String) });
});

test("a link to the file is the same shim", async () => {
  const link = join(temporaryPath(), NAME);
  mkdirSync(dirname(link));
  symlinkSync(program, link);
  using host = hostOf({ executable: link });
  await using connection = await connect(await host.address());
  expect(await createClient(Task, connection).connect({})).toMatchObject({ version: "box" });
});

test("the plain address answers what is no bootstrap message, also without any stdin", async () => {
  using host = hostOf();
  for (const input of ["/dev/null", undefined]) {
    const redirect = input === undefined ? "<&-" : `<${input}`;
    const line = `exec "$0" "$@" ${redirect}`;
    const { status, stdout, stderr } = spawnSync(
      "sh",
      ["-c", line, program, ...host.flags, "-id", `${host.id}${redirect.length}`, "start"],
      {
        cwd: host.bundle,
        env: { ...process.env, ...host.env },
        encoding: "utf8",
      },
    );
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    expect(stdout).toMatch(/^unix:\/\/\/run\/containerd\/s\/[0-9a-f]{64}$/);
    await using connection = await connect(stdout);
    await createClient(Task, connection).shutdown({});
  }
  await gone(host);
});

test("a service that cannot be created fails start with the server's reason", async () => {
  using host = hostOf({ does: "fail" });
  expect(await host.start()).toEqual({
    code: 1,
    stdout: Buffer.alloc(0),
    stderr: "io.containerd.fixture.v1: the service has no engine\n",
  });
  await gone(host);
});

test("a server that dies without an answer fails start, which says how it ended", async () => {
  using host = hostOf({ does: "die" });
  const { code, stderr } = await host.start();
  expect(code).toBe(1);
  expect(stderr).toBe("io.containerd.fixture.v1: the server ended with SIGKILL before it served\n");
});

test("without Node, start says what it looked for", async () => {
  using host = hostOf({ env: { PATH: "/nonexistent" } });
  const { code, stderr } = await host.start();
  expect(code).toBe(1);
  expect(stderr).toContain("node, looked for on PATH=/nonexistent, did not start: No such file or directory");
});

test("the server ends, too, if start is killed before it serves", async () => {
  using host = hostOf({ does: "slow" });
  const start = host.spawn([...host.flags, "start"], host.params);
  await vi.waitFor(() => expect(existsSync(host.sockets)).toBe(true), 10_000);
  start.kill("SIGKILL");
  await once(start, "exit");
  await gone(host);
});

test("-info and -v answer, and a wrong command line is refused, as without a launcher", async () => {
  using host = hostOf();
  const options = toBinary(AnySchema, create(AnySchema, { typeUrl: "some.Options" }));
  const info = fromBinary(RuntimeInfoSchema, (await host.run(["-info"], options)).stdout);
  expect(info).toMatchObject({ name: "io.containerd.fixture.v1", annotations: { options: "some.Options" } });
  expect((await host.run(["-v"])).stdout.toString()).toBe(
    `${NAME}:\n  Version:  1.2.3\n  Node.js:  ${process.version}\n`,
  );
  const { code, stderr } = await host.run([...host.flags, "stop"]);
  expect(code).toBe(1);
  expect(stderr).toBe("io.containerd.fixture.v1: the action must be start or delete, not stop\n");
});

test("delete is the shim's", async () => {
  using host = hostOf({ does: "exit" });
  const { stdout, stderr } = await host.run([...host.flags, "delete"]);
  expect(fromBinary(DeleteResponseSchema, stdout)).toMatchObject({ pid: 42, exitStatus: 3 });
  expect(stderr).toBe(`clearing up box in ${host.bundle}\n`);
});

test("a program without a script behind it says how to make one", () => {
  const bare = temporaryPath();
  const addon = readdirSync(ROOT).find((name) => name.endsWith(".node")) ?? "an addon";
  copyFileSync(join(ROOT, addon), bare);
  const { status, stderr } = spawnSync(bare, ["-v"], { encoding: "utf8" });
  expect(status).toBe(1);
  expect(stderr).toContain("holds no shim");
});

/** A bundle whose container has these annotations. */
function annotate({ bundle }: ShimHost, annotations: Record<string, string>): void {
  writeFileSync(join(bundle, "config.json"), JSON.stringify({ ociVersion: "1.0.2", annotations }));
}

/** On PATH there is no Node, so what succeeds has needed none. */
const WITHOUT_NODE = { PATH: "/nonexistent" };

test("start for a group that has a shim needs no Node", async () => {
  const executable = annotated;
  using first = hostOf({ executable, id: "one", does: "annotated" });
  annotate(first, { second: "pod" });
  const address = await first.address();
  using second = hostOf({ executable, id: "two", sockets: first.sockets, env: WITHOUT_NODE });
  annotate(second, { first: "pod", second: "other" });
  expect(await second.address()).toBe(address);
  expect(readFileSync(join(second.bundle, "address"), "utf8")).toBe(address);
  expect(first.processes()).toHaveLength(1);
  // Another group, and no group, have shims of their own.
  for (const annotations of [{ first: "another" }, { first: "" }]) {
    using third = hostOf({ executable, id: "three", sockets: first.sockets, env: WITHOUT_NODE });
    annotate(third, annotations);
    expect((await third.start()).stderr).toContain("did not start");
  }
});

test("the sandbox of a group that has a shim gets the answer that containerd 2.0 to 2.2 expects of one", async () => {
  const executable = annotated;
  using first = hostOf({ executable, id: "one", does: "annotated" });
  annotate(first, { first: "sandboxes" });
  const address = (await first.run([...first.flags, "start"])).stdout.toString();
  const bundle = join(temporaryPath(), "io.containerd.sandbox.controller.v1.shim", "tests", "pod");
  const { sockets } = first;
  using sandbox = hostOf({ executable, id: "pod", bundle, sockets, does: "annotated" });
  annotate(sandbox, { first: "sandboxes" });
  const { stdout } = await sandbox.run([...sandbox.flags, "start"]);
  expect(JSON.parse(stdout.toString())).toEqual({ version: 3, address, protocol: "ttrpc" });
  await using connection = await connect(address);
  await createClient(Task, connection).shutdown({});
  await gone(first);
});

test("the plain address of a group's shim is written as a new file, whatever link was in its place", async () => {
  const executable = annotated;
  using first = hostOf({ executable, id: "one", does: "annotated" });
  annotate(first, { first: "plain" });
  const { stdout } = await first.run([...first.flags, "start"]);
  using second = hostOf({ executable, id: "two", sockets: first.sockets, env: WITHOUT_NODE });
  annotate(second, { first: "plain" });
  symlinkSync(victim, join(second.bundle, "address.tmp"));
  expect(await second.run([...second.flags, "start"])).toEqual({ code: 0, stdout, stderr: "" });
  expect(readFileSync(join(second.bundle, "address"), "utf8")).toBe(stdout.toString());
  expect(statSync(victim).size).toBe("untouched".length);
  await using connection = await connect(stdout.toString());
  await createClient(Task, connection).shutdown({});
  await gone(first);
});

test("delete after the shim's own Delete needs no Node, and does after any other end", async () => {
  const executable = annotated;
  using host = hostOf({ executable, does: "annotated" });
  annotate(host, {});
  const address = await host.address();
  const without = () => hostOf({ executable, env: WITHOUT_NODE });
  const remove = async () => {
    using other = without();
    return other.run([...host.flags, "-bundle", host.bundle, "delete"]);
  };
  await using connection = await connect(address);
  const client = createClient(Task, connection);
  await client.create({ id: host.id, bundle: host.bundle });
  expect((await remove()).code).toBe(1);
  await client.delete({ id: host.id, execId: "one" });
  expect((await remove()).code).toBe(1);
  await client.delete({ id: host.id });
  const { code, stdout, stderr } = await remove();
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  expect(fromBinary(DeleteResponseSchema, stdout)).toMatchObject({ pid: 7, exitStatus: 5 });
  // A killed shim leaves its socket, which Node removes.
  writeFileSync(join(host.bundle, "address"), address);
  expect((await remove()).code).toBe(0);
  for (const pid of host.processes()) process.kill(pid, "SIGKILL");
  await gone(host);
  expect(existsSync(pathOf(address))).toBe(true);
  // Of a process that ends, the kernel takes the command line before it closes the socket.
  await vi.waitFor(async () => expect((await remove()).code).toBe(1), 10_000);
});

test("pack writes a new file, whatever link was in its place", () => {
  expect(statSync(victim)).toMatchObject({ size: "untouched".length, mode: 0o100600 });
  expect(lstatSync(annotated).mode).toBe(0o100755);
});

test("pack refuses what is no shim", () => {
  const script = temporaryPath(".cjs");
  writeFileSync(script, "console.log('hello')");
  const { status, stderr } = pack(script, temporaryPath());
  expect(status).not.toBe(0);
  expect(stderr).toContain("does not call runShim");
});

test("the shim does without huge pages and arenas, and what it starts may have them", async () => {
  using host = hostOf();
  await using connection = await connect(await host.address());
  const { shimPid, taskPid: variables } = await createClient(Task, connection).connect({});
  expect(readFileSync(`/proc/${shimPid}/environ`, "utf8")).toMatch(/\0MALLOC_ARENA_MAX=1\0/);
  expect(variables).toBe(0);
  const status = (pid: number | "self") =>
    /^THP_enabled:.*$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"));
  expect(status(shimPid)?.[0]).toBe(status("self")?.[0]);
  expect(readFileSync(`/proc/${shimPid}/smaps_rollup`, "utf8")).toMatch(/^AnonHugePages: +0 kB$/m);
});

test("programs that a shim runs get the limit of open files that it was started with, and no socket of systemd", async () => {
  const env = { NOTIFY_SOCKET: temporaryPath() };
  using host = hostOf({ executable: "prlimit", program: ["--nofile=500:4000", program], env });
  await using connection = await connect(await host.address());
  const path = temporaryPath();
  await createClient(Task, connection).checkpoint({ path });
  expect(readFileSync(path, "utf8")).toBe("500\n4000\n\n");
});

test("signals that programs in Go ignore end no shim and open no port", async () => {
  using host = hostOf();
  await using connection = await connect(await host.address());
  const task = createClient(Task, connection);
  const { shimPid } = await task.connect({});
  const sockets = () =>
    readdirSync(`/proc/${shimPid}/fd`).filter((fd) => {
      try {
        return readlinkSync(`/proc/${shimPid}/fd/${fd}`).startsWith("socket:");
      } catch {
        return false;
      }
    }).length;
  const before = sockets();
  for (const signal of [
    "SIGUSR1",
    "SIGUSR2",
    "SIGALRM",
    "SIGVTALRM",
    "SIGIO",
    "SIGPWR",
    "SIGXCPU",
  ] as const) {
    process.kill(shimPid, signal);
    expect((await task.connect({})).shimPid).toBe(shimPid);
  }
  expect(sockets()).toBe(before);
});

test.each([
  ["of one file", () => hostOf()],
  ["that Node runs", () => new ShimHost()],
])("a shim %s ends if nobody takes its address", async (_, make) => {
  using host = make();
  const child = host.spawn([...host.flags, "start"]);
  // containerd was killed while it waited.
  child.stdout!.destroy();
  expect((await once(child, "exit"))[0]).toBe(1);
  await gone(host);
});

test("a shim refuses to go without the scheduling that containerd asks for", async () => {
  using host = hostOf({ env: { SCHED_CORE: "1" } });
  const { code, stderr } = await host.start();
  const refused = code !== 0;
  // This kernel may know how.
  if (refused) expect(stderr).toMatch(/enable sched core support: /);
  using unpacked = new ShimHost({ env: { SCHED_CORE: "1" } });
  expect((await unpacked.start()).stderr).toContain("SCHED_CORE needs a packed shim");
});
