/** What a package costs beside its calls: the time to load it, memory, and CPU time while nothing happens. */

import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { type Contestant, type Name, script } from "../contenders/index.js";
import { type Spread, spread } from "../report/statistics.js";
import type { Processes } from "../run/processes.js";

const run = promisify(execFile);

/** Milliseconds, without Node's own start. */
export interface LoadTime {
  readonly label: string;
  readonly load: Spread;
  readonly call: Spread;
}

/** Bytes that a process grows by, with all that it loads. */
export interface Memory {
  readonly label: string;
  readonly firstCall: number;
  readonly afterLoad: number;
}

/** CPU time while nothing happens. */
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

/** In new processes, one after the other, in turn. */
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
  // The first one fills the caches of the system.
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

/** In new processes, one after the other. */
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
 * All at the same time, since none has anything to do. Second by second, since what V8 does when it finds that nothing has
 * happened for a while (it collects garbage, which takes tens of milliseconds) is over in one or two of them.
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
