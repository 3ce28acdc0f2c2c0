/**
 * The metrics of a container under cgroups of version 2 (the unified hierarchy), which a shim packs into the
 * reply to `Task.Stats`.
 *
 * ```ts
 * import { connect, createClient, unpackAny } from "containerd-shim-protos";
 * import { MetricsSchema } from "containerd-shim-protos/cgroups/v2";
 * import { Task } from "containerd-shim-protos/task/v3";
 *
 * await using connection = await connect("unix:///run/containerd/s/abc");
 * const { stats } = await createClient(Task, connection).stats({ id: "my-container" });
 * const metrics = stats && unpackAny(stats, MetricsSchema);
 * console.log(metrics?.memory?.usage); // a bigint, in bytes
 * ```
 *
 * @module
 */

export {
  type Metrics,
  MetricsSchema,
  type PSIData,
  PSIDataSchema,
  type PSIStats,
  PSIStatsSchema,
  type PidsStat,
  PidsStatSchema,
  type CPUStat,
  CPUStatSchema,
  type MemoryStat,
  MemoryStatSchema,
  type MemoryEvents,
  MemoryEventsSchema,
  type RdmaStat,
  RdmaStatSchema,
  type RdmaEntry,
  RdmaEntrySchema,
  type IOStat,
  IOStatSchema,
  type IOEntry,
  IOEntrySchema,
  type HugeTlbStat,
  HugeTlbStatSchema,
  type NetworkStat,
  NetworkStatSchema,
} from "../generated/io/containerd/cgroups/v2/metrics_pb.js";
