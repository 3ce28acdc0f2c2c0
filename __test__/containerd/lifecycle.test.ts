import { execFileSync, spawn } from "node:child_process";
import { readFileSync, rmSync } from "node:fs";
import { delimiter } from "node:path";
import { text } from "node:stream/consumers";
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { Containerd } from "./containerd.js";
import { describeWithEach } from "./releases.js";
import { EventsSeen, OWN, RUNC, SHIM_FOLDERS, type Shim, ShimUser, SKELETON, traces } from "./shims.js";
import { quoted } from "../helpers/shell.js";

const FOREVER = ["/bin/sleep", "100000"];
const LIFE: readonly string[] = ["/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete"];

describeWithEach("a shim", (release) => {
  let containerd: Containerd;

  beforeAll(async () => {
    // containerd's environment must not affect the output of a shim's start, which containerd reads.
    vi.stubEnv("NODE_OPTIONS", "--inspect=127.0.0.1:0 --trace-warnings");
    containerd = await Containerd.start({
      release: { ...release, path: [...SHIM_FOLDERS, release.path].join(delimiter) },
    });
    vi.unstubAllEnvs();
  });

  afterAll(async () => {
    await containerd?.stop();
  });

  beforeEach(async ({ task, onTestFailed }) => {
    // A second attempt starts without what the first left behind.
    if (task.result?.retryCount) await containerd.deleteContainers();
    containerd.takeLog();
    onTestFailed(() => console.error(containerd.takeLog()));
  });

  describe.each([OWN, RUNC, SKELETON])("$name", (shim) => {
    let user: ShimUser;
    beforeAll(() => {
      user = new ShimUser(containerd, shim);
    });

    test("delivers the output and the exit code of a process", async () => {
      expect(await user.run("zero", ["/bin/sh", "-c", "echo out; echo err >&2"])).toMatchObject({
        code: 0,
        stdout: "out\n",
        stderr: expect.stringMatching(/err\n$/),
      });
      expect(await user.run("seven", ["/bin/sh", "-c", "exit 7"])).toMatchObject({ code: 7 });
      // The first process of a pid namespace cannot be killed from inside, so this one exits with the code of a signal.
      expect(await user.run("large", ["/bin/sh", "-c", "exit 137"])).toMatchObject({ code: 137 });
    });

    test("has nothing left behind of a container whose program cannot be started", async () => {
      const { code, stderr } = await user.run("absent", ["/no/such/program"]);
      expect(code).toBe(1);
      expect(stderr).toMatch(/no such file|ENOENT/);
      expect(await containerd.ctr.tasks()).toEqual([]);
      expect(await containerd.ctr.containers()).not.toContain("absent");
    });

    test("passes stdin on, to its end", async () => {
      const output = await user.runWithInput(
        "echo",
        ["/bin/sh", "-c", "echo ready; cat"],
        "line 1\nline 2\n",
      );
      expect(output).toBe("ready\nline 1\nline 2\n");
    });

    test("delivers everything that a process prints before it ends", async () => {
      const { stdout } = await user.run("much", ["/bin/sh", "-c", "seq 1 50000"]);
      expect(stdout.split("\n")).toHaveLength(50_001);
      expect(stdout.endsWith("\n49999\n50000\n")).toBe(true);
    });

    test("runs a container in the background until it is killed", async () => {
      await user.runDetached("back", FOREVER);
      expect(await containerd.ctr.task("back")).toMatchObject({ status: "RUNNING" });
      await user.task("kill", "--signal", "SIGKILL", "back");
      await vi.waitFor(
        async () => expect((await containerd.ctr.task("back")).status).toBe("STOPPED"),
        10_000,
      );
      const { stderr } = await user.delete("back");
      expect(stderr).toContain("137");
      expect(await containerd.ctr.tasks()).toEqual([]);
    });

    test("causes the same containerd events as any other shim", async () => {
      using events = await EventsSeen.of(containerd);
      await user.run("told", ["/bin/sh", "-c", "exit 3"]);
      await events.tell("told", LIFE, shim);
      const ends = events.of("told").filter(({ topic }) => LIFE.indexOf(topic) > 1);
      expect(ends.map(({ event }) => event["exit_status"])).toEqual(ends.map(() => 3));
    });

    test("runs two containers at once", async () => {
      const [one, two] = await Promise.all([
        user.run("one", ["/bin/sh", "-c", "echo 1; sleep 0.2; exit 1"]),
        user.run("two", ["/bin/sh", "-c", "echo 2; sleep 0.2; exit 2"]),
      ]);
      expect(one).toMatchObject({ code: 1, stdout: "1\n" });
      expect(two).toMatchObject({ code: 2, stdout: "2\n" });
    });

    test("leaves nothing behind after fifty starts and deletes", { timeout: 120_000 }, async () => {
      const before = traces(containerd);
      for (let round = 0; round < 10; round++) {
        const ids = Array.from({ length: 5 }, (_, i) => `many-${round}-${i}`);
        const results = await Promise.all(ids.map((id, i) => user.run(id, ["/bin/sh", "-c", `exit ${i}`])));
        expect(results.map(({ code }) => code)).toEqual([0, 1, 2, 3, 4]);
      }
      await vi.waitFor(
        () => expect(traces(containerd).filter((line) => !before.includes(line))).toEqual([]),
        20_000,
      );
    });

    test("has its container cleaned up when it is killed, and the exit status is 137", async () => {
      using events = await EventsSeen.of(containerd);
      const before = traces(containerd);
      await user.runDetached("orphan", FOREVER);
      const socket = containerd.shimAddress("orphan").replace("unix://", "");
      process.kill(shimOf("orphan"), "SIGKILL");
      await vi.waitFor(() => expect(events.topics("orphan")).toEqual(LIFE), 20_000);
      expect(events.of("orphan")[2]?.event).toMatchObject({ exit_status: 137 });
      await containerd.ctr.deleteContainer("orphan");
      // containerd's own shim leaves its socket for the next one of this name.
      const stays = { [OWN.name]: /^\/run\/containerd\/s\// }[shim.name];
      await vi.waitFor(() => {
        const left = traces(containerd).filter((line) => !before.includes(line));
        expect(left.filter((line) => stays?.test(line) !== true)).toEqual([]);
      }, 10_000);
      rmSync(socket, { force: true });
      expect(strays()).toEqual([]);
    });

    test("keeps running while containerd is away, and is found again", async () => {
      await user.runDetached("kept", FOREVER);
      const before = await containerd.ctr.task("kept");
      const shimPid = shimOf("kept");
      await containerd.kill();
      await containerd.restart();
      expect(await containerd.ctr.task("kept")).toEqual(before);
      expect(shimOf("kept")).toBe(shimPid);
      using events = await EventsSeen.of(containerd);
      await user.task("kill", "--signal", "SIGKILL", "kept");
      await vi.waitFor(() => expect(events.topics("kept")).toEqual(["/tasks/exit"]), 10_000);
      await user.delete("kept");
      await events.tell("kept", ["/tasks/exit", "/tasks/delete"], shim);
    });
  });

  describe.each([OWN, RUNC])("$name", (shim) => {
    let user: ShimUser;
    beforeAll(() => {
      user = new ShimUser(containerd, shim);
    });

    test("runs further processes in a container", async () => {
      using events = await EventsSeen.of(containerd);
      await user.runDetached("host", FOREVER);
      const failing = await user.exec("host", "e1", ["/bin/sh", "-c", "echo out; echo err >&2; exit 5"]);
      expect(failing).toMatchObject({ code: 5, stdout: "out\n", stderr: expect.stringMatching(/err\n$/) });
      expect(await user.exec("host", "e2", ["/bin/cat"], "typed")).toMatchObject({
        code: 0,
        stdout: "typed",
      });
      const { code, stderr } = await user.exec("host", "e3", ["/no/such/program"]);
      expect(code).toBe(1);
      expect(stderr).toMatch(/no such file or directory/);
      await user.task("kill", "--signal", "SIGTERM", "--all", "host");
      await user.task("kill", "--signal", "SIGKILL", "host");
      await vi.waitFor(
        () => expect(events.topics("host").filter((topic) => topic === "/tasks/exit")).toHaveLength(3),
        10_000,
      );
      await user.delete("host");
      const exec = ["/tasks/exec-added", "/tasks/exec-started", "/tasks/exit"];
      const [created, started, ...ended] = LIFE;
      await events.tell("host", [created, started, ...exec, ...exec, "/tasks/exec-added", ...ended], shim);
    });

    test("pauses, resumes, lists and measures a container", async () => {
      using events = await EventsSeen.of(containerd);
      await user.runDetached("still", FOREVER, ["--memory-limit", String(64 << 20)]);
      await user.task("pause", "still");
      expect(await containerd.ctr.task("still")).toMatchObject({ status: "PAUSED" });
      await user.task("resume", "still");
      const { status, pid } = await containerd.ctr.task("still");
      expect(status).toBe("RUNNING");
      expect(await containerd.ctr.processes("still")).toEqual([{ pid, execId: undefined }]);
      expect(await user.task("metrics", "still")).toMatch(
        /memory\.limit_in_bytes\s+67108864|memory\.usage_limit\s+67108864/,
      );
      await user.task("kill", "--signal", "SIGKILL", "still");
      await vi.waitFor(() => expect(events.topics("still")).toContain("/tasks/exit"), 10_000);
      await user.delete("still");
      const [created, started, ...ended] = LIFE;
      await events.tell("still", [created, started, "/tasks/paused", "/tasks/resumed", ...ended], shim);
    });

    test("reports an out-of-memory kill before the exit", async () => {
      using events = await EventsSeen.of(containerd);
      const greedy = ["/bin/sh", "-c", "x=x; while true; do x=$x$x; done"];
      const { code } = await user.run("greedy", greedy, ["--memory-limit", String(16 << 20)]);
      expect(code).toBe(137);
      await vi.waitFor(() => expect(events.topics("greedy")).toContain("/tasks/oom"), 10_000);
    });

    test("gives a container a terminal of the size that ctr says", async () => {
      const run = user.runArguments(
        "tty",
        [
          "/bin/sh",
          "-c",
          'while [ -z "$s" ]; do s=$(stty size 2>/dev/null); sleep 0.05; done; echo size $s; exit 4',
        ],
        ["--rm", "--tty"],
      );
      const output = await withTerminal(containerd, "stty cols 101 rows 37", run);
      expect(output).toContain("size 37 101");
      expect(output).toContain("ended with 4");
    });

    test("puts the containers of a group into one shim", async () => {
      const group = ["--annotation", "io.containerd.runc.v2.group=pod"];
      await user.runDetached("first", FOREVER, group);
      await user.runDetached("second", FOREVER, group);
      expect(containerd.shimAddress("second")).toBe(containerd.shimAddress("first"));
      const pid = shimOf("first");
      for (const id of ["first", "second"]) {
        await user.task("kill", "--signal", "SIGKILL", id);
        await vi.waitFor(async () => expect((await containerd.ctr.task(id)).status).toBe("STOPPED"), 10_000);
        expect(isAlive(pid)).toBe(true);
        await user.delete(id);
      }
      await vi.waitFor(() => expect(isAlive(pid)).toBe(false), 10_000);
    });

    test("ends the processes that a container without its own pid namespace leaves", async () => {
      await user.runDetached("model", FOREVER);
      const { code } = await user.runWithSpec("shared", "model", ({ process, linux }) => {
        process.args = ["/bin/sh", "-c", "sleep 100001 & sleep 0.2"];
        linux.namespaces = linux.namespaces.filter(({ type }) => type !== "pid");
        linux.cgroupsPath = linux.cgroupsPath.replace("model", "shared");
      });
      expect(code).toBe(0);
      const running = () => execFileSync("ps", ["-eo", "args"], { encoding: "utf8" });
      await vi.waitFor(() => expect(running()).not.toMatch(/^sleep 100001/m), 10_000);
      await user.task("kill", "--signal", "SIGKILL", "model");
      await vi.waitFor(
        async () => expect((await containerd.ctr.task("model")).status).toBe("STOPPED"),
        10_000,
      );
      await user.delete("model");
    });
  });

  test.each([
    ["io.containerd.noderunc.v1", RUNC],
    ["io.containerd.skeleton.v1", SKELETON],
  ] satisfies [string, Shim][])("is found on the PATH as %s", async (runtime, { name }) => {
    const user = new ShimUser(containerd, { name, runtime });
    expect(await user.run("named", ["/bin/sh", "-c", "exit 6"])).toMatchObject({ code: 6 });
  });

  /** The process that serves a container. */
  function shimOf(id: string): number {
    const found = execFileSync("ps", ["-eo", "pid,args"], { encoding: "utf8" })
      .split("\n")
      .filter((line) => line.includes("containerd-shim") && line.includes(containerd.folder))
      .filter((line) => line.includes(` -id ${id} `));
    if (found.length !== 1) throw new Error(`the shims of ${id} are: ${found.join("; ") || "none"}`);
    return Number.parseInt(found[0] ?? "", 10);
  }

  /** The processes that a killed shim has left. */
  function strays(): number[] {
    return execFileSync("ps", ["-eo", "pid,ppid,args"], { encoding: "utf8" })
      .split("\n")
      .filter((line) => line.includes("sleep 100000") && / +\d+ +1 /.test(` ${line}`))
      .map((line) => Number.parseInt(line, 10));
  }
});

function isAlive(pid: number): boolean {
  try {
    return !readFileSync(`/proc/${pid}/stat`, "utf8").includes(") Z ");
  } catch {
    return false;
  }
}

/** Runs ctr on a terminal that a command has prepared. Resolves to what the terminal shows. */
async function withTerminal(
  { ctr, folder }: Containerd,
  prepare: string,
  args: readonly string[],
): Promise<string> {
  const command = ["ctr", "--address", ctr.address, "--namespace", ctr.namespace, ...args];
  const script = spawn(
    "script",
    ["--quiet", "--command", `${prepare}; ${quoted(command)}; echo ended with $?`, "/dev/null"],
    { cwd: folder, env: { ...process.env, PATH: ctr.release.path, SHELL: "/bin/sh" }, stdio: "pipe" },
  );
  // Its input stays open, because at its end `script` would end ctr.
  return text(script.stdout);
}
