import type { Any } from "@bufbuild/protobuf/wkt";
import { checkAny, unpackAny } from "../any.js";
import { bigintOf } from "../codec/longs.js";
import {
  type BlkIOEntry,
  type Metrics as MetricsV1,
  MetricsSchema as MetricsV1Schema,
} from "../protos/cgroups/v1.js";
import { type Metrics as MetricsV2, MetricsSchema as MetricsV2Schema } from "../protos/cgroups/v2.js";

/** What a container has used so far, with either version of cgroups. */
export interface Usage {
  /** The version of the cgroups. */
  readonly cgroup: 1 | 2;
  /** CPU time, summed over all CPUs. */
  readonly cpuSeconds: number;
  /** The memory in use. */
  readonly memoryBytes: number;
  /** The most memory that it may use; undefined without a limit. */
  readonly memoryLimitBytes: number | undefined;
  /** Bytes read from block devices. */
  readonly readBytes: number;
  /** Bytes written to block devices. */
  readonly writtenBytes: number;
  /** The number of processes and threads now. */
  readonly processes: number;
}

/** What a container has used, and the rates since the previous reading. */
export interface UsageSample extends Usage {
  /** When it was read. */
  readonly time: Date;
  /** CPU usage, in percent of one CPU. */
  readonly cpuPercent: number;
  /** Bytes read from block devices per second. */
  readonly readPerSecond: number;
  /** Bytes written to block devices per second. */
  readonly writtenPerSecond: number;
}

/** The rates between two readings that were `seconds` apart. A counter that went back is that of a restarted container. */
export function sampleOf(before: Usage, usage: Usage, seconds: number): UsageSample {
  const rate = (from: number, to: number) => Math.max(to - from, 0) / seconds;
  return {
    ...usage,
    time: new Date(),
    cpuPercent: rate(before.cpuSeconds, usage.cpuSeconds) * 100,
    readPerSecond: rate(before.readBytes, usage.readBytes),
    writtenPerSecond: rate(before.writtenBytes, usage.writtenBytes),
  };
}

/**
 * Reads the metrics of a Stats reply, of cgroup v1 or v2; undefined if they are of neither.
 *
 * ```ts
 * const { stats } = await task.stats({ id: "web" });
 * const usage = stats && usageOf(stats);
 * ```
 *
 * Throws a TypeError if `stats` is not an Any, and a TtrpcError of code `Internal` if its bytes do not decode.
 */
export function usageOf(stats: Any): Usage | undefined {
  checkAny(stats, "stats");
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
  const most = bigintOf(bytes ?? 0n);
  return most === 0n || most > NO_LIMIT ? undefined : Number(most);
}

function sum<T>(entries: readonly T[] | undefined, value: (entry: T) => bigint): number {
  return Number((entries ?? []).reduce((total, entry) => total + bigintOf(value(entry)), 0n));
}
