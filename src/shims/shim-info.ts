import type { TaskVersion } from "./versioned-task.js";

/** What is known of a shim, of its container, and of the containerd that started it. Fields that are not known are null. */
export interface ShimInfo {
  /** The container's id, or the sandbox's; null for a shim that names none. */
  readonly id: string | null;
  /** The containerd namespace of the container. */
  readonly namespace: string | null;
  /** The address of the shim's socket; null if containerd has written none. */
  readonly address: string | null;
  /** The process id of the shim. */
  readonly pid: number | null;
  /** The process id of the container's first process. */
  readonly taskPid: number | null;
  /** The version of the Task service. */
  readonly version: TaskVersion | null;
  /**
   * The container's state in lower case, such as `running` or `stopped`. Otherwise `sandbox` for the shim of a sandbox
   * that has no container yet, `orphan` for any other shim without a task, `unreachable` for one that does not answer,
   * `error` for one that answers but does not give its container's state, and `asking` for one that may still answer,
   * which only `shimctl ls --watch` shows.
   */
  readonly state: string;
  /** For how many seconds the shim's process has been running. */
  readonly uptimeSeconds: number | null;
  /** The gRPC socket of the containerd that started the shim, from its command line. */
  readonly containerd: string | null;
  /**
   * Whether the container or sandbox is in the state folder that was listed; false for an orphan and for a shim of
   * another containerd.
   */
  readonly own: boolean;
  /** Why the shim is `unreachable`, or why its state is an `error`. */
  readonly error: string | null;
}
