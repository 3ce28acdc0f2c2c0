/**
 * The statistics of a container on Windows, which hcsshim packs into the reply to `Task.Stats`.
 *
 * ```ts
 * import { connect, createClient, unpackAny } from "containerd-shim-protos";
 * import { Task } from "containerd-shim-protos/task/v3";
 * import { StatisticsSchema } from "containerd-shim-protos/windows";
 *
 * await using connection = await connect("tcp://127.0.0.1:4711");
 * const { stats } = await createClient(Task, connection).stats({ id: "my-container" });
 * const container = stats && unpackAny(stats, StatisticsSchema)?.container;
 * if (container?.case === "windows") console.log(container.value.memory?.memoryUsageCommitBytes);
 * ```
 *
 * @module
 */

export {
  type Statistics,
  StatisticsSchema,
  type WindowsContainerStatistics,
  WindowsContainerStatisticsSchema,
  type WindowsContainerProcessorStatistics,
  WindowsContainerProcessorStatisticsSchema,
  type WindowsContainerMemoryStatistics,
  WindowsContainerMemoryStatisticsSchema,
  type WindowsContainerStorageStatistics,
  WindowsContainerStorageStatisticsSchema,
  type VirtualMachineStatistics,
  VirtualMachineStatisticsSchema,
  type VirtualMachineProcessorStatistics,
  VirtualMachineProcessorStatisticsSchema,
  type VirtualMachineMemoryStatistics,
  VirtualMachineMemoryStatisticsSchema,
  type VirtualMachineMemory,
  VirtualMachineMemorySchema,
} from "./generated/containerd/runhcs/stats/v1/stats_pb.js";
// The statistics of a Linux container on Windows.
export { type Metrics, MetricsSchema } from "./generated/io/containerd/cgroups/v1/metrics_pb.js";
