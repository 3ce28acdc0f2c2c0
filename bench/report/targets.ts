/** The package's performance targets. */

import type { Name } from "../contenders/index.js";
import { caseId } from "../work/cases.js";
import type { Comparison, Metric } from "./comparison.js";
import { ranged } from "./format.js";
import { type Spread, spread } from "./statistics.js";

/** A line of the table. */
export interface Target {
  readonly what: string;
  readonly goal: string;
  readonly measured: string;
  readonly verdict: "reached" | "missed" | "not measured";
}

/** The idle CPU time that counts as none, in milliseconds a second: an empty Node process takes as much. */
const IDLE_MS_PER_SECOND = 0.5;

/** All targets, with their results. */
export function targets(run: Comparison): Target[] {
  const all: Target[] = [];
  const judge = (what: string, sign: "≥" | "≤", limit: number, value: Spread | undefined, unit = "") => {
    const isReached = value && (sign === "≥" ? value.median >= limit : value.median <= limit);
    const verdict = isReached === undefined ? "not measured" : isReached ? "reached" : "missed";
    all.push({ what, goal: `${sign} ${limit}${unit}`, measured: ranged(value, unit), verdict });
  };
  const against = (
    what: string,
    id: string,
    sign: "≥" | "≤",
    limits: Partial<Record<Name, number>>,
    metric: Metric = "perSecond",
    name: Name = "package",
  ) => {
    for (const [other, limit] of Object.entries(limits) as [Name, number][]) {
      const value = run.ratio(id, name, other, metric);
      judge(`${what}, of ${run.label(other)}`, sign, limit, value);
    }
  };

  const unary = (inflight: number) => caseId("client", "unary", 64, inflight);
  against("unary 64 B, 1 in flight: median latency", unary(1), "≤", { plain: 1, native: 1.25 }, "p50Us");
  against("unary 64 B, 16 in flight: calls/s", unary(16), "≥", { plain: 1, native: 0.8 });
  for (const inflight of [64, 256, 1024]) {
    against(`unary 64 B, ${inflight} in flight: calls/s`, unary(inflight), "≥", { plain: 1.1, native: 1 });
  }
  against("unary 64 B, 64 in flight: calls/s", unary(64), "≥", { grpc: 10 });
  const large = caseId("client", "unary", 256 << 10, 16);
  against("unary 256 KiB, 16 in flight: bytes/s", large, "≥", { plain: 1, native: 0.9 });
  for (const [size, inflight, limit] of [
    [4, 1, 0.9],
    [16, 16, 1],
    [64, 16, 0.9],
    [256, 1, 0.9],
  ] as const) {
    const id = caseId("client", "unary", size << 10, inflight);
    against(`unary ${size} KiB, ${inflight} in flight: calls/s`, id, "≥", { native: limit });
  }
  const served = caseId("server", "unary", 64, 64);
  against("server, 64 B, 64 in flight: calls/s", served, "≥", { plain: 1.1, native: 0.8 });
  for (const [work, direction] of [
    ["sink", "to the server"],
    ["source", "from the server"],
  ] as const) {
    const id = caseId("client", work, 256, 64);
    against(`stream of 256 B ${direction}: messages/s`, id, "≥", { plain: 1.5, native: 1 });
  }
  for (const [side, work, direction] of [
    ["client", "source", "to the client"],
    ["client", "chat", "both ways"],
    ["server", "sink", "to the server"],
    ["server", "chat", "both ways"],
  ] as const) {
    const id = caseId(side, work, 64 << 10, 16);
    against(`${side}, stream of 64 KiB ${direction}: messages/s`, id, "≥", { native: 0.8 });
  }
  against("unary 64 B, 1 in flight: median latency", unary(1), "≤", { go: 1.1 }, "p50Us");
  const looking = "unary 64 B, 1 in flight, busyPollMs: median latency";
  against(looking, unary(1), "≤", { go: 1.1 }, "p50Us", "polling");
  for (const size of [4, 256]) {
    const id = caseId("client", "unary", size << 10, 1);
    const what = `unary ${size} KiB, 1 in flight, busyPollMs: calls/s`;
    against(what, id, "≥", { native: 0.9 }, "perSecond", "polling");
  }
  const byThread = "unary 64 B, 16 in flight, driver thread: calls/s";
  against(byThread, unary(16), "≥", { package: 0.85 }, "perSecond", "thread");
  const cpu = "CPU time of the calling thread a call, 64 B, 64 in flight, driver thread";
  against(cpu, unary(64), "≤", { plain: 0.4 }, "cpuUs", "thread");

  const idle = run.costs.idle?.find(({ name }) => name === "package");
  const perSecond = idle && spread(idle.cpuMs);
  judge("idle: CPU time with a connection and a server", "≤", IDLE_MS_PER_SECOND, perSecond, " ms/s");
  judge("time to load", "≤", 30, run.costs.load?.[0]?.load, " ms");
  return all;
}
