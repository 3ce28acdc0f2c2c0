import type { IdMapping } from "./types.js";

/** What the specification has for Linux alone. */
export interface Linux {
  /** Where its user ids lie on the host. */
  readonly uidMappings?: readonly IdMapping[];
  /** Where its group ids lie on the host. */
  readonly gidMappings?: readonly IdMapping[];
  /** Kernel parameters of the container's namespaces. */
  readonly sysctl?: Readonly<Record<string, string>>;
  /** Limits. */
  readonly resources?: LinuxResources;
  /** The path of the container's cgroup below the root, or for systemd `slice:prefix:name`. */
  readonly cgroupsPath?: string;
  /** Namespaces of the container. */
  readonly namespaces?: readonly LinuxNamespace[];
  /** Device files, or rules about devices. */
  readonly devices?: readonly LinuxDevice[];
  /** Network devices of the host that move into the container, and their names there. */
  readonly netDevices?: Readonly<
    Record<
      string,
      {
        /** A name. */
        readonly name?: string;
      }
    >
  >;
  /** Which system calls may be made. */
  readonly seccomp?: LinuxSeccomp;
  /** How mounts below the root propagate, such as `rslave`. */
  readonly rootfsPropagation?: string;
  /** Paths that cannot be read. */
  readonly maskedPaths?: readonly string[];
  /** Paths that cannot be written to. */
  readonly readonlyPaths?: readonly string[];
  /** The SELinux label of mounts. */
  readonly mountLabel?: string;
  /** Caches and memory bandwidth. */
  readonly intelRdt?: LinuxIntelRdt;
  /** On which NUMA nodes memory is allocated. */
  readonly memoryPolicy?: {
    /** How nodes are chosen. */
    readonly mode: string;
    /** A list such as `0-1`. */
    readonly nodes: string;
    /** Flags, by the kernel's names. */
    readonly flags?: readonly string[];
  };
  /** The execution domain. */
  readonly personality?: {
    /** Such as `LINUX32`. */
    readonly domain: string;
    /** Flags, by the kernel's names. */
    readonly flags?: readonly string[];
  };
  /** Offsets of the clocks of its time namespace, by their names. */
  readonly timeOffsets?: Readonly<
    Record<
      string,
      {
        /** Seconds. */
        readonly secs?: number;
        /** Nanoseconds. */
        readonly nanosecs?: number;
      }
    >
  >;
}

/** A namespace of a container: a new one, or that of `path`. */
export interface LinuxNamespace {
  /** The kind of it, by its name in the specification. */
  readonly type: "pid" | "network" | "uts" | "mount" | "ipc" | "user" | "cgroup" | "time" | (string & {});
  /** A path: of the namespace that is joined, or of the device in the container. */
  readonly path?: string;
}

/** A device file that is made in the container. */
export interface LinuxDevice {
  /** A path: of the namespace that is joined, or of the device in the container. */
  readonly path: string;
  /** `c`, `b`, `u` or `p`, as for mknod. */
  readonly type: string;
  /** The major number of a device. */
  readonly major?: number;
  /** The minor number of a device. */
  readonly minor?: number;
  /** The permission bits. */
  readonly fileMode?: number;
  /** The user id. */
  readonly uid?: number;
  /** The group id. */
  readonly gid?: number;
}

/** Limits of a container, also in `UpdateTaskRequest.resources`. Numbers above 2 ** 53 lose their last digits. */
export interface LinuxResources {
  /** Device files, or rules about devices. */
  readonly devices?: readonly LinuxDeviceRule[];
  /** Memory. */
  readonly memory?: LinuxMemory;
  /** CPU time. */
  readonly cpu?: LinuxCpu;
  /** 0 and below are no limit. */
  readonly pids?: {
    /** The limit. */
    readonly limit?: number;
  };
  /** Block devices. */
  readonly blockIO?: LinuxBlockIo;
  /** In bytes, by sizes such as `2MB`. */
  readonly hugepageLimits?: readonly {
    /** Such as `2MB`. */
    readonly pageSize: string;
    /** The limit. */
    readonly limit: number;
  }[];
  /** Network classes and priorities, with cgroup v1. */
  readonly network?: {
    /** The class of packets. */
    readonly classID?: number;
    /** Priorities, by interface. */
    readonly priorities?: readonly {
      /** A name. */
      readonly name: string;
      /** A priority; which way it counts depends on the kernel's interface. */
      readonly priority: number;
    }[];
  };
  /** RDMA devices, by their names. */
  readonly rdma?: Readonly<
    Record<
      string,
      {
        /** HCA handles. */
        readonly hcaHandles?: number;
        /** HCA objects. */
        readonly hcaObjects?: number;
      }
    >
  >;
  /** Files of cgroup v2 and what is written to them. */
  readonly unified?: Readonly<Record<string, string>>;
}

/** Allows or refuses a container devices. */
export interface LinuxDeviceRule {
  /** Whether it is allowed. */
  readonly allow: boolean;
  /** The kind of it, by its name in the specification. */
  readonly type?: string;
  /** The major number of a device. */
  readonly major?: number;
  /** The minor number of a device. */
  readonly minor?: number;
  /** Letters of `rwm`. */
  readonly access?: string;
}

