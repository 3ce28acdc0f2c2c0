import { afterEach, expect, test, vi } from "vitest";
import { Containers } from "./containers.js";
import { useRunning } from "../cri/suite.js";
import { Engine, traces } from "./engine.js";
import { NODE, OWN, type Runtime } from "./runtimes.js";

const AT_ONCE = 50;
/** How many containers are run and removed one after the other. */
const CYCLES = Number(process.env["DOCKER_CYCLES"] ?? 10);
const RUNTIMES: [string, Runtime][] = [OWN, NODE].map((runtime) => [runtime.name, runtime]);
const SECONDS = { timeout: 30_000, interval: 200 };
const engine = useRunning(() => Engine.start());

afterEach(async () => {
  await engine().removeContainers();
});

test.each(RUNTIMES)(
  `${AT_ONCE} containers of %s start, run and end at once`,
  { timeout: 600_000 },
  async (_, runtime) => {
    const started = Date.now();
    const c = new Containers(engine(), runtime);
    const names = Array.from({ length: AT_ONCE }, (_unused, at) => `c${at}`);
    const script = (at: number) =>
      `trap 'echo bye ${at}; exit ${at}' TERM; echo ${at}; while :; do sleep 0.2; done`;
    await Promise.all(names.map((name, at) => c.start(name, [], script(at))));
    const ids = names.map((name) => c.named(name));
    for (const name of names) expect(await c.state(name)).toMatchObject({ Status: "running" });
    await Promise.all(
      names.map(async (name, at) => {
        await vi.waitFor(async () => expect((await c.of(name, "logs")).stdout).toBe(`${at}\n`), SECONDS);
        expect(await c.exec(name, [], `exit ${at}`)).toMatchObject({ code: at });
      }),
    );
    await c.succeed("stop", ...ids);
    await Promise.all(
      names.map(async (name, at) => {
        expect(await c.printed(name, "wait")).toBe(String(at));
        expect((await c.of(name, "logs")).stdout).toBe(`${at}\nbye ${at}\n`);
      }),
    );
    await c.succeed("rm", ...ids);
    await vi.waitFor(() => expect(traces()).toEqual([]), SECONDS);
    console.log(`${AT_ONCE} at once with ${runtime.name}: ${seconds(started)} s`);
  },
);

test.each(RUNTIMES)(
  `${CYCLES} containers of %s run one after the other, and leave nothing`,
  { timeout: 60_000 + CYCLES * 20_000 },
  async (_, runtime) => {
    const started = Date.now();
    const c = new Containers(engine(), runtime);
    for (let at = 0; at < CYCLES; at++) {
      const result = await c.script(["-i"], `cat; exit ${at % 100}`, `${at}\n`);
      expect(result).toEqual({ code: at % 100, stdout: `${at}\n`, stderr: "" });
    }
    await vi.waitFor(() => expect(traces()).toEqual([]), SECONDS);
    console.log(`${CYCLES} one after the other with ${runtime.name}: ${seconds(started)} s`);
  },
);

const seconds = (since: number) => Math.round((Date.now() - since) / 1000);
