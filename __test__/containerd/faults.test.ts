import { execFileSync } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  type Client,
  Code,
  connect,
  type Connection,
  packAny,
  type TtrpcError,
} from "containerd-shim-protos";
import { OptionsSchema as RuncOptionsSchema } from "containerd-shim-protos/runc";
import { OptionsSchema } from "containerd-shim-protos/runtimeoptions";
import { Status, type Task } from "containerd-shim-protos/task/v3";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { Containerd } from "./containerd.js";
import { processLike, showLogOfFailures, taskClient } from "./direct.js";
import { namespaceOf } from "./leftovers.js";
import { describeWithEach } from "./releases.js";
import { EventsSeen, RUNC, ShimUser } from "./shims.js";

const FOREVER = ["/bin/sleep", "100000"];
const SIGKILL = 9;

/** What must not keep a shim from its duties. */
describeWithEach("shim-runc when something is wrong", (release) => {
  let containerd: Containerd;
  let user: ShimUser;
  let events: EventsSeen;
  const connections: Connection[] = [];

  beforeAll(async () => {
    containerd = await Containerd.start({ release });
    user = new ShimUser(containerd, RUNC);
    events = await EventsSeen.of(containerd);
    await user.runDetached("host", FOREVER);
  });

  afterAll(async () => {
    for (const connection of connections) await connection.close();
    events?.[Symbol.dispose]();
    await containerd?.stop();
  });

  showLogOfFailures(() => containerd);

  async function taskOf(id: string): Promise<Client<typeof Task>> {
    const connection = await connect(containerd.shimAddress(id));
    connections.push(connection);
    return taskClient(connection, release);
  }

  const processOf = (id: string, args: string[], change: object = {}) =>
    processLike(containerd, id, { args, ...change });

  /** A second container of the same bundle's spec, created by the shim of another and not started. */
  async function createIn(task: Client<typeof Task>, from: string, id: string, options = {}) {
    const bundle = join(containerd.folder, `bundle-${id}`);
    mkdirSync(bundle);
    const spec = JSON.parse(readFileSync(join(containerd.bundle(from), "config.json"), "utf8")) as {
      root: { path: string };
      linux: { cgroupsPath: string };
    };
    spec.linux.cgroupsPath = `${spec.linux.cgroupsPath}-${id}`;
    writeFileSync(join(bundle, "config.json"), JSON.stringify(spec));
    await task.create({ id, bundle, ...options });
    return bundle;
  }

  test("publishes the exit of a container whose bundle has vanished, and can delete it", async () => {
    await user.runDetached("vanished", FOREVER);
    const task = await taskOf("vanished");
    const waiting = task.wait({ id: "vanished" });
    const kept = `${containerd.bundle("vanished")}.kept`;
    execFileSync("mv", [containerd.bundle("vanished"), kept]);
    await task.kill({ id: "vanished", signal: SIGKILL });
    expect(await waiting).toMatchObject({ exitStatus: 137 });
    execFileSync("mv", [kept, containerd.bundle("vanished")]);
    await user.delete("vanished");
    await events.tell("vanished", topics("create", "start", "exit", "delete"), RUNC);
  });

  test("publishes the exit of a container whose bundle cannot be written to", async () => {
    await user.runDetached("full", FOREVER);
    const task = await taskOf("full");
    const waiting = task.wait({ id: "full" });
    // As on a full disk, the file that keeps the exit cannot be written.
    mkdirSync(join(containerd.bundle("full"), "exit.json.tmp"));
    await task.kill({ id: "full", signal: SIGKILL });
    expect(await waiting).toMatchObject({ exitStatus: 137 });
    await user.delete("full");
    await events.tell("full", topics("create", "start", "exit", "delete"), RUNC);
  });

  test("publishes the exit of a container that was never started before its delete", async () => {
    const task = await taskOf("host");
    const bundle = await createIn(task, "host", "unstarted");
    const waiting = task.wait({ id: "unstarted" });
    expect(await task.delete({ id: "unstarted" })).toMatchObject({ exitStatus: 137 });
    expect(await waiting).toMatchObject({ exitStatus: 137 });
    await events.tell("unstarted", topics("create", "exit", "delete"), RUNC);
    rmSync(bundle, { recursive: true });
  });

  test.each(["create", "pause"])(
    "ends the runc of a %s that hangs when it is killed itself",
    async (command) => {
      const id = `killed-${command}`;
      await user.runDetached(id, FOREVER);
      const task = await taskOf(id);
      const runc = join(containerd.folder, `runc-${id}`);
      const lines = [
        `case "$*" in *" ${command} "*) echo $$ >${runc}.pid; exec sleep 100000;; esac`,
        'exec runc "$@"',
      ];
      writeFileSync(runc, `#!/bin/sh\n${lines.join("\n")}\n`, { mode: 0o755 });
      const options = { binaryName: runc, root: join(containerd.folder, "runc") };
      const other = `${id}-other`;
      const created = createIn(task, id, other, { options: packAny(RuncOptionsSchema, options) });
      const called =
        command === "create"
          ? created
          : created.then(() => task.start({ id: other })).then(() => task.pause({ id: other }));
      const outcome = called.catch(({ code }: TtrpcError) => code);
      const pid = await vi.waitUntil(
        () => existsSync(`${runc}.pid`) && Number(readFileSync(`${runc}.pid`, "utf8")),
        10_000,
      );
      // The script tells its process id before it becomes the command that hangs.
      await vi.waitUntil(() => readFileSync(`/proc/${pid}/cmdline`, "utf8").startsWith("sleep"), 10_000);
      process.kill((await task.connect({ id })).shimPid, "SIGKILL");
      expect(await outcome).toBe(Code.Unavailable);
      // Whoever inherits it may not reap it.
      await vi.waitUntil(
        () => !existsSync(`/proc/${pid}`) || readFileSync(`/proc/${pid}/cmdline`, "utf8") === "",
        5000,
      );
      execFileSync("runc", [
        "--root",
        join(options.root, namespaceOf(containerd.folder)),
        "delete",
        "--force",
        other,
      ]);
      await user.delete(id);
    },
  );

  test("lets those go on that wait for an exec that was deleted unstarted", async () => {
    const task = await taskOf("host");
    const exec = { id: "host", execId: "unstarted" };
    await task.exec({ ...exec, spec: await processOf("host", ["/bin/true"]) });
    const waiting = task.wait(exec);
    await task.delete(exec);
    expect(await waiting).toMatchObject({ exitStatus: 0 });
  });

  test("deletes once what is deleted twice at the same time", async () => {
    const task = await taskOf("host");
    const bundle = await createIn(task, "host", "twice");
    const outcomes = await Promise.allSettled([task.delete({ id: "twice" }), task.delete({ id: "twice" })]);
    expect(outcomes.map(({ status }) => status).toSorted()).toEqual(["fulfilled", "rejected"]);
    expect(outcomes.find(({ status }) => status === "rejected")).toMatchObject({
      reason: { code: Code.NotFound },
    });
    await events.tell("twice", topics("create", "exit", "delete"), RUNC);
    rmSync(bundle, { recursive: true });
  });

  test("deletes after it has been created what is deleted while it is created", async () => {
    const task = await taskOf("host");
    const creating = createIn(task, "host", "hasty");
    const deleting = task.delete({ id: "hasty" });
    const bundle = await creating;
    // It may have been asked for before the container was there at all.
    if ((await Promise.allSettled([deleting]))[0]?.status === "rejected") await task.delete({ id: "hasty" });
    const expected = topics("create", "exit", "delete");
    await vi.waitFor(() => expect(events.topics("hasty")).toEqual(expected), 10_000);
    rmSync(bundle, { recursive: true });
  });

  test("makes an exec without threads of Node's, which aborts where it may have none", async () => {
    await user.runDetached("thrifty", FOREVER);
    const task = await taskOf("thrifty");
    const { shimPid } = await task.connect({ id: "thrifty" });
    // The addon's own end soon, or move the bytes of streams.
    const threads = () => {
      const tasks = `/proc/${shimPid}/task`;
      const names = readdirSync(tasks).map((id) => readFileSync(join(tasks, id, "comm"), "utf8").trim());
      return names.filter((name) => name !== "stdio").length;
    };
    const before = threads();
    const exec = { id: "thrifty", execId: "one" };
    await task.exec({ ...exec, spec: await processOf("thrifty", ["/bin/true"]) });
    await task.start(exec);
    await task.wait(exec);
    await task.delete(exec);
    await vi.waitFor(() => expect(threads()).toBe(before), 10_000);
    await task.kill({ id: "thrifty", signal: SIGKILL });
    await user.delete("thrifty");
  });

  test("gives an exec named init a pid file of its own", async () => {
    const task = await taskOf("host");
    const before = await task.state({ id: "host" });
    const exec = { id: "host", execId: "init" };
    await task.exec({ ...exec, spec: await processOf("host", FOREVER) });
    const { pid } = await task.start(exec);
    const file = readFileSync(join(containerd.bundle("host"), "init.pid"), "utf8");
    expect(Number(file)).toBe(before.pid);
    expect(pid).not.toBe(before.pid);
    await Promise.all([task.wait(exec), task.kill({ ...exec, signal: SIGKILL })]);
    await task.delete(exec);
    expect(await task.state({ id: "host" })).toMatchObject({ pid: before.pid, status: Status.RUNNING });
  });

  test("starts no process whose terminal cannot be connected", async () => {
    const task = await taskOf("host");
    const exec = { id: "host", execId: "no-fifo" };
    const before = (await task.pids({ id: "host" })).processes.length;
    const spec = await processOf("host", FOREVER, { terminal: true });
    await task.exec({ ...exec, terminal: true, stdout: join(containerd.folder, "none"), spec });
    await expect(task.start(exec)).rejects.toThrow(/ENOENT.*none/);
    expect((await task.pids({ id: "host" })).processes.length).toBe(before);
    await task.delete(exec);
  });

  test("refuses to resize an exec that has ended", async () => {
    const task = await taskOf("host");
    const exec = { id: "host", execId: "ended" };
    await task.exec({ ...exec, spec: await processOf("host", ["/bin/true"]) });
    await Promise.all([task.wait(exec), task.start(exec)]);
    const resizing = task.resizePty({ ...exec, width: 80, height: 25 });
    await expect(resizing).rejects.toThrow("cannot resize a stopped container");
    await task.delete(exec);
  });

  test("reads the options that containerd's CRI plugin sends, and runs runc in the bundle, with pipes", async () => {
    const task = await taskOf("host");
    const wrapper = join(containerd.folder, "wrapper");
    const root = join(containerd.folder, "another-root");
    writeFileSync(
      wrapper,
      // A socket could not be opened by its name.
      `#!/bin/sh\necho wrapped >/dev/stderr || exit 9\ntest -f config.json && echo "$PWD" >>${wrapper}.log\nexec runc "$@"\n`,
    );
    chmodSync(wrapper, 0o755);
    const configBody = Buffer.from(`BinaryName = "${wrapper}"\nRoot = "${root}"\nSystemdCgroup = false\n`);
    const options = packAny(OptionsSchema, { configBody });
    const bundle = await createIn(task, "host", "options", { options });
    expect(readFileSync(`${wrapper}.log`, "utf8").split("\n")[0]).toBe(bundle);
    expect(readdirSync(join(root, containerd.ctr.namespace))).toEqual(["options"]);
    await task.delete({ id: "options" });
    rmSync(bundle, { recursive: true });
  });

  test("names the option that is wrong", async () => {
    const task = await taskOf("host");
    const configBody = Buffer.from("SystemdCgroup = 1\n");
    const creating = createIn(task, "host", "wrong", { options: packAny(OptionsSchema, { configBody }) });
    await expect(creating).rejects.toThrow(/SystemdCgroup .* must be a boolean, not 1/);
  });

  test("says in one line that the runtime's program is missing", async () => {
    const task = await taskOf("host");
    const options = packAny(OptionsSchema, { configBody: Buffer.from('BinaryName = "/none/runc"') });
    containerd.takeLog();
    await expect(createIn(task, "host", "missing", { options })).rejects.toThrow(/\/none\/runc/);
    expect(containerd.takeLog()).not.toMatch(/\n? +at /);
  });

  test("reports an OOM kill when it happens", async () => {
    await user.runDetached("hungry", FOREVER, ["--memory-limit", String(16 << 20)]);
    const task = await taskOf("hungry");
    const exec = { id: "hungry", execId: "eater" };
    // It outlives what it starts, so the kill is no exit that the shim sees.
    const script = "tail -c 100000000 /dev/zero; sleep 100000";
    await task.exec({ ...exec, spec: await processOf("hungry", ["/bin/sh", "-c", script]) });
    await task.start(exec);
    await vi.waitFor(() => expect(events.topics("hungry")).toContain("/tasks/oom"), 10_000);
    expect(await task.state(exec)).toMatchObject({ status: Status.RUNNING });
    await task.kill({ id: "hungry", signal: SIGKILL });
    await task.wait({ id: "hungry" });
    expect(events.topics("hungry").filter((topic) => topic === "/tasks/oom")).toHaveLength(1);
    await user.delete("hungry");
  });

  test.each(["without its options", "with options that are cut"])(
    "ends the processes of a container whose shim was killed, %s",
    async (name) => {
      const id = `killed-${name.length}`;
      await user.runDetached(id, FOREVER);
      const task = await taskOf(id);
      const { shimPid, taskPid } = await task.connect({ id });
      const file = join(containerd.bundle(id), "options.pb");
      if (name.startsWith("without")) rmSync(file);
      else writeFileSync(file, readFileSync(file).subarray(0, -1));
      process.kill(shimPid, "SIGKILL");
      await vi.waitFor(() => expect(existsSync(`/proc/${taskPid}`)).toBe(false), 10_000);
      await user.delete(id);
    },
  );
});

const topics = (...names: string[]) => names.map((name) => `/tasks/${name}`);
