import { posix } from "node:path";
import { clone, create } from "@bufbuild/protobuf";
import { setEntry } from "../codec/read.js";
import {
  type Container,
  type ContainerAdjustment,
  ContainerAdjustmentSchema,
  ContainerSchema,
  HooksSchema,
  type KeyValue,
  type LinuxContainer,
  type LinuxContainerAdjustment,
  LinuxContainerSchema,
  type LinuxDevice,
  LinuxDeviceCgroupSchema,
  LinuxMemorySchema,
  LinuxPidsSchema,
  type LinuxRdt,
  LinuxRdtSchema,
  type LinuxResources,
  LinuxResourcesSchema,
  type Mount,
} from "../protos/generated/nri/pkg/api/v1alpha1/nri_pb.js";
import { addHooks, hasHooks, isRemoval, nameOf } from "./creation.js";
import { unmarked } from "./entries.js";

/**
 * The container that a runtime makes with what plugins ask for together. Of the limits of memory, NRI 0.12.5 applies
 * only `limit`, and uses it as the limit of swap, too.
 */
export function created(container: Container, adjust: ContainerAdjustment): Container {
  const result = clone(ContainerSchema, container);
  const given = clone(ContainerAdjustmentSchema, adjust);
  result.env = withVariables(result.env, given.env);
  applyRecord(result.annotations, given.annotations);
  result.mounts = withMounts(result.mounts, given.mounts);
  result.rlimits.push(...given.rlimits);
  result.CDIDevices.push(...given.CDIDevices);
  if (given.args.length > 0) result.args = given.args;
  if (hasHooks(given.hooks)) addHooks((result.hooks ??= create(HooksSchema)), given.hooks);
  if (given.linux !== undefined) applyLinux((result.linux ??= create(LinuxContainerSchema)), given.linux);
  return result;
}

function applyLinux(to: LinuxContainer, adjust: LinuxContainerAdjustment): void {
  const changed = new Set(adjust.devices.map(({ path }) => unmarked(path)));
  const added = adjust.devices.filter(({ path }) => !isRemoval(path));
  to.devices = [...to.devices.filter(({ path }) => !changed.has(path)), ...added];
  for (const namespace of adjust.namespaces) {
    const type = unmarked(namespace.type);
    const at = to.namespaces.findIndex((each) => each.type === type);
    const put = isRemoval(namespace.type) ? [] : [namespace];
    to.namespaces.splice(at === -1 ? to.namespaces.length : at, 1, ...put);
  }
  applyRecord(to.sysctl, adjust.sysctl);
  applyRecord(to.netDevices, adjust.netDevices);
  if (adjust.resources !== undefined) to.resources = createdResources(to.resources, adjust.resources, added);
  to.cgroupsPath = adjust.cgroupsPath || to.cgroupsPath;
  to.oomScoreAdj = adjust.oomScoreAdj ?? to.oomScoreAdj;
  to.ioPriority = adjust.ioPriority ?? to.ioPriority;
  to.seccompPolicy = adjust.seccompPolicy ?? to.seccompPolicy;
  to.scheduler = adjust.scheduler ?? to.scheduler;
  if (adjust.rdt !== undefined) to.rdt = withRdt(to.rdt, adjust.rdt);
}

/** The resources of a new container. The device cgroup lets it use the devices that are added. */
function createdResources(
  before: LinuxResources | undefined,
  change: LinuxResources,
  devices: readonly LinuxDevice[],
): LinuxResources {
  const { memory, pids } = change;
  const result = withResources(before, { ...change, memory: undefined, pids: undefined });
  if (memory?.limit?.value)
    result.memory = create(LinuxMemorySchema, { ...result.memory, limit: memory.limit, swap: memory.limit });
  // No limit is not a value, so it does not take back one that the container has.
  if (pids !== undefined) result.pids = pids.limit > -1n ? pids : (result.pids ?? create(LinuxPidsSchema));
  for (const { type, major, minor } of devices) {
    const numbers = { major: { value: major }, minor: { value: minor } };
    const rule = { allow: true, type, ...numbers, access: type === "b" ? "rwm" : "rw" };
    result.devices.push(create(LinuxDeviceCgroupSchema, rule));
  }
  result.devices.push(...change.devices);
  return result;
}

/** Resources with a change, in which what is absent stays as it was. */
export function withResources(before: LinuxResources | undefined, change: LinuxResources): LinuxResources {
  const result = before === undefined ? create(LinuxResourcesSchema) : clone(LinuxResourcesSchema, before);
  const { memory, cpu } = change;
  if (memory !== undefined) result.memory = { ...(result.memory ?? memory), ...setFields(memory) };
  if (cpu !== undefined) result.cpu = { ...(result.cpu ?? cpu), ...setFields(cpu) };
  for (const limit of change.hugepageLimits) {
    const known = result.hugepageLimits.find(({ pageSize }) => pageSize === limit.pageSize);
    if (known === undefined) result.hugepageLimits.push(limit);
    else known.limit = limit.limit;
  }
  applyRecord(result.unified, change.unified);
  result.pids = change.pids ?? result.pids;
  result.blockioClass = change.blockioClass ?? result.blockioClass;
  result.rdtClass = change.rdtClass ?? result.rdtClass;
  return result;
}

function setFields<T extends object>(message: T): Partial<T> {
  const entries = Object.entries(message).filter(([, value]) => value !== undefined && value !== "");
  return Object.fromEntries(entries) as Partial<T>;
}

/** Variables that the container has keep their places. A line without `=` is lost when any variable changes. */
function withVariables(lines: readonly string[], changes: readonly KeyValue[]): string[] {
  if (changes.length === 0) return [...lines];
  const variables = new Map(lines.filter((line) => line.includes("=")).map((line) => [nameOf(line), line]));
  for (const { key, value } of changes) variables.set(key, `${key}=${value}`);
  return [...variables.values()];
}

/** Mounts are sorted when any changes, so that none hides another below it. */
function withMounts(mounts: readonly Mount[], changes: readonly Mount[]): Mount[] {
  if (changes.length === 0) return [...mounts];
  const result = [...mounts];
  for (const change of changes) {
    const destination = unmarked(change.destination);
    const at = result.findIndex((mount) => mount.destination === destination);
    if (at !== -1) result.splice(at, 1);
    if (!isRemoval(change.destination)) result.push(change);
  }
  return result.toSorted((one, other) => {
    const deeper = depthOf(one) - depthOf(other);
    return deeper === 0 ? (one.destination < other.destination ? -1 : 1) : deeper;
  });
}

function depthOf({ destination }: Mount): number {
  return posix
    .normalize(destination)
    .replace(/(?<=.)\/$/, "")
    .split("/").length;
}

/** The changes are in the order in which plugins made them. */
function applyRecord<T>(to: Record<string, T>, changes: Readonly<Record<string, T>>): void {
  for (const [key, value] of Object.entries(changes)) {
    if (isRemoval(key)) delete to[unmarked(key)];
    else setEntry(to, key, value);
  }
}

/** A container's RDT with what plugins ask for together. */
function withRdt(before: LinuxRdt | undefined, asked: LinuxRdt): LinuxRdt | undefined {
  if (asked.remove) return undefined;
  const { closId, schemata, enableMonitoring } = asked;
  if ([closId, schemata, enableMonitoring].every((field) => field === undefined)) return before;
  return Object.assign(create(LinuxRdtSchema), before, setFields({ closId, schemata, enableMonitoring }));
}
