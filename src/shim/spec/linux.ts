import type { IdMapping } from "./types.js";

/** The part of the specification that is for Linux only. */
export interface Linux {
  /** How the container's user ids map to the host's, in a user namespace. */
  readonly uidMappings?: readonly IdMapping[];
  /** How the container's group ids map to the host's, in a user namespace. */
  readonly gidMappings?: readonly IdMapping[];
  /** Kernel parameters of the container's namespaces. */
  readonly sysctl?: Readonly<Record<string, string>>;
  /** The limits of what the container may use. */
  readonly resources?: LinuxResources;
  /** The path of the container's cgroup below the root, or for systemd `slice:prefix:name`. */
  readonly cgroupsPath?: string;
  /** Namespaces of the container. */
  readonly namespaces?: readonly LinuxNamespace[];
  /** Device files that are made in the container. */
  readonly devices?: readonly LinuxDevice[];
  /** Network devices of the host that move into the container, by their names on the host. */
  readonly netDevices?: Readonly<
    Record<
      string,
      {
        /** The device's name in the container; by default, the one that it has on the host. */
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
  /** The NUMA nodes on which memory is allocated. */
  readonly memoryPolicy?: {
    /** The mode, such as `MPOL_BIND`. */
    readonly mode: string;
    /** A list such as `0-1`. */
    readonly nodes: string;
    /** Flags, by the kernel's names. */
    readonly flags?: readonly string[];
  };
  /** The execution domain. */
  readonly personality?: {
    /** `LINUX` or `LINUX32`. */
    readonly domain: string;
    /** Flags, by the kernel's names. */
    readonly flags?: readonly string[];
  };
  /** How far the clocks `monotonic` and `boottime` are ahead in the container's time namespace. */
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

/** A namespace of a container. */
export interface LinuxNamespace {
  /** The kind of namespace. */
  readonly type: "pid" | "network" | "uts" | "mount" | "ipc" | "user" | "cgroup" | "time" | (string & {});
  /** The path of the namespace to join, such as `/proc/42/ns/net`; if it is left out, a new namespace is made. */
  readonly path?: string;
}

/** A device file that is made in the container. */
export interface LinuxDevice {
  /** Its path in the container. */
  readonly path: string;
  /** `c`, `b`, `u` or `p`, as for mknod. */
  readonly type: string;
  /** Its major number; a fifo has none. */
  readonly major?: number;
  /** Its minor number; a fifo has none. */
  readonly minor?: number;
  /** Its permission bits. */
  readonly fileMode?: number;
  /** The id of its owner, in the container. */
  readonly uid?: number;
  /** The id of its group, in the container. */
  readonly gid?: number;
}

/** Limits of a container, also in `UpdateTaskRequest.resources`. Numbers above 2 ** 53 lose their last digits. */
export interface LinuxResources {
  /** Rules for which devices it may use; later rules take precedence. */
  readonly devices?: readonly LinuxDeviceRule[];
  /** Limits of memory. */
  readonly memory?: LinuxMemory;
  /** Shares and limits of CPU time. */
  readonly cpu?: LinuxCpu;
  /** The limit of processes and threads. */
  readonly pids?: {
    /** The most that there may be; 0 or less means no limit. */
    readonly limit?: number;
  };
  /** Weights and limits of block devices. */
  readonly blockIO?: LinuxBlockIo;
  /** Limits of huge pages, by their size. */
  readonly hugepageLimits?: readonly {
    /** The size of a page, such as `2MB`. */
    readonly pageSize: string;
    /** The most bytes in pages of this size. */
    readonly limit: number;
  }[];
  /** Network classes and priorities, with cgroup v1. */
  readonly network?: {
    /** The class of the packets that it sends. */
    readonly classID?: number;
    /** The priorities of the packets that it sends, by network device. */
    readonly priorities?: readonly {
      /** The name of the device. */
      readonly name: string;
      /** The priority of packets on it. */
      readonly priority: number;
    }[];
  };
  /** Limits of RDMA devices, by their names. */
  readonly rdma?: Readonly<
    Record<
      string,
      {
        /** The most HCA handles. */
        readonly hcaHandles?: number;
        /** The most HCA objects. */
        readonly hcaObjects?: number;
      }
    >
  >;
  /** Files of cgroup v2 and what is written to them. */
  readonly unified?: Readonly<Record<string, string>>;
}

/** A rule that allows or denies a container some devices. */
export interface LinuxDeviceRule {
  /** Whether the devices are allowed. */
  readonly allow: boolean;
  /** `c` for character devices, `b` for block devices, or `a`, the default, for both. */
  readonly type?: string;
  /** The major number of the devices; any if it is left out. */
  readonly major?: number;
  /** The minor number of the devices; any if it is left out. */
  readonly minor?: number;
  /** The kinds of access: any of the letters `r` (read), `w` (write) and `m` (mknod). */
  readonly access?: string;
}

/** Limits of memory in bytes; -1 means no limit. */
export interface LinuxMemory {
  /** The most memory. */
  readonly limit?: number;
  /** The soft limit: what the container keeps when memory runs short. */
  readonly reservation?: number;
  /** The most memory and swap together. */
  readonly swap?: number;
  /** The most memory of the kernel, with cgroup v1. */
  readonly kernel?: number;
  /** The most memory of TCP buffers, with cgroup v1. */
  readonly kernelTCP?: number;
  /** How readily memory is swapped, from 0 to 100. */
  readonly swappiness?: number;
  /** Whether the OOM killer leaves the container alone, with cgroup v1. */
  readonly disableOOMKiller?: boolean;
  /** Whether the memory that the cgroups below use counts, too, with cgroup v1. */
  readonly useHierarchy?: boolean;
  /** Whether an update is refused if the container already uses more than its new limit. */
  readonly checkBeforeUpdate?: boolean;
}

/** Shares and limits of CPU time; times are in microseconds. */
export interface LinuxCpu {
  /** The weight among other cgroups; 1024 is usual. */
  readonly shares?: number;
  /** The time in each period; -1 means no limit. */
  readonly quota?: number;
  /** How much unused time may be saved up for later periods. */
  readonly burst?: number;
  /** The length of a period. */
  readonly period?: number;
  /** The time of real-time processes in each of their periods. */
  readonly realtimeRuntime?: number;
  /** The length of a period of real-time processes. */
  readonly realtimePeriod?: number;
  /** The CPUs to run on: a list such as `0-3,7`. */
  readonly cpus?: string;
  /** The NUMA nodes to allocate memory on: a list such as `0-1`. */
  readonly mems?: string;
  /** 1 for a container that runs only when nothing else does. */
  readonly idle?: number;
}

/** Weights and limits of block devices; rates are in bytes or operations a second. */
export interface LinuxBlockIo {
  /** The weight, from 10 to 1000. */
  readonly weight?: number;
  /** The weight of the cgroup's own processes against those of its child cgroups. */
  readonly leafWeight?: number;
  /** Weights for single devices. */
  readonly weightDevice?: readonly (LinuxBlockDevice & {
    /** The weight, from 10 to 1000. */
    readonly weight?: number;
    /** The weight of the cgroup's own processes against those of its child cgroups. */
    readonly leafWeight?: number;
  })[];
  /** Limits of the bytes read a second. */
  readonly throttleReadBpsDevice?: readonly LinuxThrottledDevice[];
  /** Limits of the bytes written a second. */
  readonly throttleWriteBpsDevice?: readonly LinuxThrottledDevice[];
  /** Limits of the reads a second. */
  readonly throttleReadIOPSDevice?: readonly LinuxThrottledDevice[];
  /** Limits of the writes a second. */
  readonly throttleWriteIOPSDevice?: readonly LinuxThrottledDevice[];
}

/** A block device. */
export interface LinuxBlockDevice {
  /** Its major number. */
  readonly major: number;
  /** Its minor number. */
  readonly minor: number;
}

/** A block device, and how fast it may be used. */
export interface LinuxThrottledDevice extends LinuxBlockDevice {
  /** Bytes or operations a second. */
  readonly rate: number;
}

/** Which system calls a container may make. */
export interface LinuxSeccomp {
  /** What happens to calls that no rule names, such as `SCMP_ACT_ERRNO`. */
  readonly defaultAction: string;
  /** The error number that they then fail with. */
  readonly defaultErrnoRet?: number;
  /** The architectures, such as `SCMP_ARCH_X86_64`. */
  readonly architectures?: readonly string[];
  /** Flags, by the kernel's names. */
  readonly flags?: readonly string[];
  /** The socket of an agent that decides on calls with the action `SCMP_ACT_NOTIFY`. */
  readonly listenerPath?: string;
  /** Data that the agent gets. */
  readonly listenerMetadata?: string;
  /** The rules. */
  readonly syscalls?: readonly LinuxSyscall[];
}

/** A rule for system calls. */
export interface LinuxSyscall {
  /** The names of the system calls. */
  readonly names: readonly string[];
  /** What happens to them, such as `SCMP_ACT_ALLOW`. */
  readonly action: string;
  /** The error number that they then fail with. */
  readonly errnoRet?: number;
  /** Conditions on their arguments. */
  readonly args?: readonly {
    /** Which argument, from 0. */
    readonly index: number;
    /** The value that it is compared with. */
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
  /** Whether usage is monitored. */
  readonly enableMonitoring?: boolean;
}
