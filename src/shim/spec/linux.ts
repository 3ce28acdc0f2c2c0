import type { IdMapping } from "./types.js";

/** What the specification has for Linux alone. */
export interface Linux {
  readonly uidMappings?: readonly IdMapping[];
  readonly gidMappings?: readonly IdMapping[];
  readonly sysctl?: Readonly<Record<string, string>>;
  readonly resources?: LinuxResources;
  /** The path of the container's cgroup below the root, or for systemd `slice:prefix:name`. */
  readonly cgroupsPath?: string;
  readonly namespaces?: readonly LinuxNamespace[];
  readonly devices?: readonly LinuxDevice[];
  readonly netDevices?: Readonly<Record<string, { readonly name?: string }>>;
  readonly seccomp?: LinuxSeccomp;
  readonly rootfsPropagation?: string;
  readonly maskedPaths?: readonly string[];
  readonly readonlyPaths?: readonly string[];
  readonly mountLabel?: string;
  readonly intelRdt?: LinuxIntelRdt;
  readonly memoryPolicy?: {
    readonly mode: string;
    readonly nodes: string;
    readonly flags?: readonly string[];
  };
  readonly personality?: { readonly domain: string; readonly flags?: readonly string[] };
  readonly timeOffsets?: Readonly<Record<string, { readonly secs?: number; readonly nanosecs?: number }>>;
}

/** A namespace of a container: a new one, or that of `path`. */
export interface LinuxNamespace {
  readonly type: "pid" | "network" | "uts" | "mount" | "ipc" | "user" | "cgroup" | "time" | (string & {});
  readonly path?: string;
}

/** A device file that is made in the container. */
export interface LinuxDevice {
  readonly path: string;
  /** `c`, `b`, `u` or `p`, as for mknod. */
  readonly type: string;
  readonly major?: number;
  readonly minor?: number;
  readonly fileMode?: number;
  readonly uid?: number;
  readonly gid?: number;
}

/** Limits of a container, also in `UpdateTaskRequest.resources`. Numbers above 2 ** 53 lose their last digits. */
export interface LinuxResources {
  readonly devices?: readonly LinuxDeviceRule[];
  readonly memory?: LinuxMemory;
  readonly cpu?: LinuxCpu;
  /** 0 and below are no limit. */
  readonly pids?: { readonly limit?: number };
  readonly blockIO?: LinuxBlockIo;
  /** In bytes, by sizes such as `2MB`. */
  readonly hugepageLimits?: readonly { readonly pageSize: string; readonly limit: number }[];
  readonly network?: {
    readonly classID?: number;
    readonly priorities?: readonly { readonly name: string; readonly priority: number }[];
  };
  readonly rdma?: Readonly<Record<string, { readonly hcaHandles?: number; readonly hcaObjects?: number }>>;
  /** Files of cgroup v2 and what is written to them. */
  readonly unified?: Readonly<Record<string, string>>;
}

/** Allows or refuses a container devices. */
export interface LinuxDeviceRule {
  readonly allow: boolean;
  readonly type?: string;
  readonly major?: number;
  readonly minor?: number;
  /** Letters of `rwm`. */
  readonly access?: string;
}

/** Limits of memory in bytes; -1 is no limit. */
export interface LinuxMemory {
  readonly limit?: number;
  readonly reservation?: number;
  /** Memory and swap together. */
  readonly swap?: number;
  readonly kernel?: number;
  readonly kernelTCP?: number;
  readonly swappiness?: number;
  readonly disableOOMKiller?: boolean;
  readonly useHierarchy?: boolean;
  readonly checkBeforeUpdate?: boolean;
}

/** Shares and limits of CPU time; times are in microseconds. */
export interface LinuxCpu {
  readonly shares?: number;
  readonly quota?: number;
  readonly burst?: number;
  readonly period?: number;
  readonly realtimeRuntime?: number;
  readonly realtimePeriod?: number;
  /** Lists such as `0-3,7`. */
  readonly cpus?: string;
  readonly mems?: string;
  readonly idle?: number;
}

/** Weights and limits of block devices; rates are in bytes or operations a second. */
export interface LinuxBlockIo {
  readonly weight?: number;
  readonly leafWeight?: number;
  readonly weightDevice?: readonly (BlockDevice & {
    readonly weight?: number;
    readonly leafWeight?: number;
  })[];
  readonly throttleReadBpsDevice?: readonly ThrottledDevice[];
  readonly throttleWriteBpsDevice?: readonly ThrottledDevice[];
  readonly throttleReadIOPSDevice?: readonly ThrottledDevice[];
  readonly throttleWriteIOPSDevice?: readonly ThrottledDevice[];
}

interface BlockDevice {
  readonly major: number;
  readonly minor: number;
}

interface ThrottledDevice extends BlockDevice {
  readonly rate: number;
}

/** Which system calls a container may make. */
export interface LinuxSeccomp {
  /** Such as `SCMP_ACT_ERRNO`. */
  readonly defaultAction: string;
  readonly defaultErrnoRet?: number;
  readonly architectures?: readonly string[];
  readonly flags?: readonly string[];
  readonly listenerPath?: string;
  readonly listenerMetadata?: string;
  readonly syscalls?: readonly LinuxSyscall[];
}

/** A rule for system calls. */
export interface LinuxSyscall {
  readonly names: readonly string[];
  readonly action: string;
  readonly errnoRet?: number;
  readonly args?: readonly {
    readonly index: number;
    readonly value: number;
    readonly valueTwo?: number;
    readonly op: string;
  }[];
}

/** Intel's control of caches and memory bandwidth. */
export interface LinuxIntelRdt {
  readonly closID?: string;
  readonly schemata?: readonly string[];
  readonly l3CacheSchema?: string;
  readonly memBwSchema?: string;
  readonly enableMonitoring?: boolean;
}