/** Limits of memory in bytes; -1 is no limit. */
export interface LinuxMemory {
  /** The limit. */
  readonly limit?: number;
  /** What is kept when memory runs short. */
  readonly reservation?: number;
  /** Memory and swap together. */
  readonly swap?: number;
  /** Memory of the kernel, with cgroup v1. */
  readonly kernel?: number;
  /** Memory of TCP buffers, with cgroup v1. */
  readonly kernelTCP?: number;
  /** How readily memory is swapped, from 0 to 100. */
  readonly swappiness?: number;
  /** Whether the OOM killer leaves the container alone, with cgroup v1. */
  readonly disableOOMKiller?: boolean;
  /** Whether children count, with cgroup v1. */
  readonly useHierarchy?: boolean;
  /** Whether an update is refused that what is in use already exceeds. */
  readonly checkBeforeUpdate?: boolean;
}

/** Shares and limits of CPU time; times are in microseconds. */
export interface LinuxCpu {
  /** The weight against others. */
  readonly shares?: number;
  /** The time in each period; -1 is no limit. */
  readonly quota?: number;
  /** Time that may be saved up. */
  readonly burst?: number;
  /** As `runtime`; for CPU limits, the interval in which they hold. */
  readonly period?: number;
  /** Time for real-time processes in each of their periods. */
  readonly realtimeRuntime?: number;
  /** Their period. */
  readonly realtimePeriod?: number;
  /** Lists such as `0-3,7`. */
  readonly cpus?: string;
  /** A list of NUMA nodes. */
  readonly mems?: string;
  /** 1 for what runs only when nothing else does. */
  readonly idle?: number;
}

/** Weights and limits of block devices; rates are in bytes or operations a second. */
export interface LinuxBlockIo {
  /** The weight, from 10 to 1000. */
  readonly weight?: number;
  /** The weight of its own processes against its children's. */
  readonly leafWeight?: number;
  /** Weights by device. */
  readonly weightDevice?: readonly (LinuxBlockDevice & {
    /** The weight, from 10 to 1000. */
    readonly weight?: number;
    /** The weight of its own processes against its children's. */
    readonly leafWeight?: number;
  })[];
  /** Bytes read a second. */
  readonly throttleReadBpsDevice?: readonly LinuxThrottledDevice[];
  /** Bytes written a second. */
  readonly throttleWriteBpsDevice?: readonly LinuxThrottledDevice[];
  /** Reads a second. */
  readonly throttleReadIOPSDevice?: readonly LinuxThrottledDevice[];
  /** Writes a second. */
  readonly throttleWriteIOPSDevice?: readonly LinuxThrottledDevice[];
}

/** A block device. */
export interface LinuxBlockDevice {
  /** The major number of a device. */
  readonly major: number;
  /** The minor number of a device. */
  readonly minor: number;
}

/** A block device and how fast it may be used. */
export interface LinuxThrottledDevice extends LinuxBlockDevice {
  /** The rate. */
  readonly rate: number;
}

/** Which system calls a container may make. */
export interface LinuxSeccomp {
  /** Such as `SCMP_ACT_ERRNO`. */
  readonly defaultAction: string;
  /** The error number of a refused call. */
  readonly defaultErrnoRet?: number;
  /** Such as `SCMP_ARCH_X86_64`. */
  readonly architectures?: readonly string[];
  /** Flags, by the kernel's names. */
  readonly flags?: readonly string[];
  /** The socket of the listener that decides. */
  readonly listenerPath?: string;
  /** Data that the listener gets. */
  readonly listenerMetadata?: string;
  /** Rules, of which the first that fits holds. */
  readonly syscalls?: readonly LinuxSyscall[];
}

/** A rule for system calls. */
export interface LinuxSyscall {
  /** System calls, by their names. */
  readonly names: readonly string[];
  /** What is done, such as `SCMP_ACT_ALLOW`. */
  readonly action: string;
  /** The error number of a refused call. */
  readonly errnoRet?: number;
  /** Arguments, or for a system call, conditions on them. */
  readonly args?: readonly {
    /** Which argument, from 0. */
    readonly index: number;
    /** What it is compared with. */
    readonly value: number;
    /** A second value, for `SCMP_CMP_MASKED_EQ`. */
    readonly valueTwo?: number;
    /** The comparison, such as `SCMP_CMP_EQ`. */
    readonly op: string;
  }[];
}

/** Intel's control of caches and memory bandwidth. */
export interface LinuxIntelRdt {
  /** The name of the class of service. */
  readonly closID?: string;
  /** Lines of the kernel's schemata file. */
  readonly schemata?: readonly string[];
  /** The line about the third-level cache. */
  readonly l3CacheSchema?: string;
  /** The line about memory bandwidth. */
  readonly memBwSchema?: string;
  /** Whether what is used is monitored. */
  readonly enableMonitoring?: boolean;
}
