import { live } from "../output/live.js";
import { jsonLine, jsonText } from "../output/json.js";
import { print, printError, styled } from "../output/stdout.js";
import { table } from "../output/table.js";
import type { Text } from "../output/text.js";
import { age } from "../output/units.js";
import { findSockets, findTasks } from "../shims/bundles.js";
import { inspectShims, type Shim } from "../shims/inspect.js";
import { listeningPaths } from "../shims/listeners.js";
import { interruptible, pause, untilStopped } from "../signals.js";

/** The options of `shimctl ls`. */
export interface LsOptions {
  readonly state: string;
  readonly sockets: string;
  readonly timeout: number;
  readonly interval: number;
  readonly json?: boolean;
  readonly watch?: boolean;
}

/** Lists the shims of this host, once or repeatedly. */
export async function ls(options: LsOptions): Promise<void> {
  const shims = (signal: AbortSignal) => allShims(options, signal);
  if (options.watch !== true) {
    const found = await interruptible(shims);
    await print(options.json ? jsonText(found.map((shim) => ({ ...shim }))) : tableOf(found));
    if (found.length === 0) printError(`no shims in ${options.state}`);
    return;
  }
  await untilStopped(async (signal) => {
    const view = live();
    try {
      while (!signal.aborted) {
        const found = await shims(signal);
        if (signal.aborted) break;
        if (options.json) await print(jsonLine(found.map((shim) => ({ ...shim }))));
        else await view.show(tableOf(found));
        await pause(options.interval, signal);
      }
    } finally {
      view.done();
    }
  });
}

/** The shims of all tasks, then those that no task names. */
async function allShims({ state, sockets, timeout }: LsOptions, signal: AbortSignal): Promise<Shim[]> {
  const tasks = await inspectShims(findTasks(state), timeout, signal);
  if (signal.aborted) return tasks;
  // A shim may listen on further sockets that speak another protocol, such as containerd 2's debug socket.
  const known = listeningPaths(tasks.flatMap(({ pid }) => pid ?? []));
  for (const { address } of tasks) if (address !== null) known.add(pathOf(address));
  const others = findSockets(sockets).filter(({ address = "" }) => !known.has(pathOf(address)));
  return [...tasks, ...(await inspectShims(others, timeout, signal))];
}

function pathOf(address: string): string {
  return address.replace("unix://", "");
}

const HEADINGS = ["NAMESPACE", "ID", "PID", "VERSION", "STATE", "UPTIME", "ADDRESS"];

function tableOf(shims: readonly Shim[]): Text[] {
  const rows = shims.map((shim) => [
    shim.namespace ?? "-",
    shim.id ?? "-",
    String(shim.pid ?? "-"),
    shim.version === null ? "-" : `v${shim.version}`,
    stateOf(shim),
    shim.uptimeSeconds === null ? "-" : age(shim.uptimeSeconds),
    shim.address ?? "-",
  ]);
  const headings = HEADINGS.map((heading) => styled("bold", heading));
  return table([headings, ...rows]);
}

const STYLES: Readonly<Record<string, Parameters<typeof styled>[0]>> = {
  running: "green",
  unreachable: "red",
  error: "red",
  orphan: "yellow",
};

function stateOf({ state, error }: Shim): Text {
  const text = error === null ? state : `${state} (${error})`;
  return styled(STYLES[state] ?? "yellow", text);
}
