import type { DescMessage, MessageInitShape } from "@bufbuild/protobuf";
import type { Any } from "@bufbuild/protobuf/wkt";
import type { BootstrapParams } from "../protos/bootstrap.js";
import type { Publisher } from "../events/index.js";
import type { Sandbox } from "../protos/sandbox.js";
import { checkOptions } from "../options.js";
import { isPlain, kindOf } from "../values.js";
import type { ServiceImpl } from "../server/service.js";
import type { DeleteResponseSchema, Task } from "../protos/task/v3.js";
import type { RuntimeInfoSchema } from "../protos/types.js";
import type { Children } from "./children.js";
import type { ShimLog } from "./log.js";

/** What every hook of a shim knows. */
export interface ShimRequest {
  /** The container (or sandbox) that containerd names. */
  readonly id: string;
  /** The namespace of containerd that it is in. */
  readonly namespace: string;
  /** The absolute path of the bundle: the folder with `config.json` and `rootfs`. */
  readonly bundle: string;
  /** The path of containerd's own gRPC socket. */
  readonly containerdAddress: string;
  /** Whether containerd logs at level debug. */
  readonly debug: boolean;
}

/** What `start` knows. */
export interface StartRequest extends ShimRequest {
  /** The runtime's options of containerd's configuration or its client; undefined if there are none. */
  readonly options: Any | undefined;
  /** All that containerd 2.3 and later tells a shim at its start; undefined from older ones. */
  readonly params: BootstrapParams | undefined;
}

/** What a shim works with while it serves. Its id and bundle are those of its first container. */
export interface ShimContext extends StartRequest {
  /** The address that this shim listens on. */
  readonly address: string;
  /** Hands events to containerd, in order, and tells what became of each. */
  readonly publisher: Publisher;
  /**
   * Publishes an event without waiting for it, as a handler does whose reply must not depend on containerd's: one that
   * cannot be delivered is noted in the log.
   *
   * ```ts
   * context.publish(TASK_START_EVENT_TOPIC, TaskStartSchema, { containerId: id, pid });
   * ```
   */
  publish<Desc extends DescMessage>(topic: string, schema: Desc, message: MessageInitShape<Desc>): void;
  /** The log, which containerd shows in its own. */
  readonly log: ShimLog;
  /** The processes that fall to this one. */
  readonly children: Children;
  /**
   * Ends the shim: replies that are due and events that wait still go out, then the socket is removed and the process
   * ends. To be called by the handler of `Shutdown` once no container is left; it may go on to reply.
   */
  shutdown(): void;
}

/** What a shim is made of. Only `createTaskService` is needed. */
export interface ShimOptions {
  /**
   * Makes the task service. The same handlers serve version 2, which containerd up to 2.2 calls, and version 3. Import
   * the implementation here, and not at the top of the program, so that the other phases start as fast as they can.
   */
  createTaskService(context: ShimContext): MaybePromise<ServiceImpl<typeof Task>>;
  /** Makes the sandbox service, for a shim that containerd uses as a sandbox controller. */
  createSandboxService?(context: ShimContext): MaybePromise<ServiceImpl<typeof Sandbox> | undefined>;
  /**
   * Decides which process serves a container. All with the same `group` share one; without it each has its own. An
   * `address` instead names a shim that runs already, whoever started it.
   */
  start?(request: StartRequest): MaybePromise<ShimPlacement | undefined>;
  /**
   * Clears up after a container: its processes and mounts. containerd calls it in a process of its own, when the shim
   * has died as well as after every normal end. Resolves to how the container ended; by default, and for whatever is
   * left out, to status 137 (killed) just now.
   */
  delete?(request: ShimRequest): MaybePromise<MessageInitShape<typeof DeleteResponseSchema> | undefined>;
  /** What containerd 2 asks of a runtime before it uses it. `name` and `version` are filled in. */
  info?(options: Any | undefined): MaybePromise<MessageInitShape<typeof RuntimeInfoSchema> | undefined>;
  /** The version that `-version` and `info` tell. `0.0.0` if left out. */
  readonly version?: string;
}

const HOOKS = [
  "createTaskService",
  "createSandboxService",
  "start",
  "delete",
  "info",
] as const satisfies readonly (keyof ShimOptions)[];

/** Checks what a shim is made of. Throws a TypeError that names what is wrong. */
export function checkShim(name: unknown, options: ShimOptions): void {
  if (typeof name !== "string" || name === "") throw new TypeError("name must be a non-empty string");
  if (!isPlain(options))
    throw new TypeError(`the options of runShim must be an object, not ${kindOf(options)}`);
  // A class may have members of its own; in a plain object an unknown name is a typing error.
  if (Object.getPrototypeOf(options) === Object.prototype)
    checkOptions("runShim", options, [...HOOKS, "version"]);
  for (const hook of HOOKS) {
    const given = options[hook];
    if (typeof given === "function" || (given === undefined && hook !== "createTaskService")) continue;
    throw new TypeError(`${hook} must be a function, not ${kindOf(given)}`);
  }
  const { version } = options;
  if (version !== undefined && typeof version !== "string") {
    throw new TypeError(`version must be a string, not ${kindOf(version)}`);
  }
}

/** Where a container's shim is: see {@link ShimOptions.start}. */
export type ShimPlacement =
  | {
      /** Containers of one group have one shim. */
      readonly group: string;
    }
  | {
      /** Where a shim listens that takes the container. */
      readonly address: string;
    };

type MaybePromise<T> = T | Promise<T>;
