/** Drives a contender's client through a job, as the Rust and Go peers do with theirs. */

import { readFileSync } from "node:fs";
import type { Job, Result } from "../job.js";
import type { BenchClient } from "./contender.js";
import { payloadOf, wishOf } from "./handlers.js";

/** How much was done and, where it is known, how long each call took. */
interface Tally {
  done: number;
  latencies: number[];
}

/** Warms up and measures. */
export async function measure(clients: readonly BenchClient[], job: Job): Promise<Result> {
  await perform(clients, job, job.warmupMs);
  const cpu = threadCpuMs();
  const begin = performance.now();
  const { done, latencies } = await perform(clients, job, job.durationMs);
  const taken = performance.now() - begin;
  const used = threadCpuMs() - cpu;
  const sorted = Float64Array.from(latencies).toSorted();
  return {
    perSecond: (done * 1000) / taken,
    p50Us: percentile(sorted, 50),
    p99Us: percentile(sorted, 99),
    cpuUs: (used * 1000) / Math.max(1, done),
    failed: 0,
  };
}

/** The CPU time of a thread, this one or one of `/proc/PID/task`: Node 20 has no API for it. */
export function threadCpuMs(folder = "/proc/thread-self"): number {
  const [nanoseconds] = readFileSync(`${folder}/schedstat`, "latin1").split(" ");
  return Number(nanoseconds) / 1e6;
}

function percentile(sorted: Float64Array, percent: number): number | null {
  const milliseconds = sorted[Math.ceil((sorted.length * percent) / 100) - 1];
  return milliseconds === undefined ? null : milliseconds * 1000;
}

function perform(clients: readonly BenchClient[], job: Job, milliseconds: number): Promise<Tally> {
  const [client] = clients;
  if (client === undefined) throw new Error("a job without connections");
  const until = performance.now() + milliseconds;
  switch (job.work) {
    case "unary": {
      const payload = payloadOf(job.size);
      return calls(clients, job, until, (each) => {
        const reply = each.unary(payload);
        return each.release === undefined ? reply : reply.then(each.release);
      });
    }
    case "forward":
      return calls(clients, job, until, (each, index) => each.forward(index));
    case "sink":
      return sink(client, job, until);
    case "source":
      return source(client, job, milliseconds);
    case "chat":
      return chat(client, job, until);
  }
}

/** Runs one worker for each call in flight; each worker makes one call at a time. */
async function calls(
  clients: readonly BenchClient[],
  { inflight }: Job,
  until: number,
  call: (client: BenchClient, index: number) => Promise<unknown>,
): Promise<Tally> {
  const latencies: number[] = [];
  const worker = async (client: BenchClient) => {
    let begin = performance.now();
    while (begin < until) {
      await call(client, latencies.length);
      const now = performance.now();
      latencies.push(now - begin);
      begin = now;
    }
  };
  await Promise.all(Array.from({ length: inflight }, (_, index) => worker(clients[index % clients.length]!)));
  return { done: latencies.length, latencies };
}

async function sink(client: BenchClient, { size }: Job, until: number): Promise<Tally> {
  const message = payloadOf(size);
  let done = 0;
  await client.sink(
    (async function* () {
      for (; performance.now() < until; done++) yield message;
    })(),
  );
  return { done, latencies: [] };
}

async function source(client: BenchClient, { size }: Job, milliseconds: number): Promise<Tally> {
  let done = 0;
  for await (const message of client.source(wishOf(milliseconds, size))) {
    if (message.length !== size) throw new Error(`a message of ${message.length} bytes`);
    done++;
    client.release?.(message);
  }
  return { done, latencies: [] };
}

/** Keeps `inflight` messages in flight, and reads what comes back. */
async function chat(client: BenchClient, { size, inflight }: Job, until: number): Promise<Tally> {
  const message = payloadOf(size);
  let sent = 0;
  let done = 0;
  let go: (() => void) | undefined;
  const messages = (async function* () {
    for (; performance.now() < until; sent++) {
      if (sent - done >= inflight) {
        await new Promise<void>((resolve) => {
          go = resolve;
        });
      }
      yield message;
    }
  })();
  for await (const reply of client.chat(messages)) {
    if (reply.length !== size) throw new Error(`a message of ${reply.length} bytes`);
    done++;
    client.release?.(reply);
    go?.();
    go = undefined;
  }
  return { done, latencies: [] };
}
