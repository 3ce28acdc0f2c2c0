/** What a package costs apart from its calls: load time, memory, and idle CPU time. */

import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { type Contestant, type Name, script } from "../contenders/index.js";
import { type Spread, spread } from "../report/statistics.js";
import type { Processes } from "../run/processes.js";

const run = promisify(execFile);

/** Load times in milliseconds, without Node's own start. */
export interface LoadTime {
  readonly label: string;
  readonly load: Spread;
  readonly call: Spread;
}

/** How many bytes a process grows by, with everything that it loads. */
export interface Memory {
  readonly label: string;
  readonly firstCall: number;
  readonly afterLoad: number;
}

/** CPU time while idle. */
export interface Idle {
  readonly name: Name;
  readonly label: string;
  /** Milliseconds, second by second. */
  readonly cpuMs: readonly number[];
}

export interface Costs {
  load: readonly LoadTime[];
  memory: readonly Memory[];
  idle: readonly Idle[];
}

const FIRST_CALL = join(import.meta.dirname, "../contenders/first-call.mjs");

/** Measures load times in new processes, one after another, the contenders taking turns. */
export async function loadTimes(
  processes: Processes,
  contestants: ReadonlyMap<Name, Contestant>,
  times: number,
): Promise<LoadTime[]> {
  const all = [
    { what: "package", label: "this package, a call with bytes", server: "native" },
    { what: "typed", label: "this package with `/events`, a typed call", server: "native" },
    { what: "grpc", label: "grpc-js, a call with bytes", server: "grpc" },
  ] as const;
  const taken = all.map((): { loadMs: number; callMs: number }[] => []);
  // The first run fills the system's caches.
  for (let time = -1; time < times; time++) {
    for (const [index, { what, server }] of all.entries()) {
      const path = await processes.serve(contestants.get(server)!);
      const { stdout } = await run(process.execPath, [FIRST_CALL, what, path]);
      if (time >= 0) taken[index]?.push(JSON.parse(stdout) as { loadMs: number; callMs: number });
    }
  }
  return all.map(({ label }, index) => {
    const runs = taken[index] ?? [];
    return {
      label,
      load: spread(runs.map(({ loadMs }) => loadMs)),
      call: spread(runs.map(({ callMs }) => callMs)),
    };
  });
}

/** Measures memory in new processes, one after another. */
export async function memory(
  processes: Processes,
  contestants: ReadonlyMap<Name, Contestant>,
): Promise<Memory[]> {
  const all: Memory[] = [];
  for (const one of inJavaScript(contestants)) {
    const path = await processes.serve(one.own ? one : contestants.get("native")!);
    all.push({ label: one.label, ...(await resident("memory", one, path)) } as Memory);
  }
  return all;
}

/**
 * Measures all contenders at the same time, since none has anything to do. It measures second by second, because V8
 * collects garbage after a while of idling, which takes tens of milliseconds in only one or two of the seconds.
 */
export function idle(
  processes: Processes,
  contestants: ReadonlyMap<Name, Contestant>,
  seconds: number,
): Promise<Idle[]> {
  const wait = async (one: Contestant): Promise<Idle> => {
    const { name, label } = one;
    const path = processes.path(`idle-${name}`);
    return {
      name,
      label,
      ...(await resident("idle", one, path, `${seconds}`)),
    } as Idle;
  };
  return Promise.all(inJavaScript(contestants).map(wait));
}

function inJavaScript(contestants: ReadonlyMap<Name, Contestant>): Contestant[] {
  const names: readonly Name[] = ["package", "thread", "plain", "grpc"];
  return names.flatMap((name) => {
    const one = contestants.get(name);
    return one === undefined || one.missing !== undefined ? [] : [one];
  });
}

async function resident(what: string, { name }: Contestant, ...args: string[]): Promise<object> {
  const [command = "", ...rest] = script("resident.ts", what, name, ...args);
  const { stdout } = await run(command, rest);
  return JSON.parse(stdout) as object;
}
