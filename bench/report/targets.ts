/** The package's performance targets. */

import type { Name } from "../contenders/index.js";
import { caseId } from "../work/cases.js";
import type { Comparison, Metric } from "./comparison.js";
import { ranged } from "./format.js";
import type { Limit } from "./limits.js";
import { type Spread, spread } from "./statistics.js";

/** A line of the table. */
export interface Target {
  readonly what: string;
  readonly goal: string;
  readonly measured: string;
  readonly verdict: "reached" | "missed" | "not measured";
  /** What stands in the way if it is missed. */
  readonly limit: Limit;
}

/** The idle CPU time that counts as none, in milliseconds a second: an empty Node process takes as much. */
const IDLE_MS_PER_SECOND = 0.5;

/** All targets, with their results. */
export function targets(run: Comparison): Target[] {
  const all: Target[] = [];
  const judge = (
    what: string,
    sign: "≥" | "≤",
    goal: number,
    value: Spread | undefined,
    limit: Limit,
    unit = "",
  ) => {
    const isReached = value && (sign === "≥" ? value.median >= goal : value.median <= goal);
    const verdict = isReached === undefined ? "not measured" : isReached ? "reached" : "missed";
    all.push({ what, goal: `${sign} ${goal}${unit}`, measured: ranged(value, unit), verdict, limit });
  };
  const against = (
    what: string,
    id: string,
    sign: "≥" | "≤",
    goals: Partial<Record<Name, number>>,
    limit: Limit,
    metric: Metric = "perSecond",
    name: Name = "package",
  ) => {
    for (const [other, goal] of Object.entries(goals) as [Name, number][]) {
      const value = run.ratio(id, name, other, metric);
      judge(`${what}, of ${run.label(other)}`, sign, goal, value, limit);
    }
  };

  const unary = (inflight: number) => caseId("client", "unary", 64, inflight);
  against(
    "unary 64 B, 1 in flight: median latency",
    unary(1),
    "≤",
    { plain: 1, native: 1.25 },
    "one",
    "p50Us",
  );
  against("unary 64 B, 16 in flight: calls/s", unary(16), "≥", { plain: 1, native: 0.8 }, "many");
  for (const inflight of [64, 256, 1024]) {
    against(
      `unary 64 B, ${inflight} in flight: calls/s`,
      unary(inflight),
      "≥",
      { plain: 1.1, native: 1 },
      "many",
    );
  }
  against("unary 64 B, 64 in flight: calls/s", unary(64), "≥", { grpc: 10 }, "many");
  const large = caseId("client", "unary", 256 << 10, 16);
  against("unary 256 KiB, 16 in flight: bytes/s", large, "≥", { plain: 1, native: 0.9 }, "large");
  for (const [size, inflight, goal, limit] of [
    [4, 1, 0.9, "one"],
    [16, 16, 1, "large"],
    [64, 16, 0.9, "large"],
    [256, 1, 0.9, "one"],
  ] as const) {
    const id = caseId("client", "unary", size << 10, inflight);
    const what = `unary ${size} KiB, ${inflight} in flight`;
    against(`${what}: calls/s`, id, "≥", { native: goal }, limit);
    if (limit === "large") {
      against(
        `${what}, releasePayload: calls/s`,
        id,
        "≥",
        { native: goal },
        "released",
        "perSecond",
        "releasing",
      );
    }
  }
  for (const [inflight, goal] of [
    [1, 1.25],
    [4, 1],
  ] as const) {
    const id = caseId("server", "unary", 64, inflight);
    against(`server, 64 B, ${inflight} in flight: calls/s`, id, "≥", { plain: goal }, "one");
  }
  const served = caseId("server", "unary", 64, 64);
  against("server, 64 B, 64 in flight: calls/s", served, "≥", { plain: 1.1, native: 0.8 }, "many");
  against(
    "server, 64 B, 64 in flight: CPU time a request",
    served,
    "≤",
    { plain: 1.5 },
    "server",
    "serverCpuUs",
  );
  for (const [work, direction] of [
    ["sink", "to the server"],
    ["source", "from the server"],
  ] as const) {
    const id = caseId("client", work, 256, 64);
    against(`stream of 256 B ${direction}: messages/s`, id, "≥", { plain: 1.5, native: 1 }, "messages");
  }
  for (const [side, work, direction] of [
    ["client", "source", "to the client"],
    ["client", "chat", "both ways"],
    ["server", "sink", "to the server"],
    ["server", "chat", "both ways"],
  ] as const) {
    const id = caseId(side, work, 64 << 10, 16);
    const what = `${side}, stream of 64 KiB ${direction}`;
    against(`${what}: messages/s`, id, "≥", { native: 0.8 }, "large");
    const released = `${what}, releasePayload: messages/s`;
    against(released, id, "≥", { native: 0.8 }, "released", "perSecond", "releasing");
  }
  against("unary 64 B, 1 in flight: median latency", unary(1), "≤", { go: 1.1 }, "one", "p50Us");
  const byThread = "unary 64 B, 16 in flight, driver thread: calls/s";
  against(byThread, unary(16), "≥", { package: 0.85 }, "thread", "perSecond", "thread");
  const cpu = "CPU time of the calling thread a call, 64 B, 64 in flight, driver thread";
  against(cpu, unary(64), "≤", { plain: 0.4 }, "thread", "cpuUs", "thread");

  const idle = run.costs.idle?.find(({ name }) => name === "package");
  const perSecond = idle && spread(idle.cpuMs);
  judge("idle: CPU time with a connection and a server", "≤", IDLE_MS_PER_SECOND, perSecond, "idle", " ms/s");
  judge("time to load", "≤", 30, run.costs.load?.[0]?.load, "load", " ms");
  return all;
}
