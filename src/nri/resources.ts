import { create, type MessageInitShape } from "@bufbuild/protobuf";
import {
  type ContainerEviction,
  ContainerEvictionSchema,
  type ContainerUpdate,
  ContainerUpdateSchema,
  LinuxCPUSchema,
  LinuxMemorySchema,
  type LinuxResources,
  HugepageLimitSchema,
  LinuxResourcesSchema,
} from "../protos/generated/nri/pkg/api/v1alpha1/nri_pb.js";
import { setEntry } from "../codec/read.js";
import { putEntry } from "./entries.js";
import { checkMessage } from "./messages.js";
import { checkedInteger, type Integer, type RangedField } from "./ranges.js";
import { checkedBoolean, checkedString } from "../options.js";
import { checkedKey, checkedObject, isOf } from "./values.js";

/**
 * Memory of a container. Limits are in bytes, 0 or more; -1 means no limit. Runtimes, as of NRI 0.12, take only `limit`,
 * and in a new container also set `swap` to the same value.
 */
export interface MemorySpec {
  /** The limit. */
  readonly limit?: Integer | undefined;
  /** The soft limit. */
  readonly reservation?: Integer | undefined;
  /** The limit of memory and swap together. */
  readonly swap?: Integer | undefined;
  /** The limit of the kernel's memory. */
  readonly kernel?: Integer | undefined;
  /** The limit of the kernel's TCP buffers. */
  readonly kernelTcp?: Integer | undefined;
  /** How readily the kernel swaps, from 0 to 100. */
  readonly swappiness?: Integer | undefined;
  /** Whether processes wait, rather than being killed, when memory runs out. */
  readonly disableOomKiller?: boolean | undefined;
  /** Whether the limits hold for the cgroups below. */
  readonly useHierarchy?: boolean | undefined;
}

/** Processor time of a container. Times are in microseconds. */
export interface CpuSpec {
  /** The weight among other cgroups, from 2 to 262 144; 1024 is usual, and 0 means the kernel's default. */
  readonly shares?: Integer | undefined;
  /** The time in each period, 1 000 or more; -1 means no limit, and 0 the kernel's default. */
  readonly quota?: Integer | undefined;
  /** The length of a period, from 1 000 to 1 000 000; 0 means the kernel's default. */
  readonly period?: Integer | undefined;
  /** The time of real-time processes in each real-time period; -1 means no limit. */
  readonly realtimeRuntime?: Integer | undefined;
  /** The length of a real-time period. */
  readonly realtimePeriod?: Integer | undefined;
  /** The CPUs to run on, as in `0-3,8`. */
  readonly cpus?: string | undefined;
  /** The NUMA nodes to allocate memory on, as in `0-1`. */
  readonly mems?: string | undefined;
}

/** Resources of a container. What is left out stays as it is. */
export interface ResourcesSpec {
  /** Limits of memory. */
  readonly memory?: MemorySpec | undefined;
  /** Limits of processor time. */
  readonly cpu?: CpuSpec | undefined;
  /**
   * The most processes and threads of a new container, up to 4 194 304. -1 means no limit, but does not lift an existing
   * one.
   */
  readonly pids?: Integer | undefined;
  /** Bytes of huge pages by their size: `{ "2MB": 64 << 20 }`. */
  readonly hugepages?: Readonly<Record<string, Integer>> | undefined;
  /** A class of block I/O that the runtime is configured with. */
  readonly blockioClass?: string | undefined;
  /** A class of cache and memory bandwidth that the runtime is configured with. */
  readonly rdtClass?: string | undefined;
  /** Files of cgroup v2 and what is written to them: `{ "memory.high": "1000000" }`. */
  readonly unified?: Readonly<Record<string, string>> | undefined;
}

