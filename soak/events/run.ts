import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { sumOf } from "./check.js";

/** The size and shape of a run. */
export interface RunOptions {
  /** Events altogether. */
  readonly count: number;
  readonly publishers: number;
  /** Events that each publisher has in flight at once. */
  readonly inFlight: number;
  /** Milliseconds for which the sink's consumer pauses, a third of the way through. */
  readonly stopMs: number;
  readonly print?: (line: string) => void;
}

/** What a sink or a forwarder has seen. */
interface Report {
  readonly failures: string[];
  readonly events: number;
  readonly sum: string;
  readonly counts: Record<string, number>;
  readonly rss: number;
  readonly held: number;
}

/** How much more JavaScript memory may be held at the end than a third of the way through. */
const HELD_MARGIN = 8 << 20;

/**
 * The same for the whole process, whose allocators settle in steps: with Node 24, that of a forwarder grows by 30 to 45 MiB
 * until some 250 000 events have passed, and then stays.
 */
const RSS_MARGIN = 64 << 20;

/**
 * Sends events from publishers through a forwarder to a sink, each in a separate process. Checks at the forwarder and
 * at the sink that no event is lost, duplicated, changed or out of order, and that memory stays flat. Returns the
 * failures and the rate.
 */
export async function run({ count, publishers, inFlight, stopMs, print }: RunOptions): Promise<{
  failures: string[];
  eventsPerSecond: number;
}> {
  const folder = mkdtempSync("/tmp/events-soak-");
  const children: ChildProcess[] = [];
  const start = (...args: string[]) => {
    const program = ["--import", import.meta.resolve("tsx"), join(import.meta.dirname, "child.ts"), ...args];
    const child = spawn(process.execPath, program, { stdio: ["pipe", "pipe", "inherit"] });
    children.push(child);
    return child;
  };
  const failures: string[] = [];
  try {
    const each = Math.ceil(count / publishers);
    const total = each * publishers;
    const [from, to] = [`unix://${join(folder, "forwarder.sock")}`, `unix://${join(folder, "sink.sock")}`];
    const sink = await Watched.start(start("sink", to));
    const forwarder = await Watched.start(start("forwarder", from, to));
    const begin = performance.now();
    const done = Promise.all(
      Array.from({ length: publishers }, async (_, number) => {
        const [code] = await once(start("publisher", from, `${number}`, `${each}`, `${inFlight}`), "exit");
        if (code !== 0) failures.push(`publisher ${number} ended with ${code}`);
      }),
    ).then(() => true);
    let early: { sink: Report; forwarder: Report } | undefined;
    while (!(await Promise.race([done, sleep(500, false)]))) {
      const [atSink, atForwarder] = [await sink.report(), await forwarder.report()];
      print?.(
        `${atForwarder.events} forwarded, ${atSink.events} at the sink; ${megabytes(atForwarder)}, ${megabytes(atSink)}`,
      );
      if (early !== undefined || atSink.events < total / 3) continue;
      early = { sink: atSink, forwarder: atForwarder };
      if (stopMs > 0) sink.say(`stop ${stopMs}`);
    }
    for (const [name, watched] of [
      ["sink", sink],
      ["forwarder", forwarder],
    ] as const) {
      const report = await watched.reportWith(total);
      failures.push(...report.failures.map((failure) => `${name}: ${failure}`));
      if (report.events !== total) failures.push(`${name}: ${report.events} events came of ${total}`);
      if (report.sum !== String(sumOf(publishers, each)))
        failures.push(`${name}: the sum of checksums is wrong`);
      const before = early?.[name];
      if (before === undefined) continue;
      if (report.held > before.held + HELD_MARGIN)
        failures.push(`${name}: holds ${report.held}, not ${before.held} bytes`);
      if (report.rss > before.rss + RSS_MARGIN)
        failures.push(`${name}: takes ${report.rss}, not ${before.rss} bytes`);
      print?.(`${name}: ${megabytes(before)} a third of the way, ${megabytes(report)} at the end`);
    }
    const seconds = (performance.now() - begin - (early === undefined ? 0 : stopMs)) / 1000;
    return { failures, eventsPerSecond: total / seconds };
  } finally {
    for (const child of children) child.kill("SIGKILL");
    rmSync(folder, { recursive: true, force: true });
  }
}

function megabytes({ held, rss }: Report): string {
  return `${(held / 2 ** 20).toFixed(1)} MiB held of ${(rss / 2 ** 20).toFixed(0)}`;
}

/** A sink or forwarder, and the lines that it prints. */
class Watched {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  private constructor(child: ChildProcess) {
    this.#child = child;
    this.#lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
  }

  static async start(child: ChildProcess): Promise<Watched> {
    const watched = new Watched(child);
    await watched.#lines.next();
    return watched;
  }

  say(line: string): void {
    this.#child.stdin?.write(`${line}\n`);
  }

  async report(): Promise<Report> {
    this.say("report");
    return JSON.parse(String((await this.#lines.next()).value)) as Report;
  }

  /** Returns a report once all events have reached the consumer, or no more arrive. */
  async reportWith(events: number): Promise<Report> {
    let report = await this.report();
    for (let tries = 0; report.events < events && tries < 100; tries++) {
      await sleep(100);
      report = await this.report();
    }
    return report;
  }
}
