import type { Linux } from "./linux.js";

/**
 * The `config.json` of a bundle: a container as the OCI runtime specification 1.3 describes it, without the parts for
 * other systems than Linux. The object also has the fields of the file that are not listed here.
 *
 * @see https://github.com/opencontainers/runtime-spec/blob/v1.3.0/config.md
 */
export interface Spec {
  /** The version of the specification, such as `1.2.0`. */
  readonly ociVersion: string;
  /** The first process; left out for a container that never runs one. */
  readonly process?: Process;
  /** The root filesystem. */
  readonly root?: Root;
  /** The host name of the container. */
  readonly hostname?: string;
  /** The NIS domain of the container. */
  readonly domainname?: string;
  /** The mounts below the root, made in this order. */
  readonly mounts?: readonly Mount[];
  /** Programs that the runtime runs at certain points of the container's life. */
  readonly hooks?: Hooks;
  /** Metadata, such as the pod's id. */
  readonly annotations?: Readonly<Record<string, string>>;
  /** The part that is for Linux only. */
  readonly linux?: Linux;
}

/** A process of a container: its first, or that of an exec, in `ExecProcessRequest.spec`. */
export interface Process {
  /** Whether the process has a terminal. */
  readonly terminal?: boolean;
  /** The size of the terminal, in characters. */
  readonly consoleSize?: {
    /** Rows. */
    readonly height: number;
    /** Columns. */
    readonly width: number;
  };
  /** The user and groups that it runs as. */
  readonly user: User;
  /** The program and its arguments. */
  readonly args?: readonly string[];
  /** The environment: entries `NAME=value`. */
  readonly env?: readonly string[];
  /** The working directory: an absolute path in the container. */
  readonly cwd: string;
  /** Its capabilities. */
  readonly capabilities?: Capabilities;
  /** Its limits. */
  readonly rlimits?: readonly Rlimit[];
  /** Whether it is kept from gaining privileges, such as by setuid programs. */
  readonly noNewPrivileges?: boolean;
  /** Its AppArmor profile. */
  readonly apparmorProfile?: string;
  /** Its oom_score_adj, from -1000 to 1000. */
  readonly oomScoreAdj?: number;
  /** How the kernel schedules it. */
  readonly scheduler?: Scheduler;
  /** Its SELinux label. */
  readonly selinuxLabel?: string;
  /** The class and priority of its input and output. */
  readonly ioPriority?: {
    /** The class, such as `IOPRIO_CLASS_BE`. */
    readonly class: string;
    /** The priority within the class, from 0 (the highest) to 7. */
    readonly priority: number;
  };
  /** The CPUs that an exec's process may use, as lists such as `0-3`. */
  readonly execCPUAffinity?: {
    /** Before its program starts. */
    readonly initial?: string;
    /** Once its program runs. */
    readonly final?: string;
  };
}

/** The user and groups of a process, in the container. */
export interface User {
  /** The user id. */
  readonly uid: number;
  /** The group id. */
  readonly gid: number;
  /** The file mode mask. */
  readonly umask?: number;
  /** More groups. */
  readonly additionalGids?: readonly number[];
}

/** Sets of capabilities, by names such as `CAP_NET_ADMIN`. */
export interface Capabilities {
  /** The most that it can ever gain by running programs. */
  readonly bounding?: readonly string[];
  /** The capabilities that are in effect. */
  readonly effective?: readonly string[];
  /** The capabilities that programs keep if their files have them as inheritable. */
  readonly inheritable?: readonly string[];
  /** The capabilities that it may put into effect. */
  readonly permitted?: readonly string[];
  /** The capabilities that programs keep if their files have none. */
  readonly ambient?: readonly string[];
}

/** A limit of a process. 2 ** 64 - 1 means no limit; as a JavaScript number, it becomes 2 ** 64. */
export interface Rlimit {
  /** What is limited, such as `RLIMIT_NOFILE`. */
  readonly type: string;
  /** The ceiling for `soft`, which only a privileged process may raise. */
  readonly hard: number;
  /** The limit that the kernel enforces. */
  readonly soft: number;
}

/** How the kernel schedules a process. */
export interface Scheduler {
  /** The policy, such as `SCHED_OTHER`. */
  readonly policy: string;
  /** The niceness, from -20 (the most processor time) to 19. */
  readonly nice?: number;
  /** The static priority, for `SCHED_FIFO` and `SCHED_RR`: from 1 to 99 (the highest). */
  readonly priority?: number;
  /** Flags, by the kernel's names. */
  readonly flags?: readonly string[];
  /** For `SCHED_DEADLINE`: the processor time in each period, in nanoseconds. */
  readonly runtime?: number;
  /** For `SCHED_DEADLINE`: by when it must have got that time, in nanoseconds from the beginning of a period. */
  readonly deadline?: number;
  /** For `SCHED_DEADLINE`: the length of a period, in nanoseconds. */
  readonly period?: number;
}

/** The root filesystem. */
export interface Root {
  /** Its path: absolute, or relative to the bundle. */
  readonly path: string;
  /** Whether it cannot be written to. */
  readonly readonly?: boolean;
}

/** A mount in the container. containerd's own mounts, in `CreateTaskRequest.rootfs`, are messages instead. */
export interface Mount {
  /** Where it is mounted: an absolute path in the container. */
  readonly destination: string;
  /** The type of the filesystem, such as `proc` or `bind`. */
  readonly type?: string;
  /** The device, or the file or folder of the host, that is mounted. */
  readonly source?: string;
  /** Options, as for fstab. */
  readonly options?: readonly string[];
  /** How user ids of its files are mapped. */
  readonly uidMappings?: readonly IdMapping[];
  /** How group ids of its files are mapped. */
  readonly gidMappings?: readonly IdMapping[];
}

/** A range of ids in the container, and the range on the host that it maps to. */
export interface IdMapping {
  /** The first id in the container. */
  readonly containerID: number;
  /** The first id on the host. */
  readonly hostID: number;
  /** How many ids. */
  readonly size: number;
}

/** Programs that the runtime runs as the container is created, started and deleted. */
export interface Hooks {
  /** Deprecated by the specification in favour of the next three. */
  readonly prestart?: readonly Hook[];
  /** Run before the container's root is entered, in the runtime's namespaces. */
  readonly createRuntime?: readonly Hook[];
  /** Run before the container's root is entered, in the container's namespaces. */
  readonly createContainer?: readonly Hook[];
  /** Run in the container, before its first process. */
  readonly startContainer?: readonly Hook[];
  /** Run after its first process was started. */
  readonly poststart?: readonly Hook[];
  /** Run after the container was deleted. */
  readonly poststop?: readonly Hook[];
}

/** A program that the runtime runs. */
export interface Hook {
  /** The program's absolute path. */
  readonly path: string;
  /** Its arguments; the first is its name. */
  readonly args?: readonly string[];
  /** Its environment: entries `NAME=value`. */
  readonly env?: readonly string[];
  /** Seconds after which the runtime ends it. */
  readonly timeout?: number;
}
