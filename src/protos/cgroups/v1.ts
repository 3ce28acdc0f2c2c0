/**
 * The metrics of a container under cgroups of version 1 (one hierarchy per controller), which a shim packs into the
 * reply to `Task.Stats`.
 *
 * ```ts
 * import { connect, createClient, unpackAny } from "containerd-shim-protos";
 * import { MetricsSchema } from "containerd-shim-protos/cgroups/v1";
 * import { Task } from "containerd-shim-protos/task/v3";
 *
 * await using connection = await connect("unix:///run/containerd/s/abc");
 * const { stats } = await createClient(Task, connection).stats({ id: "my-container" });
 * const metrics = stats && unpackAny(stats, MetricsSchema);
 * console.log(metrics?.memory?.usage?.usage); // a bigint, in bytes
 * ```
 *
 * @module
 */

export {
  type Metrics,
  MetricsSchema,
  type HugetlbStat,
  HugetlbStatSchema,
  type PidsStat,
  PidsStatSchema,
  type CPUStat,
  CPUStatSchema,
  type CPUUsage,
  CPUUsageSchema,
  type Throttle,
  ThrottleSchema,
  type MemoryStat,
  MemoryStatSchema,
  type MemoryEntry,
  MemoryEntrySchema,
  type MemoryOomControl,
  MemoryOomControlSchema,
  type BlkIOStat,
  BlkIOStatSchema,
  type BlkIOEntry,
  BlkIOEntrySchema,
  type RdmaStat,
  RdmaStatSchema,
  type RdmaEntry,
  RdmaEntrySchema,
  type NetworkStat,
  NetworkStatSchema,
  type CgroupStats,
  CgroupStatsSchema,
} from "../generated/io/containerd/cgroups/v1/metrics_pb.js";