/** A change to a container that exists. */
export interface UpdateSpec {
  /** The container's id. */
  readonly containerId: string;
  /** Its new resources. */
  readonly resources?: ResourcesSpec | LinuxResources | undefined;
  /** Whether the request continues if this update fails. Default false. */
  readonly ignoreFailure?: boolean | undefined;
}

/** A container to stop, and why. */
export interface EvictionSpec {
  /** The container's id. */
  readonly containerId: string;
  /** The reason, for people. */
  readonly reason?: string | undefined;
}

const MEMORY = {
  limit: "LinuxMemory.limit",
  reservation: "LinuxMemory.reservation",
  swap: "LinuxMemory.swap",
  kernel: "LinuxMemory.kernel",
  kernelTcp: "LinuxMemory.kernelTcp",
  swappiness: "LinuxMemory.swappiness",
} as const satisfies Partial<Record<keyof MemorySpec, RangedField>>;
const MEMORY_FLAGS = ["disableOomKiller", "useHierarchy"] as const;
const CPU = {
  shares: "LinuxCPU.shares",
  quota: "LinuxCPU.quota",
  period: "LinuxCPU.period",
  realtimeRuntime: "LinuxCPU.realtimeRuntime",
  realtimePeriod: "LinuxCPU.realtimePeriod",
} as const satisfies Partial<Record<keyof CpuSpec, RangedField>>;
const CPU_LISTS = ["cpus", "mems"] as const;
const NAMES = ["memory", "cpu", "pids", "hugepages", "blockioClass", "rdtClass", "unified"];

/**
 * Makes a `LinuxResources` message from plain values, and adds its wrappers around the values that may be absent.
 *
 * ```ts
 * resources({ cpu: { cpus: "0-3" }, memory: { limit: 1 << 30 } });
 * ```
 *
 * Throws a TypeError that names a wrong field.
 */
export function resources(spec: ResourcesSpec): LinuxResources {
  return addResources(create(LinuxResourcesSchema), spec, "resources");
}

/** Sets what a spec has. */
export function addResources(target: LinuxResources, spec: ResourcesSpec, at: string): LinuxResources {
  const given = checkedObject(spec, at, NAMES) as ResourcesSpec;
  if (given.memory !== undefined) addMemory(target, given.memory, `${at}.memory`);
  if (given.cpu !== undefined) addCpu(target, given.cpu, `${at}.cpu`);
  const init: MessageInitShape<typeof LinuxResourcesSchema> = {};
  if (given.pids !== undefined)
    init.pids = { limit: checkedInteger(given.pids, `${at}.pids`, "LinuxPids.limit") };
  for (const name of ["blockioClass", "rdtClass"] as const) {
    const value = given[name];
    if (value !== undefined) init[name] = { value: checkedString(value, `${at}.${name}`) };
  }
  Object.assign(target, pick(create(LinuxResourcesSchema, init), Object.keys(init)));
  for (const [pageSize, limit] of Object.entries(optional(given.hugepages, `${at}.hugepages`))) {
    const checked = checkedInteger(
      limit,
      `${at}.hugepages[${JSON.stringify(pageSize)}]`,
      "HugepageLimit.limit",
    );
    const hugepages = create(HugepageLimitSchema, { pageSize, limit: checked });
    putEntry(target.hugepageLimits, hugepages, (each) => each.pageSize, [pageSize]);
  }
  for (const [file, value] of Object.entries(optional(given.unified, `${at}.unified`))) {
    checkedKey(file, `a key of ${at}.unified`);
    setEntry(target.unified, file, checkedString(value, `${at}.unified[${JSON.stringify(file)}]`));
  }
  return target;
}

/** Some fields of a message. */
function pick(message: object, names: readonly string[]): object {
  return Object.fromEntries(Object.entries(message).filter(([name]) => names.includes(name)));
}

function optional(value: unknown, name: string): Record<string, unknown> {
  return value === undefined ? {} : checkedObject(value, name);
}

