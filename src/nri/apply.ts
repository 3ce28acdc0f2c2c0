import { Buffer } from "node:buffer";
import { clone, create } from "@bufbuild/protobuf";
import { decode, encode } from "../codec/codec.js";
import { setEntry } from "../codec/read.js";
import {
  type Container,
  type ContainerAdjustment,
  ContainerAdjustmentSchema,
  ContainerSchema,
  type Hooks,
  HooksSchema,
  type LinuxContainer,
  type LinuxContainerAdjustment,
  LinuxContainerSchema,
  type LinuxRdt,
  LinuxRdtSchema,
  type LinuxResources,
  LinuxResourcesSchema,
} from "../protos/generated/nri/pkg/api/v1alpha1/nri_pb.js";

/** The name in NAME=value. */
export function nameOf(line: string): string {
  return line.split("=", 1)[0] ?? "";
}

/** A container with an adjustment, as the plugins after it see it: without changes of RDT. */
export function adjusted(container: Container, adjust: ContainerAdjustment): Container {
  const result = clone(ContainerSchema, container);
  const values = new Map(result.env.map((line) => [nameOf(line), line]));
  applyList(
    values,
    adjust.env.map(({ key, value }) => [key, `${key}=${value}`]),
  );
  result.env = [...values.values()];
  applyRecord(result.annotations, adjust.annotations);
  result.mounts = listed(result.mounts, adjust.mounts, (mount) => mount.destination);
  result.rlimits = listed(result.rlimits, adjust.rlimits, (limit) => limit.type);
  result.CDIDevices = listed(result.CDIDevices, adjust.CDIDevices, (device) => device.name);
  const { args } = adjust;
  if (args.length > 0) result.args = args[0] === "" ? args.slice(1) : args;
  if (adjust.hooks !== undefined) result.hooks = joinedHooks(result.hooks, adjust.hooks);
  if (adjust.linux !== undefined) applyLinux((result.linux ??= create(LinuxContainerSchema)), adjust.linux);
  return result;
}

function applyLinux(to: LinuxContainer, adjust: LinuxContainerAdjustment): void {
  to.devices = listed(to.devices, adjust.devices, (device) => device.path);
  to.namespaces = listed(to.namespaces, adjust.namespaces, (namespace) => namespace.type);
  applyRecord(to.sysctl, adjust.sysctl);
  applyRecord(to.netDevices, adjust.netDevices);
  if (adjust.resources !== undefined) to.resources = withResources(to.resources, adjust.resources);
  to.cgroupsPath = adjust.cgroupsPath || to.cgroupsPath;
  to.oomScoreAdj = adjust.oomScoreAdj ?? to.oomScoreAdj;
  to.ioPriority = adjust.ioPriority ?? to.ioPriority;
  to.seccompPolicy = adjust.seccompPolicy ?? to.seccompPolicy;
  to.scheduler = adjust.scheduler ?? to.scheduler;
}

/** Resources with a change, in which what is absent stays as it was. */
export function withResources(before: LinuxResources | undefined, change: LinuxResources): LinuxResources {
  const result = before === undefined ? create(LinuxResourcesSchema) : clone(LinuxResourcesSchema, before);
  const { memory, cpu } = change;
  if (memory !== undefined) result.memory = { ...(result.memory ?? memory), ...setFields(memory) };
  if (cpu !== undefined) result.cpu = { ...(result.cpu ?? cpu), ...setFields(cpu) };
  result.hugepageLimits = listed(result.hugepageLimits, change.hugepageLimits, (limit) => limit.pageSize);
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

function joinedHooks(before: Hooks | undefined, added: Hooks): Hooks {
  const result = create(HooksSchema, before);
  result.prestart.push(...added.prestart);
  result.createRuntime.push(...added.createRuntime);
  result.createContainer.push(...added.createContainer);
  result.startContainer.push(...added.startContainer);
  result.poststart.push(...added.poststart);
  result.poststop.push(...added.poststop);
  return result;
}

/** Removals come first, wherever they are. */
function applyList<T>(to: Map<string, T>, changes: readonly (readonly [string, T])[]): void {
  for (const [key] of changes) if (key.startsWith("-")) to.delete(key.slice(1));
  for (const [key, value] of changes) if (!key.startsWith("-")) to.set(key, value);
}

function listed<T>(before: readonly T[], changes: readonly T[], keyOf: (value: T) => string): T[] {
  const result = new Map(before.map((value) => [keyOf(value), value]));
  applyList(
    result,
    changes.map((value) => [keyOf(value), value]),
  );
  return [...result.values()];
}

function applyRecord<T>(to: Record<string, T>, changes: Readonly<Record<string, T>>): void {
  for (const key of Object.keys(changes)) if (key.startsWith("-")) delete to[key.slice(1)];
  for (const [key, value] of Object.entries(changes)) if (!key.startsWith("-")) setEntry(to, key, value);
}

/** What plugins ask for together. */
export function combined(adjustments: readonly ContainerAdjustment[]): ContainerAdjustment {
  // Parts of a message that follow each other are read as one.
  const parts = adjustments.map((adjust) => encode(ContainerAdjustmentSchema, adjust));
  const result = decode(ContainerAdjustmentSchema, Buffer.concat(parts));
  if (result.linux !== undefined) result.linux.rdt = combinedRdt(adjustments);
  return result;
}

/** A removal counts for what was set before it, and for the container's own until a field is set. */
function combinedRdt(adjustments: readonly ContainerAdjustment[]): LinuxRdt | undefined {
  let result: LinuxRdt | undefined;
  for (const rdt of adjustments.map(({ linux }) => linux?.rdt)) {
    if (rdt === undefined) continue;
    const before = rdt.remove ? create(LinuxRdtSchema, { remove: true }) : result;
    result = isSet(rdt) ? withFields(before, rdt) : (before ?? rdt);
  }
  return result;
}

/** A container's RDT with what plugins ask for together. */
export function withRdt(before: LinuxRdt | undefined, asked: LinuxRdt): LinuxRdt | undefined {
  if (asked.remove) return undefined;
  return isSet(asked) ? withFields(before, asked) : before;
}

function withFields(before: LinuxRdt | undefined, rdt: LinuxRdt): LinuxRdt {
  return create(LinuxRdtSchema, { ...before, ...setFields(rdt), remove: false });
}

function isSet({ closId, schemata, enableMonitoring }: LinuxRdt): boolean {
  return closId !== undefined || schemata !== undefined || enableMonitoring !== undefined;
}
