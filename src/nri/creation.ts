import { clone, create } from "@bufbuild/protobuf";
import { setEntry } from "../codec/read.js";
import {
  type Container,
  type ContainerAdjustment,
  ContainerAdjustmentSchema,
  ContainerSchema,
  Field,
  type Hooks,
  HooksSchema,
  type LinuxContainerAdjustment,
  LinuxContainerAdjustmentSchema,
  LinuxContainerSchema,
  LinuxCPUSchema,
  LinuxMemorySchema,
  LinuxNetDeviceSchema,
  type LinuxRdt,
  LinuxRdtSchema,
  type LinuxResources,
  LinuxResourcesSchema,
} from "../protos/generated/nri/pkg/api/v1alpha1/nri_pb.js";
import { CLASSES, CPU, LINUX, MEMORY, RDT, claimFields } from "./collected-fields.js";
import { CollectedUpdates } from "./collected-updates.js";
import { HOOK_PHASES } from "./adjustment-spec.js";
import { unmarked } from "./entries.js";
import { Owners } from "./owners.js";

/** The name in NAME=value. */
export function nameOf(line: string): string {
  return line.split("=", 1)[0] ?? "";
}

/** A list whose entries have keys, in an adjustment and in the container that later plugins see. */
interface Entries<Change, Seen> {
  readonly field: Field;
  readonly changes: readonly Change[];
  readonly adjust: readonly Change[];
  readonly seen: readonly Seen[];
  keyOf(change: Change): string;
  seenKeyOf(seen: Seen): string;
  seenOf(change: Change): Seen;
}

/**
 * What plugins change of a container that is being created, put together as NRI 0.12.5 does, with its oddities: later
 * plugins see an annotation, sysctl or network device that was removed, and the removal of an environment variable or of a
 * device reaches only what a plugin has set before.
 */
export class Creation {
  /** The container as the next plugin sees it. */
  readonly seen: Container;
  /** What all plugins ask for together. */
  readonly adjust: ContainerAdjustment;
  /** Which plugin set what. */
  readonly owners = new Owners();
  /** Updates of other containers. */
  readonly updates: CollectedUpdates;

  constructor(container: Container) {
    this.seen = clone(ContainerSchema, container);
    this.seen.hooks ??= create(HooksSchema);
    const linux = (this.seen.linux ??= create(LinuxContainerSchema));
    const resources = (linux.resources ??= create(LinuxResourcesSchema));
    resources.memory ??= create(LinuxMemorySchema);
    resources.cpu ??= create(LinuxCPUSchema);
    this.adjust = create(ContainerAdjustmentSchema, {
      hooks: {},
      linux: { resources: { memory: {}, cpu: {} } },
    });
    this.updates = new CollectedUpdates(this.owners, { created: container.id });
  }

