import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { shims } from "./machine/traces.js";
import { HANDLERS, Node, OWN, traces, withOptions } from "./node.js";
import { Pods } from "./pods.js";
import { useRunning } from "./suite.js";

const SECONDS = { timeout: 30_000, interval: 200 };

describe.each(HANDLERS)("pods of %s", (_, handler) => {
  const running = useRunning(() => Node.start());
  let node: Node;
  let pods: Pods;

  beforeAll(() => {
    node = running();
    pods = new Pods(node, handler);
  });

  afterEach(async () => {
    await node.crictl(["rmp", "--all", "--force"]);
  });

  test("have two containers that share a network and a shim", async () => {
    const pod = await pods.run();
    const server = await pods.start(
      pod,
      "echo serving; echo here > /tmp/index.html; httpd -f -p 8080 -h /tmp",
    );
    const client = await pods.start(pod, "sleep 1000");
    await vi.waitFor(async () => {
      const { stdout } = await pods.exec(client, "wget", "-qO-", "http://127.0.0.1:8080/");
      expect(stdout).toBe("here\n");
    }, SECONDS);
    expect(shims(pod)).toHaveLength(1);
    expect([...shims(server), ...shims(client)]).toEqual([]);
    await pods.remove(pod);
    await vi.waitFor(() => expect(traces()).toEqual([]), SECONDS);
  });

  test("run commands with their output, input and code", async () => {
    const pod = await pods.run();
    const id = await pods.start(pod, "sleep 1000");
    expect(await pods.exec(id, "sh", "-c", "echo out; echo err >&2; exit 5")).toMatchObject({
      code: 1,
      stdout: "out\n",
      // What crictl says of the code, for its own is 1.
      stderr: expect.stringMatching(/^err\n[^]*exit code 5/),
    });
    const sync = await node.crictl(["exec", "--sync", id, "sh", "-c", "sleep 0.5; seq 1 20000"]);
    // crictl adds lines that are empty.
    expect(sync.stdout.trim().split("\n")).toHaveLength(20_000);
    const typed = await node.crictl(
      ["exec", "--interactive", id, "sh", "-c", "sleep 0.5; cat /dev/stdin"],
      "typed\n",
    );
    expect(typed).toMatchObject({ code: 0, stdout: "typed\n" });
  });

  test("have logs with all that their containers have printed", async () => {
    const pod = await pods.run();
    const id = await pods.start(pod, "seq 1 50000; echo failed >&2; exit 3");
    await vi.waitFor(async () => {
      expect(await pods.status(id)).toMatchObject({
        state: "CONTAINER_EXITED",
        exitCode: 3,
        reason: "Error",
      });
    }, SECONDS);
    const lines = (await pods.logs(id)).split("\n");
    expect(lines).toHaveLength(50_002);
    expect(lines).toContain("failed");
    expect(lines).toContain("50000");
  });

  test("go on while containerd is away, and are found again", async () => {
    const pod = await pods.run();
    const script = "trap 'exit 4' TERM; i=0; while :; do echo $((i++)); sleep 0.05; done";
    const staying = await pods.start(pod, script);
    const ending = await pods.start(pod, "sleep 2; exit 6");
    const pid = await pods.pid(staying);
    const [shim] = shims(pod);
    await node.endDaemon("SIGKILL");
    const before = pods.printed(staying).length;
    // The other ends meanwhile.
    await sleep(3_000);
    await node.startDaemon();
    expect(await pods.podState(pod)).toBe("SANDBOX_READY");
    expect(await pods.status(staying)).toMatchObject({ state: "CONTAINER_RUNNING" });
    expect(await pods.pid(staying)).toBe(pid);
    expect(shims(pod)).toEqual([shim]);
    // containerd cannot learn the code of what ended meanwhile.
    await vi.waitFor(async () => expect((await pods.status(ending)).state).toBe("CONTAINER_EXITED"), SECONDS);
    expect((await pods.exec(staying, "echo", "here")).stdout).toBe("here\n");
    await vi.waitFor(() => {
      expect(pods.printed(staying).length).toBeGreaterThan(before + 50);
    }, SECONDS);
    await pods.stop(staying);
    expect(await pods.status(staying)).toMatchObject({ state: "CONTAINER_EXITED", exitCode: 4 });
    // What it printed while nobody read is there as well.
    const printed = pods.printed(staying);
    expect(printed).toEqual(printed.map((_line, at) => String(at)));
    await pods.remove(pod);
    await vi.waitFor(() => expect(traces()).toEqual([]), SECONDS);
  });

  test("whose shim is killed are seen to end, and can be removed", async () => {
    const pod = await pods.run();
    const ids = [await pods.start(pod, "sleep 1000"), await pods.start(pod, "sleep 1000")];
    const found = shims(pod);
    expect(found).toHaveLength(1);
    for (const pid of found) process.kill(pid, "SIGKILL");
    for (const id of ids) {
      await vi.waitFor(async () => expect((await pods.status(id)).state).toBe("CONTAINER_EXITED"), SECONDS);
      expect((await pods.status(id)).exitCode).not.toBe(0);
    }
    await vi.waitFor(async () => expect(await pods.podState(pod)).toBe("SANDBOX_NOTREADY"), SECONDS);
    await pods.remove(pod);
    await vi.waitFor(() => expect(traces()).toEqual([]), SECONDS);
  });

  test("that a loss of power ended are known to have ended, and make room for others", async () => {
    const pod = await pods.run();
    const id = await pods.start(pod, "sleep 1000");
    await node.losePower();
    expect(traces()).toEqual([]);
    await node.startDaemon();
    expect(await pods.podState(pod)).toBe("SANDBOX_NOTREADY");
    expect(await pods.status(id)).toMatchObject({ state: "CONTAINER_EXITED" });
    const next = await pods.run();
    const started = await pods.start(next, "echo back; sleep 1000");
    await vi.waitFor(async () => expect(await pods.logs(started)).toBe("back\n"), SECONDS);
    for (const each of [pod, next]) await pods.remove(each);
    await vi.waitFor(() => expect(traces()).toEqual([]), SECONDS);
  });

  test("take the options of their handler, the runc and its folder", async () => {
    const other = withOptions(handler);
    const others = new Pods(node, other);
    const pod = await others.run();
    const id = await others.start(pod, "sleep 1000");
    expect((await others.exec(id, "echo", "here")).stdout).toBe("here\n");
    const calls = () => readFileSync(`${other.runc}.calls`, "utf8");
    for (const command of ["create", "start", "exec"]) expect(calls()).toContain(` ${command} `);
    expect(readdirSync(join(other.root, "k8s.io")).toSorted()).toEqual([pod, id].toSorted());
    await others.remove(pod);
    expect(calls()).toContain(" delete ");
    expect(readdirSync(join(other.root, "k8s.io"))).toEqual([]);
  });

  test("have users of their own", async ({ skip }) => {
    const features = await node.features(OWN);
    skip(!features.user_namespaces, "needs a kernel and a runc that map the ids of mounts");
    expect(await node.features(handler)).toEqual(features);
    const users = { hostId: 200_000, length: 65_536 };
    const pod = await pods.run(users);
    const script = "echo out > /dev/stdout; echo err > /dev/stderr; stat -c '%u %g' /bin/busybox; sleep 1000";
    const id = await pods.start(pod, script, users);
    const { stdout } = await pods.exec(id, "cat", "/proc/self/uid_map");
    expect(stdout.trim().split(/\s+/)).toEqual(["0", "200000", "65536"]);
    await vi.waitFor(async () => {
      expect((await pods.logs(id)).split("\n").toSorted()).toEqual(["", "0 0", "err", "out"]);
    }, SECONDS);
    await pods.remove(pod);
    await vi.waitFor(() => expect(traces()).toEqual([]), SECONDS);
  });
});
