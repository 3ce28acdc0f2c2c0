/**
 * What a user waits for, and what a shim takes: the time from `ctr run` to a container's first output and to its end, that
 * of the second container of a pod, memory, and wake-ups while idle. The example shims and containerd's own take turns on
 * one containerd.
 */

import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import type { Containerd } from "../../__test__/containerd/containerd.js";
import { toolOf } from "../../__test__/containerd/release.js";
import type { ShimFigures } from "../report/start.js";
import { ratios, spread } from "../report/statistics.js";

const execute = promisify(execFile);

/** What is measured. */
const WHAT = {
  first: { what: "first output of `ctr run`", unit: " ms", goal: { ratio: 2 } },
  second: { what: "first output of a pod's second container", unit: " ms", goal: { ratio: 1.3 } },
  end: { what: "`ctr run --rm` to its end", unit: " ms", goal: { ratio: 2.2 } },
  memory: { what: "private memory of a shim with one container", unit: " MiB", goal: { value: 9 } },
  wakeUps: { what: "wake-ups of an idle shim in ten seconds", unit: "", goal: { value: 0 } },
} as const;
type Measure = keyof typeof WHAT;

const example = (path: string) => fileURLToPath(new URL(`../../examples/${path}`, import.meta.url));
const RUNTIMES = {
  own: "io.containerd.runc.v2",
  runc: example("shim-runc/containerd-shim-noderunc-v1"),
  skeleton: example("shim-skeleton/containerd-shim-skeleton-v1"),
};
const GROUP = "io.containerd.runc.v2.group";
/** The memory of a shim hardly varies. */
const MEMORY_ROUNDS = 3;
/** V8 collects for the last time eight seconds after a start. */
const SETTLE_SECONDS = 10;
/** ctr loses the output of a container now and then, if it ends at once. */
const ATTEMPTS = 3;

/** Measures the shims on a containerd. An idle shim is left alone, and then watched for some seconds. */
export async function shimFigures(
  containerd: Containerd,
  { rounds, idleSeconds }: { readonly rounds: number; readonly idleSeconds: number },
): Promise<ShimFigures[]> {
  const own = new Measured(containerd, RUNTIMES.own);
  const ours = new Measured(containerd, RUNTIMES.runc);
  const skeleton = new Measured(containerd, RUNTIMES.skeleton);
  for (let round = 0; round < rounds; round++) {
    const shims = [own, ours, skeleton];
    for (const shim of round % 2 === 0 ? shims : shims.toReversed()) {
      await shim.container();
      // The skeleton has no groups.
      if (shim !== skeleton) await shim.pod();
    }
  }
  for (let round = 0; round < Math.min(rounds, MEMORY_ROUNDS); round++) {
    for (const shim of [own, ours, skeleton]) await shim.resident(idleSeconds, round === 0);
  }
  return (Object.keys(WHAT) as Measure[]).map((name) => {
    const [a = [], b = [], c = []] = [own, ours, skeleton].map(({ values }) => values[name]);
    const { what, unit, goal } = WHAT[name];
    return {
      what,
      unit,
      goal,
      own: spread(a),
      runc: spread(b),
      ratio: "ratio" in goal ? ratios(b, a) : undefined,
      skeleton: c.length > 0 ? spread(c) : undefined,
    };
  });
}

let count = 0;

/** One of the shims, with what was measured. */
class Measured {
  readonly values: Record<Measure, number[]> = { first: [], second: [], end: [], memory: [], wakeUps: [] };
  readonly #containerd: Containerd;
  readonly #ctr: string;
  readonly #runtime: string;

  constructor(containerd: Containerd, runtime: string) {
    this.#containerd = containerd;
    this.#ctr = toolOf(containerd.ctr.release, "ctr");
    this.#runtime = runtime;
  }

  #args(flags: readonly string[], id: string, ...command: string[]): string[] {
    const { folder, ctr } = this.#containerd;
    const runcRoot = this.#runtime === RUNTIMES.own ? ["--runc-root", join(folder, "runc")] : [];
    const global = ["--address", ctr.address, "--namespace", ctr.namespace];
    const run = ["run", "--runtime", this.#runtime, ...runcRoot, "--fifo-dir", join(folder, "fifos")];
    return [...global, ...run, ...flags, "--rootfs", join(folder, "rootfs"), id, ...command];
  }

  /** Milliseconds to the first output and to the end of `ctr run --rm`. */
  async #time(flags: readonly string[]): Promise<{ first: number; end: number }> {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const { first, end } = await this.#timeOnce(flags);
      if (first !== undefined) return { first, end };
    }
    throw new Error(`${ATTEMPTS} containers of ${this.#runtime} ended without any output`);
  }

  async #timeOnce(flags: readonly string[]): Promise<{ first: number | undefined; end: number }> {
    const start = performance.now();
    const args = this.#args(["--rm", ...flags], `time-${count++}`, "/bin/echo", "x");
    const child = spawn(this.#ctr, args, { stdio: ["ignore", "pipe", "ignore"] });
    const closed = once(child, "close");
    let first: number | undefined;
    child.stdout.once("data", () => (first = performance.now() - start));
    await closed;
    return { first, end: performance.now() - start };
  }

  async container(): Promise<void> {
    const { first, end } = await this.#time([]);
    this.values.first.push(first);
    this.values.end.push(end);
  }

  /** The second container of a pod. */
  async pod(): Promise<void> {
    const id = `pod-${count++}`;
    const flags = ["--annotation", `${GROUP}=${id}`];
    await this.#detached(id, flags);
    const { first } = await this.#time(flags);
    this.values.second.push(first);
    await this.#remove(id);
  }

  /** Memory of a shim whose one container sleeps, and how often it wakes up. */
  async resident(idleSeconds: number, watched: boolean): Promise<void> {
    const id = `memory-${count++}`;
    await this.#detached(id);
    const pid = shimOf(id);
    await sleep(SETTLE_SECONDS * 1000);
    const memory = readFileSync(`/proc/${pid}/smaps_rollup`, "utf8");
    this.values.memory.push(Number(/^Private_Dirty: +(\d+)/m.exec(memory)?.[1]) / 1024);
    if (watched) {
      const before = wakeUps(pid);
      await sleep(idleSeconds * 1000);
      this.values.wakeUps.push(wakeUps(pid) - before);
    }
    await this.#remove(id);
  }

  async #detached(id: string, flags: readonly string[] = []): Promise<void> {
    await execute(this.#ctr, this.#args(["--detach", "--null-io", ...flags], id, "/bin/sleep", "100000"));
  }

  async #remove(id: string): Promise<void> {
    await this.#containerd.ctr.deleteTask(id, { force: true });
    await this.#containerd.ctr.deleteContainer(id);
  }
}

/** The shim of a container: the process that was started with its id. */
function shimOf(id: string): number {
  const pid = readdirSync("/proc").find((name) => {
    if (!/^\d+$/.test(name)) return false;
    try {
      return readFileSync(`/proc/${name}/cmdline`, "utf8").includes(`\0-id\0${id}\0`);
    } catch {
      return false;
    }
  });
  if (pid === undefined) throw new Error(`no shim of ${id} runs`);
  return Number(pid);
}

/** How often the threads of a process have gone to sleep. */
function wakeUps(pid: number): number {
  return readdirSync(`/proc/${pid}/task`)
    .map((thread) => {
      const status = readFileSync(`/proc/${pid}/task/${thread}/status`, "utf8");
      return Number(/^voluntary_ctxt_switches:\s+(\d+)/m.exec(status)?.[1]);
    })
    .reduce((sum, one) => sum + one, 0);
}
