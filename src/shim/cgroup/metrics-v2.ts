import type { MessageInitShape } from "@bufbuild/protobuf";
import {
  CPUStatSchema,
  MemoryEventsSchema,
  MemoryStatSchema,
  type MetricsSchema,
} from "../../protos/cgroups/v2.js";
import { type CgroupFolder, fieldsOf, toNumber } from "./folder.js";

type Metrics = MessageInitShape<typeof MetricsSchema>;

/** What a container has used, by the one folder of version 2. */
export function metricsV2(folder: CgroupFolder): Metrics {
  const events = folder.pairs("memory.events");
  return {
    pids: { current: folder.number("pids.current"), limit: folder.number("pids.max") },
    cpu: {
      ...fieldsOf(CPUStatSchema, folder.pairs("cpu.stat") ?? {}),
      psi: pressure(folder, "cpu.pressure"),
    },
    memory: memory(folder),
    ...(events && { memoryEvents: fieldsOf(MemoryEventsSchema, events) }),
    io: { usage: io(folder), psi: pressure(folder, "io.pressure") },
    rdma: { current: folder.rdma("rdma.current"), limit: folder.rdma("rdma.max") },
    hugetlb: folder.hugePageSizes().map((size) => ({
      pagesize: size,
      current: folder.number(`hugetlb.${size}.current`),
      max: folder.number(`hugetlb.${size}.max`),
      failcnt: folder.pairs(`hugetlb.${size}.events`)?.["max"],
    })),
  };
}

function memory(folder: CgroupFolder): Metrics["memory"] {
  return {
    ...fieldsOf(MemoryStatSchema, folder.pairs("memory.stat") ?? {}),
    usage: folder.number("memory.current"),
    usageLimit: folder.number("memory.max"),
    maxUsage: folder.number("memory.peak"),
    swapUsage: folder.number("memory.swap.current"),
    swapLimit: folder.number("memory.swap.max"),
    swapMaxUsage: folder.number("memory.swap.peak"),
    psi: pressure(folder, "memory.pressure"),
  };
}

/** Lines such as `some avg10=0.12 avg60=0.05 avg300=0.01 total=12345`. */
function pressure(folder: CgroupFolder, name: string) {
  const kinds = folder.devices(name).map(({ device, values }) => [
    device,
    {
      avg10: Number(values["avg10"]),
      avg60: Number(values["avg60"]),
      avg300: Number(values["avg300"]),
      total: toNumber(values["total"] ?? ""),
    },
  ]);
  return kinds.length === 0 ? undefined : (Object.fromEntries(kinds) as { some?: object; full?: object });
}

function io(folder: CgroupFolder) {
  return folder.devices("io.stat").map(({ device, values }) => {
    const [major = "", minor = ""] = device.split(":");
    const { rbytes = "", wbytes = "", rios = "", wios = "" } = values;
    return {
      major: toNumber(major),
      minor: toNumber(minor),
      rbytes: toNumber(rbytes),
      wbytes: toNumber(wbytes),
      rios: toNumber(rios),
      wios: toNumber(wios),
    };
  });
}
