import { expect, test, vi } from "vitest";
import { both } from "./both.js";
import { stats } from "./stats.js";
import { useRunning } from "../cri/suite.js";
import { Engine } from "./engine.js";
import { expectTerminal, TERMINAL_SCRIPT } from "./terminal.js";

const SECONDS = { timeout: 20_000, interval: 100 };
const engine = useRunning(() => Engine.start());

test(
  "docker exec gives output, input and code of a process",
  both(engine, async (c) => {
    await c.start("host", [], "sleep 1000");
    const results = [
      await c.exec("host", [], "echo out; echo err >&2; exit 5"),
      await c.exec("host", ["-i"], "sleep 0.5; cat < /dev/stdin; exit 7", "in\n"),
      await c.exec("host", ["-t"], "tty; seq 1 2000; exit 4"),
      await c.exec("host", ["--user", "1000", "--workdir", "/var", "--env", "A=b"], "id; pwd; echo $A"),
      await c.exec("host", [], "kill -KILL $$"),
      await engine().docker(["exec", c.named("host"), "/no/such/program"]),
      await engine().docker(["exec", c.named("host"), "/etc"]),
    ];
    expect(results.map(({ code }) => code)).toEqual([5, 7, 4, 0, 137, 127, 126]);
    expect(results[1]?.stdout).toBe("in\n");
    expect(results[2]?.stdout.split("\r\n").slice(-2)).toEqual(["2000", ""]);
    return results;
  }),
);

test(
  "docker exec shows what comes late, and what processes that it left behind print",
  both(engine, async (c) => {
    await c.start("host", [], "sleep 1000");
    expect(await c.exec("host", [], "sleep 1; echo late")).toMatchObject({ code: 0, stdout: "late\n" });
    const leaving = await c.exec("host", [], "(sleep 1; echo later) & echo first");
    expect(leaving).toMatchObject({ code: 0, stdout: "first\nlater\n" });
  }),
);

test(
  "docker exec on a terminal gives its size and what is typed",
  both(engine, async (c) => {
    await c.start("host", [], "sleep 1000");
    await expectTerminal(c, ["exec", "-it", c.named("host"), "sh", "-c", `sleep 0.5; ${TERMINAL_SCRIPT}`]);
  }),
);

// A check and the process that makes it fail run at the same time.
test(
  "health checks tell whether a container is healthy",
  both(engine, { compareEvents: false }, async (c) => {
    const healthy = [
      "--health-cmd",
      "test -e /tmp/healthy",
      "--health-interval",
      "200ms",
      "--health-retries",
      "2",
    ];
    await c.start("checked", healthy, "touch /tmp/healthy; sleep 1000");
    const health = () => c.printed("checked", "inspect", "--format", "{{.State.Health.Status}}");
    await vi.waitFor(async () => expect(await health()).toBe("healthy"), SECONDS);
    await c.exec("checked", ["--detach"], "rm /tmp/healthy");
    await vi.waitFor(async () => expect(await health()).toBe("unhealthy"), SECONDS);
  }),
);

for (const driver of ["json-file", "local"]) {
  test(
    `docker logs has all that was printed, by the driver ${driver}`,
    both(engine, async (c) => {
      const flags = ["--log-driver", driver];
      await c.start("many", flags, "seq 1 50000; echo failed >&2; exit 3");
      expect(await c.printed("many", "wait")).toBe("3");
      const many = await c.of("many", "logs");
      expect(many.stdout.split("\n")).toHaveLength(50_001);
      expect(many.stderr).toBe("failed\n");
      await c.start("terminal", ["--tty", ...flags], "seq 1 2000; printf end");
      await c.of("terminal", "wait");
      const terminal = await c.of("terminal", "logs");
      expect(terminal.stdout.endsWith("\r\n2000\r\nend")).toBe(true);
      await c.start("followed", flags, "echo first; sleep 1; echo last");
      const followed = await c.of("followed", "logs", "--follow");
      expect(followed.stdout).toBe("first\nlast\n");
      return [many, terminal, followed];
    }),
  );
}

test(
  "docker attach and docker start -ai show a container that runs already or again",
  both(engine, async (c) => {
    await c.start("again", ["-i"], "sleep 1; echo out; exit 6");
    expect(await c.of("again", "attach", "--no-stdin")).toMatchObject({ code: 6, stdout: "out\n" });
    await c.succeed(
      "create",
      "--name",
      c.named("fed"),
      "--interactive",
      "--runtime",
      c.runtime.runtime,
      "busybox:test",
      "cat",
    );
    const fed = await engine().docker(["start", "--attach", "--interactive", c.named("fed")], "typed\n");
    expect(fed).toMatchObject({ code: 0, stdout: "typed\n" });
    await c.of("fed", "rm");
  }),
);

