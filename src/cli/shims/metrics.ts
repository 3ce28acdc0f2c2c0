import type { Any } from "@bufbuild/protobuf/wkt";
import { unpackAny } from "../../index.js";
import {
  type BlkIOEntry,
  type Metrics as MetricsV1,
  MetricsSchema as MetricsV1Schema,
} from "../../protos/cgroups/v1.js";
import { type Metrics as MetricsV2, MetricsSchema as MetricsV2Schema } from "../../protos/cgroups/v2.js";

/** What a container has used so far, in either version of cgroups. */
export interface Usage {
  /** The version of the cgroups. */
  readonly cgroup: 1 | 2;
  readonly cpuSeconds: number;
  readonly memoryBytes: number;
  /** Undefined without a limit. */
  readonly memoryLimitBytes: number | undefined;
  readonly readBytes: number;
  readonly writtenBytes: number;
  readonly processes: number;
}

/** Reads the metrics of a Stats reply; undefined if they are of neither version of cgroups. */
export function usageOf(stats: Any): Usage | undefined {
  const v1 = unpackAny(stats, MetricsV1Schema);
  if (v1 !== undefined) return ofV1(v1);
  const v2 = unpackAny(stats, MetricsV2Schema);
  return v2 && ofV2(v2);
}

function ofV1({ cpu, memory, blkio, pids }: MetricsV1): Usage {
  const total = (operation: string) =>
    sum(blkio?.ioServiceBytesRecursive, ({ op, value }: BlkIOEntry) =>
      op.toLowerCase() === operation ? value : 0n,
    );
  return {
    cgroup: 1,
    cpuSeconds: Number(cpu?.usage?.total ?? 0n) / 1e9,
    memoryBytes: Number(memory?.usage?.usage ?? 0n),
    memoryLimitBytes: limit(memory?.usage?.limit),
    readBytes: total("read"),
    writtenBytes: total("write"),
    processes: Number(pids?.current ?? 0n),
  };
}

function ofV2({ cpu, memory, io, pids }: MetricsV2): Usage {
  return {
    cgroup: 2,
    cpuSeconds: Number(cpu?.usageUsec ?? 0n) / 1e6,
    memoryBytes: Number(memory?.usage ?? 0n),
    memoryLimitBytes: limit(memory?.usageLimit),
    readBytes: sum(io?.usage, ({ rbytes }) => rbytes),
    writtenBytes: sum(io?.usage, ({ wbytes }) => wbytes),
    processes: Number(pids?.current ?? 0n),
  };
}

/** The kernel's "no limit" is its largest number, rounded down to whole pages. */
const NO_LIMIT = 2n ** 62n;

function limit(bytes: bigint | undefined): number | undefined {
  return bytes === undefined || bytes === 0n || bytes > NO_LIMIT ? undefined : Number(bytes);
}

function sum<T>(entries: readonly T[] | undefined, value: (entry: T) => bigint): number {
  return Number((entries ?? []).reduce((total, entry) => total + value(entry), 0n));
}
