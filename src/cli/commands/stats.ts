import { Code, type Connection, TtrpcError } from "../../index.js";
import { withConnection } from "../connecting.js";
import { jsonLine } from "../output/json.js";
import { live } from "../output/live.js";
import { sparkline } from "../output/sparkline.js";
import { onTerminal, print, styled, width } from "../output/stdout.js";
import { table } from "../output/table.js";
import { text } from "../output/text.js";
import { bytes } from "../output/units.js";
import { type Usage, usageOf } from "../shims/metrics.js";
import { findTask } from "../shims/task.js";
import { pause, untilStopped } from "../signals.js";

/** The options of `shimctl stats`. */
export interface StatsOptions {
  readonly interval: number;
  readonly timeout: number;
  readonly count?: number;
  readonly json?: boolean;
}

/** What a container has used, and the rates since the sample before. */
interface Sample extends Usage {
  readonly time: Date;
  /** In percent of one CPU. */
  readonly cpuPercent: number;
  readonly readPerSecond: number;
  readonly writtenPerSecond: number;
}

/** Shows what a container uses, sample by sample. */
export async function stats(address: string, id: string, options: StatsOptions): Promise<void> {
  await untilStopped((signal) =>
    withConnection(address, { timeoutMs: options.timeout, signal }, async (connection) => {
      const view = options.json ? jsonView() : onTerminal() ? liveView(id) : tableView();
      try {
        for await (const sample of samples(connection, id, options, signal)) await view.show(sample);
      } finally {
        view.done();
      }
    }),
  );
}

/** Samples at an interval. The first comes after one interval, because a rate needs two readings. */
async function* samples(
  connection: Connection,
  id: string,
  { interval, timeout, count = Number.POSITIVE_INFINITY }: StatsOptions,
  signal: AbortSignal,
): AsyncGenerator<Sample> {
  const options = { timeoutMs: timeout, signal };
  const { task } = await findTask(connection, id, options);
  let [before, at] = [await read(), performance.now()];
  for (let taken = 0; taken < count && !signal.aborted; taken++) {
    await pause(interval, signal);
    if (signal.aborted) return;
    const [usage, now] = [await read(), performance.now()];
    const seconds = (now - at) / 1000;
    // A counter that went back is that of a restarted container.
    const rate = (of: (usage: Usage) => number) => Math.max(of(usage) - of(before), 0) / seconds;
    yield {
      ...usage,
      time: new Date(),
      cpuPercent: rate(({ cpuSeconds }) => cpuSeconds) * 100,
      readPerSecond: rate(({ readBytes }) => readBytes),
      writtenPerSecond: rate(({ writtenBytes }) => writtenBytes),
    };
    [before, at] = [usage, now];
  }

  async function read(): Promise<Usage> {
    const { stats: packed } = await task.stats({ id }, options);
    const usage = packed && usageOf(packed);
    if (usage !== undefined) return usage;
    const what = packed === undefined ? "nothing" : packed.typeUrl;
    throw new TtrpcError(`the shim answered ${what} for the metrics of ${id}`, Code.Internal);
  }
}

interface View {
  show(sample: Sample): Promise<void>;
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

/** Samples that are kept: the most bars that a sparkline may have. */
const HISTORY = 60;

/** A sparkline for each figure, updated in place. */
function liveView(id: string): View {
  const view = live();
  const history: Sample[] = [];
  return {
    async show(sample) {
      history.push(sample);
      if (history.length > HISTORY) history.shift();
      const room = Math.max(Math.min(width() - 40, HISTORY), 10);
      const line = (name: string, figure: string, of: (sample: Sample) => number, top?: number) => [
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
