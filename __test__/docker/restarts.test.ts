import { setTimeout as sleep } from "node:timers/promises";
import { expect, test, vi } from "vitest";
import { both } from "./both.js";
import type { Containers } from "./containers.js";
import { useRunning } from "../cri/suite.js";
import { Engine } from "./engine.js";

/** So little memory that a growing text is soon too much. */
const LIMIT = ["--memory", "20m", "--memory-swap", "20m"];
const SECONDS = { timeout: 30_000, interval: 100 };
const COUNTS = "trap 'exit 4' TERM; i=0; while :; do echo $((i++)); sleep 0.05; done";
const engine = useRunning(() => Engine.start());

// How often it was restarted by the end is a matter of time.
test(
  "--restart always starts a container again, until it is stopped",
  both(engine, { compareEvents: false }, async (c) => {
    await c.start("again", ["--restart", "always"], "echo run; exit 1");
    await vi.waitFor(async () => expect(await restarts(c, "again")).toBeGreaterThan(2), SECONDS);
    await c.succeed("stop", c.named("again"));
    const stopped = await restarts(c, "again");
    await sleep(1_000);
    expect(await restarts(c, "again")).toBe(stopped);
    expect(await c.state("again")).toMatchObject({ Status: "exited" });
    const runs = (await c.of("again", "logs")).stdout.split("\n").length - 1;
    // It may have been stopped before the last of them.
    expect([stopped, stopped + 1]).toContain(runs);
    await c.of("again", "rm");
  }),
);

test(
  "--restart on-failure:3 gives up after the third failure, and at once after success",
  both(engine, async (c) => {
    await c.start("failing", ["--restart", "on-failure:3"], "echo run; exit 7");
    await c.start("good", ["--restart", "on-failure:3"], "exit 0");
    await c.start(
      "healed",
      ["--restart", "on-failure:3"],
      "[ -e /tmp/before ] && exit 0; touch /tmp/before; exit 1",
    );
    await vi.waitFor(async () => {
      for (const name of ["failing", "good", "healed"])
        expect(await c.state(name)).toMatchObject({ Status: "exited" });
      expect(await restarts(c, "failing")).toBe(3);
    }, SECONDS);
    expect([await restarts(c, "good"), await restarts(c, "healed")]).toEqual([0, 1]);
    expect((await c.of("failing", "logs")).stdout).toBe("run\n".repeat(4));
  }),
);

test(
  "--restart starts a container again that was killed from outside",
  both(engine, async (c) => {
    await c.start("killed", ["--restart", "unless-stopped"], "sleep 1000");
    const { Pid: pid } = await c.state("killed");
    process.kill(pid, "SIGKILL");
    await vi.waitFor(async () => {
      const state = await c.state("killed");
      expect(state).toMatchObject({ Status: "running" });
      expect(state.Pid).not.toBe(pid);
    }, SECONDS);
  }),
);

test(
  "an OOM kill is told, as an event and in the state",
  both(engine, async (c) => {
    const grow = "x=a; while :; do x=$x$x; done";
    await c.start("grown", LIMIT, grow);
    expect(await c.printed("grown", "wait")).toBe("137");
    expect(await c.state("grown")).toMatchObject({ OOMKilled: true, ExitCode: 137 });
  }),
);

test(
  "an OOM kill in a container that goes on is told when it happens",
  both(engine, async (c) => {
    await c.start("survivor", LIMIT, "sh -c 'x=a; while :; do x=$x$x; done'; echo survived; sleep 1000");
    const events = () =>
      c.succeed("events", "--since", "1h", "--until", "0s", "--filter", `container=${c.named("survivor")}`);
    await vi.waitFor(async () => expect(await events()).toContain(" oom "), SECONDS);
    expect(await c.state("survivor")).toMatchObject({ Status: "running" });
  }),
);

test(
  "containers go on while dockerd is killed and started again, and lose no output",
  both(engine, async (c, together) => {
    await c.start("staying", [], COUNTS);
    await c.start("terminal", ["--tty"], COUNTS);
    await c.start("ending", c.holdable, c.held("echo late; exit 6"));
    await c.start("restarted", ["--restart", "on-failure:1", ...c.holdable], c.held("exit 8"));
    const before = await c.state("staying");
    await together(() => engine().endDockerd("SIGKILL"));
    // The two others end meanwhile.
    c.release();
    await sleep(3_000);
    await together(() => engine().startDockerd());
    expect(await c.state("staying")).toMatchObject({ Status: "running", Pid: before.Pid });
    expect(await c.printed("ending", "wait")).toBe("6");
    // What it printed is lost with either shim: nobody had its fifo open any more.
    expect((await c.of("ending", "logs")).stdout).toBe("");
    await vi.waitFor(async () => {
      expect(await c.state("restarted")).toMatchObject({ Status: "exited", ExitCode: 8 });
      expect(await restarts(c, "restarted")).toBe(1);
    }, SECONDS);
    expect((await c.exec("staying", [], "echo here")).stdout).toBe("here\n");
    expect((await c.exec("terminal", ["-t"], "echo here")).stdout).toBe("here\r\n");
    for (const name of ["staying", "terminal"]) {
      const printed = (await c.of(name, "logs")).stdout.split(/\r?\n/).length;
      await vi.waitFor(async () => {
        expect((await c.of(name, "logs")).stdout.split(/\r?\n/).length).toBeGreaterThan(printed + 20);
      }, SECONDS);
      await c.succeed("stop", c.named(name));
      expect(await c.state(name)).toMatchObject({ Status: "exited", ExitCode: 4 });
      const lines = (await c.of(name, "logs")).stdout.split(/\r?\n/).slice(0, -1);
      expectCounting(lines);
    }
  }),
);

// How often a process is tried until dockerd has found containerd again is a matter of time. The end of a container that
// ends meanwhile is lost to dockerd with either shim: containerd has it told before dockerd listens.
test(
  "containers go on while containerd is killed and started again",
  both(engine, { compareEvents: false }, async (c, together) => {
    await c.start("staying", ["-i"], COUNTS);
    const before = await c.state("staying");
    await together(() => engine().endContainerd("SIGKILL"));
    await sleep(3_000);
    await together(() => engine().startContainerd());
    await vi.waitFor(async () => {
      expect(await c.exec("staying", [], "echo here")).toMatchObject({ code: 0, stdout: "here\n" });
    }, SECONDS);
    expect(await c.state("staying")).toMatchObject({ Status: "running", Pid: before.Pid });
    await c.succeed("stop", c.named("staying"));
    expect(await c.state("staying")).toMatchObject({ Status: "exited", ExitCode: 4 });
    const lines = (await c.of("staying", "logs")).stdout.split("\n").slice(0, -1);
    expectCounting(lines);
  }),
);

/** Checks that the lines are the numbers from 0 on, without a gap. */
function expectCounting(lines: readonly string[]): void {
  expect(lines).toEqual(lines.map((_line, at) => String(at)));
}

async function restarts(c: Containers, name: string): Promise<number> {
  return Number(await c.printed(name, "inspect", "--format", "{{.RestartCount}}"));
}
