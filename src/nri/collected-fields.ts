import {
  Field,
  type LinuxCPU,
  type LinuxContainerAdjustment,
  type LinuxMemory,
  type LinuxResources,
} from "../protos/generated/nri/pkg/api/v1alpha1/nri_pb.js";
import type { Owners } from "./owners.js";

/** The fields of a message that plugins may set, and their names in NRI's list of owners. */
export type Owned<Message> = { readonly [Name in keyof Message]?: Field };

export const MEMORY: Owned<LinuxMemory> = {
  limit: Field.MemLimit,
  reservation: Field.MemReservation,
  swap: Field.MemSwapLimit,
  kernel: Field.MemKernelLimit,
  kernelTcp: Field.MemTCPLimit,
  swappiness: Field.MemSwappiness,
  disableOomKiller: Field.MemDisableOomKiller,
  useHierarchy: Field.MemUseHierarchy,
};
export const CPU: Owned<LinuxCPU> = {
  shares: Field.CPUShares,
  quota: Field.CPUQuota,
  period: Field.CPUPeriod,
  realtimeRuntime: Field.CPURealtimeRuntime,
  realtimePeriod: Field.CPURealtimePeriod,
  cpus: Field.CPUSetCPUs,
  mems: Field.CPUSetMems,
};
export const CLASSES: Owned<LinuxResources> = { blockioClass: Field.BlockioClass, rdtClass: Field.RdtClass };
/** What later plugins see in the container too. */
export const LINUX = {
  cgroupsPath: Field.CgroupsPath,
  oomScoreAdj: Field.OomScoreAdj,
  ioPriority: Field.IoPriority,
  seccompPolicy: Field.SeccompPolicy,
} as const satisfies Owned<LinuxContainerAdjustment>;
export const RDT = {
  closId: Field.RdtClosID,
  schemata: Field.RdtSchemata,
  enableMonitoring: Field.RdtEnableMonitoring,
} as const;

/** Claims the fields of a message that are set, and sets them in others. Gives whether there was any. */
export function claimFields<Message extends object>(
  owners: Owners,
  id: string,
  plugin: string,
  from: Message | undefined,
  fields: Owned<Message>,
  ...targets: readonly object[]
): boolean {
  let some = false;
  for (const [name, field] of Object.entries(fields) as [keyof Message, Field][]) {
    const value = from?.[name];
    if (value === undefined || value === "") continue;
    owners.claim(id, field, plugin);
    for (const target of targets) (target as Message)[name] = value;
    some = true;
  }
  return some;
}