function addMemory(target: LinuxResources, spec: MemorySpec, at: string): void {
  checkedObject(spec, at, [...Object.keys(MEMORY), ...MEMORY_FLAGS]);
  const memory: Record<string, { value: bigint | boolean }> = {};
  for (const [name, range] of Object.entries(MEMORY) as [keyof typeof MEMORY, RangedField][]) {
    const value = spec[name];
    if (value !== undefined) memory[name] = { value: checkedInteger(value, `${at}.${name}`, range) };
  }
  for (const name of MEMORY_FLAGS) {
    const value = spec[name];
    if (value !== undefined) memory[name] = { value: checkedBoolean(value, `${at}.${name}`) };
  }
  const made = create(LinuxMemorySchema, memory as MessageInitShape<typeof LinuxMemorySchema>);
  target.memory = Object.assign(target.memory ?? create(LinuxMemorySchema), pick(made, Object.keys(memory)));
}

function addCpu(target: LinuxResources, spec: CpuSpec, at: string): void {
  checkedObject(spec, at, [...Object.keys(CPU), ...CPU_LISTS]);
  const cpu: Record<string, { value: bigint } | string> = {};
  for (const [name, range] of Object.entries(CPU) as [keyof typeof CPU, RangedField][]) {
    const value = spec[name];
    if (value !== undefined) cpu[name] = { value: checkedInteger(value, `${at}.${name}`, range) };
  }
  for (const name of CPU_LISTS) {
    const value = spec[name];
    if (value !== undefined) cpu[name] = checkedString(value, `${at}.${name}`);
  }
  const made = create(LinuxCPUSchema, cpu as MessageInitShape<typeof LinuxCPUSchema>);
  target.cpu = Object.assign(target.cpu ?? create(LinuxCPUSchema), pick(made, Object.keys(cpu)));
}

/** Makes the message of an update, whatever a handler has returned. Throws a TypeError that names a wrong field. */
export function updateOf(update: ContainerUpdate | UpdateSpec, at: string): ContainerUpdate {
  const message = isOf(update, ContainerUpdateSchema) ? update : madeUpdate(update as UpdateSpec, at);
  checkMessage(ContainerUpdateSchema, message, at);
  return message;
}

function madeUpdate(update: UpdateSpec, at: string): ContainerUpdate {
  const {
    containerId,
    resources: given,
    ignoreFailure,
  } = checkedObject(update, at, ["containerId", "resources", "ignoreFailure"]) as unknown as UpdateSpec;
  return create(ContainerUpdateSchema, {
    containerId: checkedString(containerId, `${at}.containerId`),
    ignoreFailure: ignoreFailure !== undefined && checkedBoolean(ignoreFailure, `${at}.ignoreFailure`),
    linux: given === undefined ? undefined : { resources: resourcesOf(given, `${at}.resources`) },
  });
}

/** Makes the message of resources from a spec. A message is checked, and returned as it is. */
export function resourcesOf(given: UpdateSpec["resources"], at: string): LinuxResources {
  if (!isOf(given, LinuxResourcesSchema))
    return addResources(create(LinuxResourcesSchema), given as ResourcesSpec, at);
  checkMessage(LinuxResourcesSchema, given, at);
  return given;
}

/** Makes the message of an eviction, whatever a handler has returned. Throws a TypeError that names a wrong field. */
export function evictionOf(eviction: ContainerEviction | EvictionSpec, at: string): ContainerEviction {
  const message = isOf(eviction, ContainerEvictionSchema)
    ? eviction
    : madeEviction(eviction as EvictionSpec, at);
  checkMessage(ContainerEvictionSchema, message, at);
  return message;
}

function madeEviction(eviction: EvictionSpec, at: string): ContainerEviction {
  const { containerId, reason = "" } = checkedObject(eviction, at, ["containerId", "reason"]);
  return create(ContainerEvictionSchema, {
    containerId: checkedString(containerId, `${at}.containerId`),
    reason: checkedString(reason, `${at}.reason`),
  });
}