test(
  "docker stop, kill, restart and wait end containers with their codes",
  both(engine, async (c) => {
    const trap =
      "trap 'echo bye; exit 9' TERM; trap 'echo usr' USR1; echo ready; while :; do sleep 0.1; done";
    const ready = async (name: string) =>
      vi.waitFor(async () => expect((await c.of(name, "logs")).stdout).toContain("ready"), SECONDS);
    await c.start("willing", [], trap);
    await ready("willing");
    await c.of("willing", "kill", "--signal", "USR1");
    await vi.waitFor(async () => expect((await c.of("willing", "logs")).stdout).toContain("usr"), SECONDS);
    const waited = c.printed("willing", "wait");
    expect(await c.of("willing", "stop")).toMatchObject({ code: 0 });
    expect(await waited).toBe("9");
    expect((await c.of("willing", "logs")).stdout).toBe("ready\nusr\nbye\n");

    await c.start("stubborn", [], "trap '' TERM; echo ready; sleep 1000");
    await ready("stubborn");
    await c.of("stubborn", "stop", "--timeout", "1");
    expect(await c.state("stubborn")).toMatchObject({ Status: "exited", ExitCode: 137 });
    expect(await c.of("stubborn", "restart", "--timeout", "0")).toMatchObject({ code: 0 });
    expect(await c.state("stubborn")).toMatchObject({ Status: "running" });
    expect(await c.of("stubborn", "kill")).toMatchObject({ code: 0 });
    return c.of("stubborn", "kill").then(({ code }) => code);
  }),
);

test(
  "docker pause, unpause, top, update and stats see and set what runs",
  both(engine, async (c) => {
    const flags = ["--memory", "32m", "--memory-swap", "32m"];
    await c.start("busy", flags, "sleep 1001 & i=0; while :; do i=$((i+1)); done");
    await c.succeed("pause", c.named("busy"));
    expect(await c.state("busy")).toMatchObject({ Status: "paused" });
    expect((await c.exec("busy", [], "true")).stderr).toContain("is paused");
    const used = async () => Number((await stats(c.named("busy"))).cpu_stats.cpu_usage.total_usage);
    const before = await used();
    expect(await used()).toBe(before);
    await c.succeed("unpause", c.named("busy"));
    await vi.waitFor(async () => expect(await used()).toBeGreaterThan(before), SECONDS);

    const top = await c.printed("busy", "top");
    expect(top.split("\n")).toHaveLength(3);
    expect(top).toContain("sleep 1001");
    await c.succeed(
      "update",
      "--memory",
      "64m",
      "--memory-swap",
      "64m",
      "--cpus",
      "0.5",
      "--pids-limit",
      "70",
      c.named("busy"),
    );
    const seen = await stats(c.named("busy"));
    expect(seen).toMatchObject({ memory_stats: { limit: 64 << 20 }, pids_stats: { limit: 70 } });
    const refused = await c.of("busy", "update", "--cpuset-cpus", "4000");
    expect(refused.code).toBe(1);
    // The values differ from one moment to the next.
    return { shape: shapeOf(seen), refused: refused.stderr.replaceAll(/[0-9a-f]{64}/g, "ID") };
  }),
);

test(
  "docker cp, diff, commit and rename work on a container that runs",
  both(engine, async (c) => {
    await c.start("source", [], "echo made > /made; sleep 1000");
    await vi.waitFor(async () => expect((await c.of("source", "diff")).stdout).toContain("A /made"), SECONDS);
    await c.succeed("cp", `${c.named("source")}:/made`, `/run/tmp/${c.named("copy")}`);
    await c.succeed("cp", `/run/tmp/${c.named("copy")}`, `${c.named("source")}:/back`);
    expect((await c.exec("source", [], "cat /back")).stdout).toBe("made\n");
    const image = `made:${c.named("image")}`;
    await c.succeed("commit", c.named("source"), image);
    await c.succeed("rename", c.named("source"), c.named("renamed"));
    const runtime = ["--runtime", c.runtime.runtime];
    expect(await c.succeed("run", "--rm", ...runtime, image, "cat", "/made")).toBe("made\n");
    await c.of("renamed", "rm", "--force");
  }),
);

test(
  "docker checkpoint does its work, or says that criu has failed, and the container goes on",
  both(engine, async (c) => {
    await c.start(
      "kept",
      ["--security-opt", "seccomp=unconfined"],
      "i=0; while :; do echo $((i++)); sleep 0.1; done",
    );
    const made = await engine().docker(["checkpoint", "create", "--leave-running", c.named("kept"), "one"]);
    if (made.code !== 0) expect(made.stderr).toContain("criu failed");
    expect(await c.state("kept")).toMatchObject({ Status: "running" });
    const stopped = await c.of("kept", "stop", "--timeout", "0");
    if (made.code === 0) {
      await c.succeed("start", "--checkpoint", "one", c.named("kept"));
      expect(await c.state("kept")).toMatchObject({ Status: "running" });
    }
    return [made.code, stopped.code];
  }),
);

/** An object with its keys, and the types of its values, without their number where that depends on the machine. */
function shapeOf(value: unknown): unknown {
  if (Array.isArray(value)) return value.length === 0 ? [] : [shapeOf(value[0])];
  if (typeof value !== "object" || value === null) return typeof value;
  const entries = Object.entries(value).filter(([key]) => !["id", "name"].includes(key));
  return Object.fromEntries(entries.map(([key, inner]) => [key, shapeOf(inner)]));
}
