import type { Linux } from "./linux.js";

/**
 * The `config.json` of a bundle: what a container is, as the OCI runtime specification 1.3 describes it, without the parts
 * that are not for Linux. Fields that are not listed are in the object all the same.
 *
 * @see https://github.com/opencontainers/runtime-spec/blob/v1.3.0/config.md
 */
export interface Spec {
  /** The version of the specification, such as `1.2.0`. */
  readonly ociVersion: string;
  /** The first process. A container that never runs one has none. */
  readonly process?: Process;
  readonly root?: Root;
  readonly hostname?: string;
  readonly domainname?: string;
  /** Mounted in this order, below the root. */
  readonly mounts?: readonly Mount[];
  readonly hooks?: Hooks;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly linux?: Linux;
}

/** A process of a container: its first, or that of an exec, in `ExecProcessRequest.spec`. */
export interface Process {
  readonly terminal?: boolean;
  /** In characters. */
  readonly consoleSize?: { readonly height: number; readonly width: number };
  readonly user: User;
  /** The program and its arguments. */
  readonly args?: readonly string[];
  /** Entries `NAME=value`. */
  readonly env?: readonly string[];
  /** An absolute path in the container. */
  readonly cwd: string;
  readonly capabilities?: Capabilities;
  readonly rlimits?: readonly Rlimit[];
  readonly noNewPrivileges?: boolean;
  readonly apparmorProfile?: string;
  readonly oomScoreAdj?: number;
  readonly scheduler?: Scheduler;
  readonly selinuxLabel?: string;
  readonly ioPriority?: { readonly class: string; readonly priority: number };
  readonly execCPUAffinity?: { readonly initial?: string; readonly final?: string };
}

/** Who a process is, in the container. */
export interface User {
  readonly uid: number;
  readonly gid: number;
  readonly umask?: number;
  readonly additionalGids?: readonly number[];
}

/** Sets of capabilities, by names such as `CAP_NET_ADMIN`. */
export interface Capabilities {
  readonly bounding?: readonly string[];
  readonly effective?: readonly string[];
  readonly inheritable?: readonly string[];
  readonly permitted?: readonly string[];
  readonly ambient?: readonly string[];
}

/** A limit of a process. No limit is 2 ** 64 - 1, which as a JavaScript number is 2 ** 64. */
export interface Rlimit {
  /** Such as `RLIMIT_NOFILE`. */
  readonly type: string;
  readonly hard: number;
  readonly soft: number;
}

/** How the kernel schedules a process. */
export interface Scheduler {
  /** Such as `SCHED_OTHER`. */
  readonly policy: string;
  readonly nice?: number;
  readonly priority?: number;
  readonly flags?: readonly string[];
  /** In nanoseconds, for `SCHED_DEADLINE`, as the next two. */
  readonly runtime?: number;
  readonly deadline?: number;
  readonly period?: number;
}

/** The root filesystem. */
export interface Root {
  /** Absolute, or relative to the bundle. */
  readonly path: string;
  readonly readonly?: boolean;
}

/** A mount in the container. containerd's own mounts, in `CreateTaskRequest.rootfs`, are messages instead. */
export interface Mount {
  /** An absolute path in the container. */
  readonly destination: string;
  readonly type?: string;
  readonly source?: string;
  readonly options?: readonly string[];
  readonly uidMappings?: readonly IdMapping[];
  readonly gidMappings?: readonly IdMapping[];
}

/** A range of ids of the container and where it lies on the host. */
export interface IdMapping {
  readonly containerID: number;
  readonly hostID: number;
  readonly size: number;
}

/** Programs that the runtime runs as the container is created, started and deleted. */
export interface Hooks {
  /** Deprecated by the specification in favour of the next three. */
  readonly prestart?: readonly Hook[];
  readonly createRuntime?: readonly Hook[];
  readonly createContainer?: readonly Hook[];
  readonly startContainer?: readonly Hook[];
  readonly poststart?: readonly Hook[];
  readonly poststop?: readonly Hook[];
}

/** A program that the runtime runs. */
export interface Hook {
  /** An absolute path. */
  readonly path: string;
  readonly args?: readonly string[];
  readonly env?: readonly string[];
  /** In seconds. */
  readonly timeout?: number;
}
