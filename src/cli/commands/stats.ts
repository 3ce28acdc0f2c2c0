import { openTask } from "../../shims/open-task.js";
import type { UsageSample } from "../../shims/usage.js";
import { connecting } from "../connecting.js";
import { jsonLine } from "../output/json.js";
import { live } from "../output/live.js";
import { sparkline } from "../output/sparkline.js";
import { drawsInPlace, print, printError, styled, width } from "../output/stdout.js";
import { table } from "../output/table.js";
import { text } from "../output/text.js";
import { bytes } from "../output/units.js";
import { untilStopped } from "../signals.js";
import { containerAt, placesIn, type TargetOptions } from "../target.js";

/** The options of `shimctl stats`. */
export interface StatsOptions extends TargetOptions {
  readonly interval: number;
  readonly timeout: number;
  readonly count?: number;
  readonly json?: boolean;
}

/** Shows what a container uses, sample by sample, until it ends. */
export async function stats(target: string, given: string | undefined, options: StatsOptions): Promise<void> {
  const { interval: intervalMs, timeout: timeoutMs, count = Number.POSITIVE_INFINITY } = options;
  const { address, id } = containerAt(target, given, options);
  await untilStopped(async (signal) => {
    const { namespace } = options;
    const open = { ...placesIn(options), namespace, id, timeoutMs, signal };
    await using task = await connecting(address, () => openTask(address, open));
    const view = options.json ? jsonView() : drawsInPlace() ? liveView(id) : tableView();
    let taken = 0;
    try {
      for await (const sample of task.samples({ intervalMs, timeoutMs, signal })) {
        await view.show(sample);
        if (++taken >= count) return;
      }
    } finally {
      view.done();
    }
    // Not on stdout, which is for samples.
    if (!signal.aborted) printError(text`${id} has ended`);
  });
}

interface View {
  show(sample: UsageSample): Promise<void>;
  done(): void;
}

function jsonView(): View {
  return {
    show: ({ time, memoryLimitBytes = null, ...sample }) =>
      print(jsonLine({ time: time.toISOString(), ...sample, memoryLimitBytes })),
    done() {},
  };
}

const COLUMNS = ["TIME", "CPU", "MEMORY", "LIMIT", "READ/S", "WRITE/S", "PROCESSES"];
const COLUMN_WIDTH = 11;

function row(cells: readonly string[]): Promise<void> {
  const line = cells.map((cell) => cell.padStart(COLUMN_WIDTH)).join("");
  // The time is shorter than its column.
  return print(line.slice(COLUMN_WIDTH - "00:00:00".length));
}

/** A row for each sample, in columns of a fixed width, because later samples are not known. */
function tableView(): View {
  let headed = false;
  return {
    async show(sample) {
      if (!headed) await row(COLUMNS);
      headed = true;
      await row([
        clock(sample.time),
        percent(sample.cpuPercent),
        bytes(sample.memoryBytes),
        sample.memoryLimitBytes === undefined ? "none" : bytes(sample.memoryLimitBytes),
        bytes(sample.readPerSecond),
        bytes(sample.writtenPerSecond),
        String(sample.processes),
      ]);
    },
    done() {},
  };
}

/** The number of samples to keep: the most bars that a sparkline may have. */
const HISTORY = 60;

/** A sparkline for each figure, updated in place. */
function liveView(id: string): View {
  const view = live();
  const history: UsageSample[] = [];
  return {
    async show(sample) {
      history.push(sample);
      if (history.length > HISTORY) history.shift();
      const room = Math.max(Math.min(width() - 40, HISTORY), 10);
      const line = (name: string, figure: string, of: (sample: UsageSample) => number, top?: number) => [
        styled("bold", name),
        figure,
        styled("cyan", sparkline(history.map(of), room, top)),
      ];
      const { memoryLimitBytes: limit } = sample;
      const memory =
        limit === undefined ? bytes(sample.memoryBytes) : `${bytes(sample.memoryBytes)} of ${bytes(limit)}`;
      await view.show([
        text`${styled("bold", id)}  cgroup v${sample.cgroup}  ${clock(sample.time)}`,
        "",
        ...table([
          line("CPU", percent(sample.cpuPercent), (each) => each.cpuPercent),
          line("MEMORY", memory, (each) => each.memoryBytes, limit),
          line("READ", `${bytes(sample.readPerSecond)}/s`, (each) => each.readPerSecond),
          line("WRITE", `${bytes(sample.writtenPerSecond)}/s`, (each) => each.writtenPerSecond),
          line("PROCESSES", String(sample.processes), (each) => each.processes),
        ]),
      ]);
    },
    done: () => view.done(),
  };
}

function percent(value: number): string {
  return `${value.toFixed(1)} %`;
}

function clock(time: Date): string {
  return time.toTimeString().slice(0, 8);
}
