import { existsSync } from "node:fs";
import { fromBinary } from "@bufbuild/protobuf";
import type { Any } from "@bufbuild/protobuf/wkt";
import { MetricsSchema as MetricsV1Schema } from "containerd-shim-protos/cgroups/v1";
import { MetricsSchema as MetricsV2Schema } from "containerd-shim-protos/cgroups/v2";
import type { CtrMetrics } from "./ctr.js";

/** What both versions of cgroups report, in one form. Numbers, because ctr's JSON has no more precision. */
export interface Usage {
  processes: number;
  /** Nanoseconds under cgroup v1, microseconds under v2. */
  cpuTime: number;
  memory: number;
  memoryLimit: number;
}

/** The file exists in the root of the unified hierarchy. In the hybrid layout, the controllers are still v1. */
const CGROUP_VERSION = existsSync("/sys/fs/cgroup/cgroup.controllers") ? 2 : 1;

/** Decodes the metrics in a shim's Stats, whose type depends on the machine. */
export function usageOfStats(stats: Any): Usage {
  const expected = `io.containerd.cgroups.v${CGROUP_VERSION}.Metrics`;
  if (stats.typeUrl !== expected) throw new Error(`Stats holds ${stats.typeUrl}, not ${expected}`);
  if (CGROUP_VERSION === 2) {
    const { pids, cpu, memory } = fromBinary(MetricsV2Schema, stats.value);
    return usage(pids?.current, cpu?.usageUsec, memory?.usage, memory?.usageLimit);
  }
  const { pids, cpu, memory } = fromBinary(MetricsV1Schema, stats.value);
  return usage(pids?.current, cpu?.usage?.total, memory?.usage?.usage, memory?.usage?.limit);
}

export function usageOfCtr({ pids, cpu, memory }: CtrMetrics): Usage {
  return typeof memory?.usage === "object"
    ? usage(pids?.current, cpu?.usage?.total, memory.usage.usage, memory.usage.limit)
    : usage(pids?.current, cpu?.usage_usec, memory?.usage, memory?.usage_limit);
}

type Count = number | bigint | undefined;

function usage(processes: Count, cpuTime: Count, memory: Count, memoryLimit: Count): Usage {
  const number = (count: Count) => Number(count ?? 0);
  return {
    processes: number(processes),
    cpuTime: number(cpuTime),
    memory: number(memory),
    memoryLimit: number(memoryLimit),
  };
}
