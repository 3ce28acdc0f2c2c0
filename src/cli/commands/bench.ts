import { createHistogram, type RecordableHistogram } from "node:perf_hooks";
import { SingleBar } from "cli-progress";
import type { Connection } from "../../client/connection.js";
import { codeName } from "../../code.js";
import { TtrpcError } from "../../error.js";
import { withConnection } from "../connecting.js";
import { ExitCode } from "../exit-code.js";
import { UsageError } from "../errors.js";
import { transportCode } from "../describe-error.js";
import { Input } from "../input.js";
import { jsonText } from "../output/json.js";
import { drawsInPlace, print, printError, styled, styledError } from "../output/stdout.js";
import { table } from "../output/table.js";
import { latency } from "../output/units.js";
import { loadRegistry } from "../schema/schema.js";
import type { SchemaOptions } from "../schema/options.js";
import { servedMethod } from "../served-route.js";
import { interruptible } from "../signals.js";
import { targetOf, type TargetOptions } from "../target.js";
import { encoded, formatOf } from "../format.js";

/** The options of `shimctl bench`. */
export interface BenchOptions extends SchemaOptions, TargetOptions {
  readonly concurrency: number;
  readonly connections: number;
  readonly duration: number;
  readonly calls?: number;
  readonly warmup: number;
  readonly timeout?: number;
  readonly metadata?: Record<string, string[]>;
  readonly json?: boolean;
}

/** The results of the calls that were measured. */
class Measurement {
  /** Nanoseconds. */
  readonly latencies: RecordableHistogram = createHistogram({ highest: Number.MAX_SAFE_INTEGER });
  /** How many calls failed, by the name of their status code. */
  readonly failures = new Map<string, number>();
  /** Calls that were answered. */
  calls = 0;
  /** Calls that were given up without an answer, in the warm-up or after it. */
  unanswered = 0;
  seconds = 0;
}

/** Calls a method as often as it can, and prints the rate and the latencies. */
export async function bench(
  to: string,
  given: string,
  data: string | undefined,
  options: BenchOptions,
): Promise<void> {
  const registry = await loadRegistry(options);
  const target = targetOf(to, options);
  const { address, id } = target;
  const served = servedMethod(registry, given);
  const format = formatOf(served.method, { registry, id });
  if (format.kind !== "unary") throw new UsageError(`${given} streams: bench measures unary methods`);
  const input = new Input(data);
  const request = encoded(format, await input.text(), input.name);
  const { timeout: timeoutMs, metadata } = options;
  const measurement = new Measurement();
  let stopped: unknown;
  await interruptible((signal) =>
    withConnections(address, options.connections, { timeoutMs, signal }, async (connections) => {
      // This ends the calls in flight, too.
      const close = () => void Promise.all(connections.map((connection) => connection.close()));
      signal.addEventListener("abort", close, { once: true });
      const { name: method, parent } = await served.ask(connections[0]!, target, { timeoutMs, signal });
      const service = parent.typeName;
      const callers = connections.map(
        (connection) => () => connection.unary(service, method, request, { timeoutMs, metadata }),
      );
      const warmup = { until: performance.now() + options.warmup, ...limits(options, close), signal };
      measurement.unanswered = await rounds(callers, options.concurrency, warmup);
      if (measurement.unanswered > 0) return;
      const bar = progressBar();
      try {
        await measure(callers, options, measurement, { ...limits(options, close), signal }, bar);
      } finally {
        bar?.stop();
      }
    }),
  ).catch((error: unknown) => {
    stopped = error;
  });
  if (measurement.calls + measurement.unanswered > 0) await report(measurement, options);
  if (stopped !== undefined) throw stopped;
  if (measurement.unanswered > 0) {
    const calls = measurement.unanswered === 1 ? "call was" : "calls were";
    const patience = latency(patienceOf(options));
    printError(
      styledError("red", `shimctl: ${measurement.unanswered} ${calls} not answered within ${patience}`),
    );
  }
  if (measurement.failures.size + measurement.unanswered > 0) process.exitCode = ExitCode.Status;
}

/** How long a peer may leave calls without an answer, if they have no deadline. */
const PATIENCE_MS = 5000;

function patienceOf({ timeout }: BenchOptions): number {
  // The deadline ends calls by itself; this limit holds if it does not.
  return timeout === undefined ? PATIENCE_MS : timeout + PATIENCE_MS;
}

function limits(options: BenchOptions, giveUp: () => void): Pick<Limits, "patience" | "giveUp"> {
  return { patience: patienceOf(options), giveUp };
}

async function withConnections(
  address: string,
  count: number,
  options: { readonly timeoutMs?: number; readonly signal: AbortSignal },
  action: (connections: readonly Connection[]) => Promise<void>,
  opened: readonly Connection[] = [],
): Promise<void> {
  if (opened.length === count) return action(opened);
  return withConnection(address, options, (connection) =>
    withConnections(address, count, options, action, [...opened, connection]),
  );
}

type Caller = () => Promise<unknown>;

interface Limits {
  /** When to stop making calls, by `performance.now()`. */
  readonly until?: number;
  /** How many calls to make. */
  readonly calls?: number;
  /** Milliseconds to wait for answers: after `until` or, without it, after the latest answer. */
  readonly patience: number;
  readonly signal: AbortSignal;
  settled?(tookMs: number, error?: TtrpcError): void;
  /** Called when `patience` has run out, to end the calls in flight. */
  giveUp(): void;
}

