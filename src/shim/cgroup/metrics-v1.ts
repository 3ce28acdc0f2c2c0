import type { MessageInitShape } from "@bufbuild/protobuf";
import { MemoryOomControlSchema, MemoryStatSchema, type MetricsSchema } from "../../protos/cgroups/v1.js";
import { CgroupFolder, fieldsOf, toNumber } from "./folder.js";

type Metrics = MessageInitShape<typeof MetricsSchema>;

/** cpuacct.stat counts ticks of 10 ms, whatever the kernel's own clock is. */
const TICK_NS = 10_000_000n;

/** What a container has used, by the controllers of version 1 that there are. */
export function metricsV1(controllers: ReadonlyMap<string, CgroupFolder>): Metrics {
  const [pids, memory, blkio, hugetlb, rdma] = ["pids", "memory", "blkio", "hugetlb", "rdma"].map((name) =>
    controllers.get(name),
  );
  return {
    cpu: cpu(controllers),
    ...(pids && { pids: { current: pids.number("pids.current"), limit: pidsLimit(pids) } }),
    ...(memory && { memory: memoryOf(memory), memoryOomControl: oomControl(memory) }),
    ...(blkio && { blkio: blkioOf(blkio) }),
    ...(hugetlb && { hugetlb: hugetlb.hugePageSizes().map((size) => hugePages(hugetlb, size)) }),
    ...(rdma && { rdma: { current: rdma.rdma("rdma.current"), limit: rdma.rdma("rdma.max") } }),
  };
}

/** Unlike with version 2, 0 stands for no limit here. */
function pidsLimit(folder: CgroupFolder): bigint {
  return folder.text("pids.max")?.trim() === "max" ? 0n : folder.number("pids.max");
}

function cpu(controllers: ReadonlyMap<string, CgroupFolder>): Metrics["cpu"] {
  const throttling = controllers.get("cpu")?.pairs("cpu.stat") ?? {};
  const accounting = controllers.get("cpuacct");
  const { user = 0n, system = 0n } = accounting?.pairs("cpuacct.stat") ?? {};
  return {
    usage: {
      total: accounting?.number("cpuacct.usage") ?? 0n,
      kernel: system * TICK_NS,
      user: user * TICK_NS,
      perCpu: accounting?.lines("cpuacct.usage_percpu")[0]?.filter(Boolean).map(toNumber) ?? [],
    },
    throttling: {
      periods: throttling["nr_periods"],
      throttledPeriods: throttling["nr_throttled"],
      throttledTime: throttling["throttled_time"],
    },
  };
}

function memoryOf(folder: CgroupFolder): Metrics["memory"] {
  return {
    ...fieldsOf(MemoryStatSchema, folder.pairs("memory.stat") ?? {}, kernelName),
    usage: memoryEntry(folder, "memory"),
    swap: memoryEntry(folder, "memory.memsw"),
    kernel: memoryEntry(folder, "memory.kmem"),
    kernelTcp: memoryEntry(folder, "memory.kmem.tcp"),
  };
}

/** The kernel writes pgpgin for what the message calls pg_pg_in, and memsw for swap. */
function kernelName(field: string): string {
  if (field === "hierarchical_swap_limit") return "hierarchical_memsw_limit";
  return field.replace(/pg_.*/, (name) => name.replaceAll("_", ""));
}

function memoryEntry(folder: CgroupFolder, prefix: string) {
  return {
    usage: folder.number(`${prefix}.usage_in_bytes`),
    max: folder.number(`${prefix}.max_usage_in_bytes`),
    failcnt: folder.number(`${prefix}.failcnt`),
    limit: folder.number(`${prefix}.limit_in_bytes`),
  };
}

function oomControl(folder: CgroupFolder): Metrics["memoryOomControl"] {
  return fieldsOf(MemoryOomControlSchema, folder.pairs("memory.oom_control") ?? {});
}

function hugePages(folder: CgroupFolder, size: string) {
  return {
    pagesize: size,
    usage: folder.number(`hugetlb.${size}.usage_in_bytes`),
    max: folder.number(`hugetlb.${size}.max_usage_in_bytes`),
    failcnt: folder.number(`hugetlb.${size}.failcnt`),
  };
}

function blkioOf(folder: CgroupFolder): Metrics["blkio"] {
  const devices = deviceNames();
  const entries = (name: string) => blkioEntries(folder, `blkio.${name}`, devices);
  const ofScheduler = {
    ioServiceBytesRecursive: entries("io_service_bytes_recursive"),
    ioServicedRecursive: entries("io_serviced_recursive"),
    ioQueuedRecursive: entries("io_queued_recursive"),
    ioServiceTimeRecursive: entries("io_service_time_recursive"),
    ioWaitTimeRecursive: entries("io_wait_time_recursive"),
    ioMergedRecursive: entries("io_merged_recursive"),
    ioTimeRecursive: entries("time_recursive"),
    sectorsRecursive: entries("sectors_recursive"),
  };
  // Only the scheduler CFQ had these files; what any has counts for throttling.
  if (Object.values(ofScheduler).some((list) => list.length > 0)) return ofScheduler;
  return {
    ioServicedRecursive: entries("throttle.io_serviced"),
    ioServiceBytesRecursive: entries("throttle.io_service_bytes"),
  };
}

/** Lines such as `253:0 Read 4096`, or without an operation; the sum at the end is left out. */
function blkioEntries(folder: CgroupFolder, name: string, devices: ReadonlyMap<string, string>) {
  return folder.lines(name).flatMap(([device = "", ...rest]) => {
    const [major, minor] = device.split(":");
    if (major === undefined || minor === undefined) return [];
    const [op, value] = rest.length === 2 ? rest : ["", rest[0]];
    return [
      {
        device: devices.get(device) ?? "",
        major: BigInt(major),
        minor: BigInt(minor),
        op: op ?? "",
        value: toNumber(value ?? ""),
      },
    ];
  });
}

/** None where /proc shows nothing but processes (`subset=pid`): the numbers of the devices are known all the same. */
function deviceNames(): Map<string, string> {
  const lines = new CgroupFolder("/proc").text("partitions")?.split("\n").slice(2);
  return new Map(
    lines?.map((line) => {
      const [major, minor, , name] = line.trim().split(/\s+/);
      return [`${major}:${minor}`, `/dev/${name}`];
    }),
  );
}
