import { Presets, SingleBar } from "cli-progress";
import type { Client } from "containerd-shim-protos";
import type { Task } from "containerd-shim-protos/task/v3";
import { fact, heading, paint } from "./print.js";

const IN_FLIGHT = 64;

/** Makes many calls, with a progress bar on a terminal, and prints how fast they were. */
export async function showLoad(task: Client<typeof Task>, calls: number, signal: AbortSignal): Promise<void> {
  heading(`${grouped(calls)} calls of state, ${IN_FLIGHT} in flight`);
  const load = new Load(calls);
  const bar = process.stdout.isTTY === true ? new ProgressBar(load) : undefined;
  try {
    await load.run(() => task.state({ id: "web" }), signal);
  } finally {
    // The bar hides the cursor, which must come back in every case.
    bar?.stop();
  }
  fact("took", `${load.seconds.toFixed(2)} s`);
  fact("rate", paint("green", `${grouped(Math.round(calls / load.seconds))} calls a second`));
  fact("median", `${load.percentile(0.5).toFixed(2)} ms`);
  fact("p99", `${load.percentile(0.99).toFixed(2)} ms`);
}

class Load {
  readonly calls: number;
  seconds = 0;
  started = 0;
  #latencies: Float64Array;

  constructor(calls: number) {
    this.calls = calls;
    this.#latencies = new Float64Array(calls);
  }

  /** Keeps {@link IN_FLIGHT} calls in flight until all are made. */
  async run(make: () => Promise<unknown>, signal: AbortSignal): Promise<void> {
    const worker = async () => {
      while (this.started < this.calls) {
        // This check costs nothing; a signal in the options of each call would be measured too.
        signal.throwIfAborted();
        const call = this.started++;
        const start = performance.now();
        await make();
        this.#latencies[call] = performance.now() - start;
      }
    };
    const start = performance.now();
    await Promise.all(Array.from({ length: IN_FLIGHT }, worker));
    this.seconds = (performance.now() - start) / 1000;
    this.#latencies.sort();
  }

  /** The latency in milliseconds that this share of the calls did not exceed. */
  percentile(share: number): number {
    return this.#latencies[Math.ceil(this.calls * share) - 1] ?? Number.NaN;
  }
}

class ProgressBar {
  readonly #bar: SingleBar;
  readonly #timer: NodeJS.Timeout;

  constructor(load: Load) {
    this.#bar = new SingleBar(
      {
        format: `  ${paint("cyan", "{bar}")} {percentage}%`,
        barsize: 50,
        clearOnComplete: true,
        hideCursor: true,
        // The demo handles signals itself, and calls stop().
        gracefulExit: false,
        stream: process.stdout,
      },
      Presets.shades_classic,
    );
    this.#bar.start(load.calls, 0);
    this.#timer = setInterval(() => this.#bar.update(load.started), 50);
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#bar.stop();
  }
}

function grouped(number: number): string {
  return number.toLocaleString("en").replaceAll(",", " ");
}
