import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import {
  type Client,
  Code,
  connect,
  type Connection,
  createClient,
  packAny,
  type TtrpcError,
} from "containerd-shim-protos";
import { CheckpointOptionsSchema } from "containerd-shim-protos/runc";
import { Task as TaskV2 } from "containerd-shim-protos/task/v2";
import { Status, Task } from "containerd-shim-protos/task/v3";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { Containerd } from "./containerd.js";
import { processLike, showLogOfFailures } from "./direct.js";
import { makeImage } from "./image.js";
import { describeWithEach, packaged } from "./releases.js";
import { findTool } from "./requirements.js";
import { RUNC, ShimUser, traces } from "./shims.js";
import { makeFifo } from "../helpers/shell.js";

const FOREVER = ["/bin/sleep", "100000"];
const SIGKILL = 9;

describeWithEach("examples/shim-runc", (release) => {
  let containerd: Containerd;
  let user: ShimUser;
  let connection: Connection;
  let task: Client<typeof Task>;

  beforeAll(async () => {
    containerd = await Containerd.start({ release });
    user = new ShimUser(containerd, RUNC);
    await user.runDetached("box", FOREVER, ["--memory-limit", String(64 << 20)]);
    connection = await connect(containerd.shimAddress("box"));
    // Each containerd calls one of the two services, and the shim serves both.
    const other = release === packaged ? Task : TaskV2;
    task = createClient(other, connection) as Client<typeof Task>;
  });

  afterAll(async () => {
    try {
      await connection?.close();
    } finally {
      await containerd?.stop();
    }
  });

  showLogOfFailures(() => containerd);

  test("mounts the root filesystem that a snapshotter has prepared, and unmounts it", async () => {
    const image = join(containerd.folder, "image.tar");
    makeImage("example.com/box:latest", [join(containerd.folder, "rootfs")], image);
    const local = release === packaged ? [] : ["--local"];
    const imported = await containerd.ctr.command([
      "image",
      "import",
      ...local,
      "--snapshotter",
      "native",
      image,
    ]);
    expect(imported).toMatchObject({ code: 0 });
    const before = traces(containerd);
    const run = user.runArguments("image", [], ["--rm", "--snapshotter", "native"]);
    const flags = run.slice(0, run.indexOf("--rootfs"));
    const script = "touch /written; grep ' / ' /proc/self/mounts; exit 8";
    const result = await containerd.ctr.command([
      ...flags,
      "example.com/box:latest",
      "image",
      "/bin/sh",
      "-c",
      script,
    ]);
    expect(result).toMatchObject({ code: 8 });
    await vi.waitFor(() => expect(traces(containerd)).toEqual(before), 10_000);
  });

  test("sets the size of an exec's terminal", async () => {
    const output = join(containerd.folder, "tty");
    makeFifo(output);
    const reader = readFile(output, "utf8");
    const exec = { id: "box", execId: "tty" };
    const script = 'while [ -z "$s" ]; do s=$(stty size); sleep 0.05; done; echo size $s; seq 1 20000';
    await task.exec({
      ...exec,
      terminal: true,
      stdout: output,
      spec: await processOf(["/bin/sh", "-c", script], true),
    });
    const waiting = task.wait(exec);
    await task.start(exec);
    await task.resizePty({ ...exec, width: 120, height: 50 });
    expect(await waiting).toMatchObject({ exitStatus: 0 });
    await task.delete(exec);
    const lines = (await reader).split("\r\n");
    expect(lines).toContain("size 50 120");
    expect(lines.slice(-3)).toEqual(["19999", "20000", ""]);
    await expect(task.resizePty({ ...exec, width: 1, height: 1 })).rejects.toMatchObject({
      code: Code.NotFound,
    });
  });

  test("writes what a process prints to a file", async () => {
    const file = join(containerd.folder, "logs", "out.log");
    const exec = { id: "box", execId: "file" };
    const io = { stdout: `file://${file}`, stderr: `file://${file}` };
    await task.exec({ ...exec, ...io, spec: await processOf(["/bin/sh", "-c", "echo out; echo err >&2"]) });
    const waiting = task.wait(exec);
    await task.start(exec);
    await waiting;
    await task.delete(exec);
    expect(readFileSync(file, "utf8").split("\n").toSorted()).toEqual(["", "err", "out"]);
  });

  test("changes the limits of a running container", async () => {
    const typeUrl = "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources";
    const value = Buffer.from(JSON.stringify({ memory: { limit: 48 << 20 } }));
    await task.update({ id: "box", resources: { typeUrl, value } });
    const { memory } = await containerd.ctr.metrics("box");
    const limits = [memory?.usage_limit, typeof memory?.usage === "object" ? memory.usage.limit : undefined];
    expect(limits).toContain(48 << 20);
  });

  test("lists the processes of execs with their ids", async () => {
    const exec = { id: "box", execId: "listed" };
    await task.exec({ ...exec, spec: await processOf(FOREVER) });
    const { pid } = await task.start(exec);
    expect(await containerd.ctr.processes("box")).toContainEqual({ pid, execId: "listed" });
    const waiting = task.wait(exec);
    await task.kill({ ...exec, signal: SIGKILL });
    expect(await waiting).toMatchObject({ exitStatus: 137 });
    await task.delete(exec);
  });

  test("refuses a second start", async () => {
    const exec = { id: "box", execId: "twice" };
    await task.exec({ ...exec, spec: await processOf(FOREVER) });
    await task.start(exec);
    await expect(task.start(exec)).rejects.toMatchObject({ rawMessage: "cannot start a running process" });
    expect(await task.state(exec)).toMatchObject({ status: Status.RUNNING });
    await Promise.all([task.wait(exec), task.kill({ ...exec, signal: SIGKILL })]);
    await task.delete(exec);
  });

  test("reports the exit of an exec that ends at once after its start", async () => {
    for (let i = 0; i < 10; i++) {
      const exec = { id: "box", execId: `quick-${i}` };
      await task.exec({ ...exec, spec: await processOf(["/bin/true"]) });
      const [, { exitStatus }] = await Promise.all([task.start(exec), task.wait(exec)]);
      expect(exitStatus).toBe(0);
      await task.delete(exec);
    }
    expect(existsSync(`/proc/${(await task.connect({ id: "box" })).shimPid}`)).toBe(true);
  });

  test("writes a checkpoint, or says that criu is missing or unable", async () => {
    const path = join(containerd.folder, "checkpoint");
    mkdirSync(path);
    const options = packAny(CheckpointOptionsSchema, {});
    const outcome = await task.checkpoint({ id: "box", path, options }).then(
      () => (existsSync(join(path, "inventory.img")) ? "written" : "nothing"),
      ({ rawMessage }: TtrpcError) => rawMessage,
    );
    const works = spawnSync("criu", ["check"], { env: { PATH: release.path } }).status === 0;
    const failure =
      findTool("criu") === undefined ? /needs criu/ : /^OCI runtime checkpoint failed: criu failed/;
    expect(outcome).toMatch(works ? /^written$/ : failure);
    expect(await task.state({ id: "box" })).toMatchObject({ status: Status.RUNNING });
  });

  const processOf = (args: string[], terminal = false) => processLike(containerd, "box", { args, terminal });
});