  /** Adds what a plugin changes. Throws a TtrpcError if it sets what another has set, or sets anything twice. */
  add(plugin: string, change: ContainerAdjustment): void {
    const { seen, adjust } = this;
    const { annotations, mounts, env, args, hooks, linux, rlimits, CDIDevices } = clone(
      ContainerAdjustmentSchema,
      change,
    );
    this.#record(plugin, Field.Annotations, annotations, adjust.annotations, seen.annotations, "");
    const newMounts = this.#entries(plugin, {
      field: Field.Mounts,
      changes: mounts,
      adjust: adjust.mounts,
      seen: seen.mounts,
      keyOf: (mount) => mount.destination,
      seenKeyOf: (mount) => mount.destination,
      seenOf: (mount) => mount,
    });
    adjust.mounts = [...newMounts.adjust, ...newMounts.removals];
    seen.mounts = newMounts.seen;
    const newEnv = this.#entries(plugin, {
      field: Field.Env,
      changes: env,
      adjust: adjust.env,
      seen: seen.env,
      keyOf: ({ key }) => key,
      seenKeyOf: nameOf,
      seenOf: ({ key, value }) => `${key}=${value}`,
    });
    adjust.env = newEnv.adjust;
    seen.env = newEnv.seen;
    this.#args(plugin, args);
    if (hooks !== undefined) this.#hooks(plugin, hooks);
    if (linux !== undefined) this.#linux(plugin, linux);
    for (const rlimit of rlimits) {
      this.#claim(plugin, Field.Rlimits, rlimit.type);
      seen.rlimits.push(rlimit);
      adjust.rlimits.push(rlimit);
    }
    for (const device of CDIDevices) {
      this.#claim(plugin, Field.CdiDevices, device.name);
      adjust.CDIDevices.push(device);
    }
  }

  #claim(plugin: string, field: Field, key?: string): void {
    this.owners.claim(this.seen.id, field, plugin, key);
  }

  #clear(plugin: string, field: Field, key?: string): void {
    this.owners.clear(this.seen.id, field, plugin, key);
  }

  #args(plugin: string, args: readonly string[]): void {
    if (args.length === 0) return;
    if (args[0] === "") this.#clear(plugin, Field.Args);
    this.#claim(plugin, Field.Args);
    this.adjust.args = args.slice(args[0] === "" ? 1 : 0);
    this.seen.args = this.adjust.args;
  }

  #hooks(plugin: string, hooks: Hooks): void {
    addHooks(this.adjust.hooks as Hooks, hooks);
    addHooks(this.seen.hooks as Hooks, hooks);
    if (hasHooks(hooks)) this.owners.join(this.seen.id, Field.OciHooks, plugin);
  }

  #linux(plugin: string, change: LinuxContainerAdjustment): void {
    const seen = (this.seen.linux ??= create(LinuxContainerSchema));
    const adjust = (this.adjust.linux ??= create(LinuxContainerAdjustmentSchema));
    const devices = this.#entries(plugin, {
      field: Field.Devices,
      changes: change.devices,
      adjust: adjust.devices,
      seen: seen.devices,
      keyOf: ({ path }) => path,
      seenKeyOf: ({ path }) => path,
      seenOf: (device) => device,
    });
    adjust.devices = devices.adjust;
    seen.devices = devices.seen;
    if (change.resources !== undefined) this.#resources(plugin, change.resources);
    claimFields(this.owners, this.seen.id, plugin, change, LINUX, seen, adjust);
    for (const namespace of change.namespaces) {
      const type = unmarked(namespace.type);
      this.#claim(plugin, Field.Namespace, type);
      adjust.namespaces.push(namespace);
      seen.namespaces = seen.namespaces.filter((each) => each.type !== type);
      if (type === namespace.type) seen.namespaces.push(namespace);
    }
    this.#record(plugin, Field.Sysctl, change.sysctl, adjust.sysctl, seen.sysctl, "");
    const none = create(LinuxNetDeviceSchema);
    this.#record(plugin, Field.LinuxNetDevices, change.netDevices, adjust.netDevices, seen.netDevices, none);
    claimFields(this.owners, this.seen.id, plugin, change, { scheduler: Field.LinuxSched }, seen, adjust);
    adjust.rdt = this.#rdt(plugin, adjust.rdt ?? create(LinuxRdtSchema), change.rdt);
    claimFields(this.owners, this.seen.id, plugin, change, { memoryPolicy: Field.MemoryPolicy }, adjust);
  }

  #resources(plugin: string, change: LinuxResources): void {
    const both = [this.seen.linux?.resources, this.adjust.linux?.resources] as LinuxResources[];
    const id = this.seen.id;
    const parts = <Name extends "memory" | "cpu">(name: Name) => both.map((to) => to[name] as object);
    claimFields(this.owners, id, plugin, change.memory, MEMORY, ...parts("memory"));
    claimFields(this.owners, id, plugin, change.cpu, CPU, ...parts("cpu"));
    for (const limit of change.hugepageLimits) {
      this.#claim(plugin, Field.HugepageLimits, limit.pageSize);
      for (const to of both) to.hugepageLimits.push(limit);
    }
    for (const to of both) to.devices.push(...change.devices);
    for (const [file, value] of Object.entries(change.unified)) {
      this.#claim(plugin, Field.CgroupsUnified, file);
      for (const to of both) setEntry(to.unified, file, value);
    }
    claimFields(this.owners, id, plugin, change, CLASSES, ...both);
    claimFields(this.owners, id, plugin, change, { pids: Field.PidsLimit }, ...both);
  }

  /** A removal counts for what was set before it, and for the container's own until a field is set. */
  #rdt(plugin: string, before: LinuxRdt, change: LinuxRdt | undefined): LinuxRdt {
    if (change?.remove) for (const field of Object.values(RDT)) this.#clear(plugin, field);
    const rdt = change?.remove ? create(LinuxRdtSchema, { remove: true }) : before;
    if (claimFields(this.owners, this.seen.id, plugin, change, RDT, rdt)) rdt.remove = false;
    return rdt;
  }

  /** Changes a list. A removal clears what a plugin has set; `removals` are those of entries that are not set again. */
  #entries<Change, Seen>(plugin: string, entries: Entries<Change, Seen>) {
    const { field, changes, keyOf, seenKeyOf } = entries;
    const added = changes.filter((change) => !isRemoval(keyOf(change)));
    const addedKeys = new Set(added.map(keyOf));
    const removals = changes.filter((change) => isRemoval(keyOf(change)));
    const removedKeys = new Set(removals.map((change) => unmarked(keyOf(change))));
    const adjust = entries.adjust.filter((each) => {
      if (!removedKeys.has(keyOf(each))) return true;
      this.#clear(plugin, field, keyOf(each));
      return false;
    });
    const seen = entries.seen.filter((each) => {
      const key = seenKeyOf(each);
      return !removedKeys.has(key) && !addedKeys.has(key);
    });
    for (const change of added) {
      this.#claim(plugin, field, keyOf(change));
      adjust.push(change);
      seen.push(entries.seenOf(change));
    }
    return { adjust, seen, removals: removals.filter((change) => !addedKeys.has(unmarked(keyOf(change)))) };
  }

  /** Changes a record. What comes last in the adjustment is what counts. */
  #record<T>(
    plugin: string,
    field: Field,
    changes: Readonly<Record<string, T>>,
    adjust: Record<string, T>,
    seen: Record<string, T>,
    removal: T,
  ): void {
    const removed = new Set(Object.keys(changes).filter(isRemoval).map(unmarked));
    const put = (key: string, value: T) => {
      delete adjust[key];
      setEntry(adjust, key, value);
    };
    for (const [key, value] of Object.entries(changes)) {
      if (isRemoval(key)) continue;
      if (removed.delete(key)) {
        this.#clear(plugin, field, key);
        put(`-${key}`, removal);
      }
      this.#claim(plugin, field, key);
      put(key, value);
      setEntry(seen, key, value);
    }
    for (const key of removed) put(`-${key}`, removal);
  }
}

/** Adds hooks to others. */
export function addHooks(to: Hooks, added: Hooks): void {
  for (const phase of HOOK_PHASES) to[phase].push(...added[phase]);
}

/** Whether there are hooks of any phase. */
export function hasHooks(hooks: Hooks | undefined): hooks is Hooks {
  return hooks !== undefined && HOOK_PHASES.some((phase) => hooks[phase].length > 0);
}

/** Whether the key of an entry has the marker of a removal. */
export function isRemoval(key: string): boolean {
  return key.startsWith("-");
}