/**
 * Keeps `concurrency` calls in flight until a limit is reached, then waits for their answers. Resolves to the number of
 * calls that were given up because `patience` ran out. Rejects if a connection is lost.
 */
async function rounds(callers: readonly Caller[], concurrency: number, limit: Limits): Promise<number> {
  const { until = Number.POSITIVE_INFINITY, calls = Number.POSITIVE_INFINITY, signal, settled } = limit;
  const now = { begun: 0, inFlight: 0, unanswered: 0, answeredAt: performance.now() };
  const watch = setInterval(
    () => {
      const since = until === Number.POSITIVE_INFINITY ? now.answeredAt : until;
      if (now.unanswered > 0 || performance.now() - since < limit.patience) return;
      now.unanswered = now.inFlight;
      limit.giveUp();
    },
    Math.min(limit.patience, 100),
  );
  const worker = async (_: unknown, index: number) => {
    const call = callers[index % callers.length]!;
    while (now.begun < calls && !signal.aborted && performance.now() < until) {
      now.begun++;
      now.inFlight++;
      const startedAt = performance.now();
      let failure: TtrpcError | undefined;
      try {
        await call();
      } catch (error) {
        if (now.unanswered > 0) return;
        if (!(error instanceof TtrpcError) || transportCode(error) !== undefined) throw error;
        failure = error;
      }
      now.inFlight--;
      now.answeredAt = performance.now();
      settled?.(now.answeredAt - startedAt, failure);
    }
  };
  try {
    await Promise.all(Array.from({ length: concurrency }, worker));
  } finally {
    clearInterval(watch);
  }
  return now.unanswered;
}

async function measure(
  callers: readonly Caller[],
  { concurrency, duration, calls }: BenchOptions,
  measurement: Measurement,
  limit: Limits,
  bar: SingleBar | undefined,
): Promise<void> {
  const start = performance.now();
  bar?.start(calls ?? duration, 0);
  const timer = setInterval(() => {
    bar?.update(calls === undefined ? Math.min(performance.now() - start, duration) : measurement.calls);
  }, 100);
  try {
    measurement.unanswered = await rounds(callers, concurrency, {
      ...(calls === undefined ? { until: start + duration } : { calls }),
      ...limit,
      settled(tookMs, error) {
        measurement.calls++;
        measurement.latencies.record(Math.max(Math.round(tookMs * 1e6), 1));
        if (error === undefined) return;
        const name = codeName(error.code);
        measurement.failures.set(name, (measurement.failures.get(name) ?? 0) + 1);
      },
    });
  } finally {
    clearInterval(timer);
    measurement.seconds = (performance.now() - start) / 1000;
    bar?.update(calls === undefined ? Math.min(measurement.seconds * 1000, duration) : measurement.calls);
  }
  limit.signal.throwIfAborted();
}

/** A progress bar on stderr, if that is a terminal that can draw one. */
function progressBar(): SingleBar | undefined {
  if (!drawsInPlace(process.stderr)) return undefined;
  return new SingleBar({
    format: "{bar} {percentage} %",
    clearOnComplete: true,
    barCompleteChar: "█",
    barIncompleteChar: "░",
  });
}

const PERCENTILES = [50, 90, 99, 99.9] as const;

function ms(nanoseconds: number): number {
  return nanoseconds / 1e6;
}

async function report(
  measurement: Measurement,
  { concurrency, connections, json }: BenchOptions,
): Promise<void> {
  const { calls, unanswered, seconds, latencies, failures } = measurement;
  const percentiles = PERCENTILES.map((percentile): [string, number] => [
    `p${percentile}`,
    ms(latencies.percentile(percentile)),
  ]);
  const failed = [...failures.values()].reduce((total, count) => total + count, 0);
  const all: [string, number][] = [
    ["min", ms(latencies.min)],
    ["mean", ms(latencies.mean)],
    ...percentiles,
    ["max", ms(latencies.max)],
  ];
  // Without calls there are no latencies.
  const spread = calls === 0 ? [] : all;
  const rate = calls === 0 ? 0 : calls / seconds;
  if (json) {
    return print(
      jsonText({
        calls,
        failed,
        failures: Object.fromEntries(failures),
        unanswered,
        seconds,
        callsPerSecond: rate,
        concurrency,
        connections,
        latencyMs: Object.fromEntries(spread),
      }),
    );
  }
  const rows = [
    ["calls", String(calls)],
    [
      "failed",
      failed === 0
        ? "0"
        : styled("red", `${failed} (${[...failures].map(([name, count]) => `${name} ${count}`).join(", ")})`),
    ],
    ...(unanswered > 0 ? [["unanswered", styled("red", String(unanswered))]] : []),
    ["seconds", seconds.toFixed(2)],
    ["in flight", `${concurrency} on ${connections} connection${connections === 1 ? "" : "s"}`],
    ["calls/s", Math.round(rate).toString()],
    ...spread.map(([name, value]) => [name, latency(value)]),
  ];
  await print(table(rows.map(([name = "", value = ""]) => [styled("bold", name), value])));
}
