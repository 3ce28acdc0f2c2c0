import type { MessageInitShape } from "@bufbuild/protobuf";
import type {
  IOPrioClass,
  LinuxSchedulerSchema,
  MountSchema,
  MpolFlag,
  MpolMode,
} from "../protos/generated/nri/pkg/api/v1alpha1/nri_pb.js";
import type { RdtSpec, SeccompSpec } from "./parts.js";
import type { ResourcesSpec } from "./resources.js";
import type { Integer } from "./ranges.js";

/** A device, as the container sees it. */
export interface DeviceSpec {
  /** Its path in the container. */
  readonly path: string;
  /** `"c"` for a character device, `"b"` for a block device, `"p"` for a FIFO. */
  readonly type: string;
  /** Its major number, from 0 to 4095. */
  readonly major: Integer;
  /** Its minor number, from 0 to 1 048 575. */
  readonly minor: Integer;
  /** Its permission bits, such as `0o660`. */
  readonly fileMode?: number | undefined;
  /** The id of its owner. */
  readonly uid?: number | undefined;
  /** The id of its group. */
  readonly gid?: number | undefined;
}

/** A phase of a container's life in which hooks run. */
export type HookPhase =
  | "prestart"
  | "createRuntime"
  | "createContainer"
  | "startContainer"
  | "poststart"
  | "poststop";

/** All phases. */
export const HOOK_PHASES: readonly HookPhase[] = [
  "prestart",
  "createRuntime",
  "createContainer",
  "startContainer",
  "poststart",
  "poststop",
];

/** A program that the runtime runs in a phase of a container's life. */
export interface HookSpec {
  /** The program's absolute path. */
  readonly path: string;
  /** Its arguments; the first is its name. */
  readonly args?: readonly string[] | undefined;
  /** Its environment: entries `NAME=value`. */
  readonly env?: readonly string[] | undefined;
  /** Seconds after which the runtime ends it: 1 or more. */
  readonly timeout?: number | undefined;
}

/** Hooks, by phase. */
export type HooksSpec = Readonly<Partial<Record<HookPhase, readonly HookSpec[] | undefined>>>;

/** A limit of processes. */
export interface RlimitSpec {
  /** The limit that is in force, and must not exceed `hard`. A process may raise it up to `hard`. */
  readonly soft: Integer;
  /** The most that the soft limit may be. */
  readonly hard: Integer;
}

/** The priority of I/O. */
export interface IoPrioritySpec {
  /** The class. */
  readonly class: IOPrioClass;
  /** The priority within the class, from 0 (the highest) to 7. */
  readonly priority: number;
}

/** How memory is spread over NUMA nodes. */
export interface MemoryPolicySpec {
  /** The mode. */
  readonly mode: MpolMode;
  /** The nodes: a list such as `0-1`. */
  readonly nodes?: string | undefined;
  /** Flags of the mode. */
  readonly flags?: readonly MpolFlag[] | undefined;
}

/** A plain description of an {@link Adjustment}. In a record, `null` removes the entry. */
export interface AdjustmentSpec {
  /** Environment variables. */
  readonly env?: Readonly<Record<string, string | null>> | undefined;
  /** Annotations. */
  readonly annotations?: Readonly<Record<string, string | null>> | undefined;
  /** Paths in the container whose mounts are removed. */
  readonly removeMounts?: readonly string[] | undefined;
  /** Mounts to add. */
  readonly mounts?: readonly MessageInitShape<typeof MountSchema>[] | undefined;
  /** The command. */
  readonly args?: readonly string[] | undefined;
  /** OCI hooks to add, by phase. */
  readonly hooks?: HooksSpec | undefined;
  /** Limits of processes, by type: `{ RLIMIT_NOFILE: { soft: 1024, hard: 4096 } }`. */
  readonly rlimits?: Readonly<Record<string, RlimitSpec>> | undefined;
  /** Devices to add, by their CDI names. */
  readonly cdiDevices?: readonly string[] | undefined;
  /** Paths in the container whose devices are removed. */
  readonly removeDevices?: readonly string[] | undefined;
  /** Devices to add. */
  readonly devices?: readonly DeviceSpec[] | undefined;
  /** Resources. */
  readonly resources?: ResourcesSpec | undefined;
  /** Paths of namespaces to join, by type; an empty path stands for a new namespace. */
  readonly namespaces?: Readonly<Record<string, string | null>> | undefined;
  /** Kernel parameters. */
  readonly sysctl?: Readonly<Record<string, string | null>> | undefined;
  /** Network devices to move into the container: their names there, by their names on the host. */
  readonly netDevices?: Readonly<Record<string, string | null>> | undefined;
  /** The seccomp policy. */
  readonly seccomp?: SeccompSpec | undefined;
  /** The cgroup's path. */
  readonly cgroupsPath?: string | undefined;
  /** How readily the kernel ends the container when memory runs out, from -1000 to 1000. */
  readonly oomScoreAdj?: number | undefined;
  /** The class and priority of I/O. */
  readonly ioPriority?: IoPrioritySpec | undefined;
  /** The scheduler's attributes; `nice` from -20 to 19, `priority` from 0 to 99. */
  readonly scheduler?: MessageInitShape<typeof LinuxSchedulerSchema> | undefined;
  /** How memory is spread over NUMA nodes. */
  readonly memoryPolicy?: MemoryPolicySpec | undefined;
  /** Control of cache and memory bandwidth. */
  readonly rdt?: RdtSpec | null | undefined;
}

/** The names of an {@link AdjustmentSpec}, in the order in which they are applied: removals come first. */
export const SPEC_NAMES = [
  "env",
  "annotations",
  "removeMounts",
  "mounts",
  "args",
  "hooks",
  "rlimits",
  "cdiDevices",
  "removeDevices",
  "devices",
  "resources",
  "namespaces",
  "sysctl",
  "netDevices",
  "seccomp",
  "cgroupsPath",
  "oomScoreAdj",
  "ioPriority",
  "scheduler",
  "memoryPolicy",
  "rdt",
] as const satisfies readonly (keyof AdjustmentSpec)[];
