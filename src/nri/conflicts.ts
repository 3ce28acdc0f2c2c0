import { Code } from "../code.js";
import { TtrpcError } from "../error.js";
import type {
  ContainerAdjustment,
  ContainerUpdate,
  LinuxResources,
} from "../protos/generated/nri/pkg/api/v1alpha1/nri_pb.js";
import { unmarked } from "./entries.js";

/*
 * NRI refuses what one plugin sets twice. An entry is named as in NRI's errors: by its field, and by its key if the field
 * has several.
 */

/** Refuses an adjustment that sets an entry twice. Throws a TtrpcError that names the entry. */
export function checkEntries(plugin: string, adjust: ContainerAdjustment): void {
  const { mounts, env, linux, rlimits, CDIDevices } = adjust;
  const entries = new Entries(plugin);
  for (const { destination } of mounts) if (isSet(destination)) entries.add("Mounts", destination);
  for (const { key } of env) if (isSet(key)) entries.add("Env", key);
  for (const { path } of linux?.devices ?? []) if (isSet(path)) entries.add("Devices", path);
  for (const { pageSize } of linux?.resources?.hugepageLimits ?? []) entries.add("HugepageLimits", pageSize);
  // A namespace that is removed and set counts as set twice.
  for (const { type } of linux?.namespaces ?? []) entries.add("Namespace", unmarked(type));
  for (const { type } of rlimits) entries.add("Rlimits", type);
  for (const { name } of CDIDevices) entries.add("CdiDevices", name);
}

/**
 * Refuses updates that set a resource of a container twice, and gives the others. Throws a TtrpcError that names the
 * resource, unless the update's failure is ignored.
 */
export function checkedUpdates(plugin: string, updates: readonly ContainerUpdate[]): ContainerUpdate[] {
  const containers = new Map<string, Entries>();
  return updates.filter(({ containerId, linux, ignoreFailure }) => {
    const entries = containers.get(containerId) ?? new Entries(plugin);
    containers.set(containerId, entries);
    try {
      if (linux?.resources !== undefined) addResources(entries, linux.resources);
      return true;
    } catch (error) {
      if (ignoreFailure) return false;
      throw error;
    }
  });
}

const MEMORY = {
  limit: "MemLimit",
  reservation: "MemReservation",
  swap: "MemSwapLimit",
  kernel: "MemKernelLimit",
  kernelTcp: "MemTCPLimit",
  swappiness: "MemSwappiness",
  disableOomKiller: "MemDisableOomKiller",
  useHierarchy: "MemUseHierarchy",
} as const;
const CPU = {
  shares: "CPUShares",
  quota: "CPUQuota",
  period: "CPUPeriod",
  realtimeRuntime: "CPURealtimeRuntime",
  realtimePeriod: "CPURealtimePeriod",
  cpus: "CPUSetCPUs",
  mems: "CPUSetMems",
} as const;
const CLASSES = { blockioClass: "BlockioClass", rdtClass: "RdtClass" } as const;

/** Without the limit of processes: NRI 0.12 does not look at those of updates. */
function addResources(entries: Entries, resources: LinuxResources): void {
  entries.addFields(resources.memory, MEMORY);
  entries.addFields(resources.cpu, CPU);
  for (const { pageSize } of resources.hugepageLimits) entries.add("HugepageLimits", pageSize);
  for (const file of Object.keys(resources.unified)) entries.add("CgroupsUnified", file);
  entries.addFields(resources, CLASSES);
}

/** What a plugin has set. */
class Entries {
  readonly #plugin: string;
  readonly #seen = new Set<string>();

  constructor(plugin: string) {
    this.#plugin = plugin;
  }

  add(field: string, key = ""): void {
    const entry = `${field} ${key}`;
    if (this.#seen.has(entry)) {
      throw new TtrpcError(
        `plugins "${this.#plugin}" and "${this.#plugin}" both tried to set ${entry}`,
        Code.Unknown,
      );
    }
    this.#seen.add(entry);
  }

  /** Adds the fields of a message that are set. */
  addFields<Message extends object>(
    message: Message | undefined,
    fields: { readonly [Name in keyof Message]?: string },
  ): void {
    for (const [name, field] of Object.entries(fields) as [keyof Message, string][]) {
      if (message?.[name] !== undefined && message[name] !== "") this.add(field);
    }
  }
}

function isSet(key: string): boolean {
  return !key.startsWith("-");
}
