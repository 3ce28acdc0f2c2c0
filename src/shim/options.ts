import type { DescMessage, MessageInitShape } from "@bufbuild/protobuf";
import type { Any } from "@bufbuild/protobuf/wkt";
import type { BootstrapParams } from "../protos/bootstrap.js";
import type { Publisher } from "../events/index.js";
import type { Sandbox } from "../protos/sandbox.js";
import { checkedBoolean, checkedString, checkOptions } from "../options.js";
import { isPlain, kindOf, shown } from "../value-kinds.js";
import type { ServerInterceptor } from "../interceptor.js";
import type { Server } from "../server/server.js";
import type { MaybePromise, ServiceImpl } from "../server/service.js";
import type { DeleteResponseSchema, Task } from "../protos/task/v3.js";
import type { RuntimeInfoSchema } from "../protos/types.js";
import type { Children } from "./children.js";
import type { ShimLog } from "./log.js";

/** What every hook of a shim gets. */
export interface ShimRequest {
  /** The id of the container or sandbox. */
  readonly id: string;
  /** Its containerd namespace. */
  readonly namespace: string;
  /** The absolute path of the bundle: the folder with `config.json` and `rootfs`. */
  readonly bundle: string;
  /** The path of containerd's own gRPC socket. */
  readonly containerdAddress: string;
  /** Whether containerd logs at level debug. */
  readonly debug: boolean;
}

/** What `start` gets. */
export interface StartRequest extends ShimRequest {
  /**
   * The runtime's options, from containerd's configuration or its client; undefined if there are none. From containerd
   * 2.3 on, this is the first extension of `params`, so check its type: later versions may pass other extensions, too.
   */
  readonly options: Any | undefined;
  /** All parameters that containerd 2.3 and later passes at the start; undefined from older versions. */
  readonly params: BootstrapParams | undefined;
}

/** What a shim uses while it serves. The id and bundle are those of its first container. */
export interface ShimContext extends StartRequest {
  /** The address that this shim listens on. */
  readonly address: string;
  /** Delivers events to containerd in order, and reports the outcome of each event. */
  readonly publisher: Publisher;
  /**
   * Publishes an event without waiting, for a handler whose reply must not depend on containerd's acknowledgement. An
   * event that cannot be delivered is reported in the log.
   *
   * ```ts
   * context.publish(TASK_START_EVENT_TOPIC, TaskStartSchema, { containerId: id, pid });
   * ```
   */
  publish<Desc extends DescMessage>(topic: string, schema: Desc, message: MessageInitShape<Desc>): void;
  /** The log, whose lines appear in containerd's. */
  readonly log: ShimLog;
  /** The processes that this shim inherits. */
  readonly children: Children;
  /**
   * Ends the shim. Pending replies and events still go out; then the socket is removed and the process ends. The handler
   * of `Shutdown` calls it once no container is left, and may still reply afterwards.
   */
  shutdown(): void;
  /**
   * Registers an action to run before the process ends in an orderly way, by {@link shutdown}, SIGTERM or SIGINT: to stop
   * a virtual machine, say, or to unmount a filesystem. All actions run at the same time and have 5 seconds, during which
   * existing connections are still served; what the actions throw is logged. No action runs if the process is killed or
   * crashes; then only {@link ShimOptions.delete} cleans up. Nor does any run in a process that never gets to serve,
   * because it failed or because another process of its group was faster.
   *
   * ```ts
   * context.onShutdown(() => machine.powerOff());
   * ```
   *
   * Throws a TypeError if `action` is not a function.
   */
  onShutdown(action: () => MaybePromise<void>): void;
}

/** The parts of a shim. Only `createTaskService` is required. */
export interface ShimOptions {
  /**
   * Creates the task service. The same handlers serve version 2, which containerd up to 2.2 calls, and version 3. Import
   * the implementation here, not at the top of the program, so that the other phases start as fast as possible.
   */
  createTaskService(context: ShimContext): MaybePromise<ServiceImpl<typeof Task>>;
  /** Creates the sandbox service, for a shim that containerd uses as a sandbox controller. */
  createSandboxService?:
    | ((context: ShimContext) => MaybePromise<ServiceImpl<typeof Sandbox> | undefined>)
    | undefined;
  /**
   * Creates interceptors of all requests to this shim: for traces, for authentication, or to make a call fail on purpose.
   * The first is the outermost.
   *
   * ```ts
   * createInterceptors: async () => [(await import("containerd-shim-protos/otel")).otelServerInterceptor()],
   * ```
   */
  createInterceptors?:
    | ((context: ShimContext) => MaybePromise<readonly ServerInterceptor[] | undefined>)
    | undefined;
  /**
   * Adds the shim's own services, which are served on the same socket as containerd's.
   *
   * ```ts
   * addServices: async (server, context) => {
   *   server.add(Health, (await import("./health.js")).createHealth(context));
   * },
   * ```
   */
  addServices?: ((server: Pick<Server, "add">, context: ShimContext) => MaybePromise<void>) | undefined;
  /**
   * Decides which process serves a container. Containers with the same `group` share one process; without a group each has
   * its own. An `address` names a shim that is already running, whoever started it.
   */
  start?: ((request: StartRequest) => MaybePromise<ShimPlacement | undefined>) | undefined;
  /**
   * An alternative to `start`: the keys of annotations that name a container's group in its spec. The first annotation
   * that a container has counts; if it has none, or the first is empty, the container gets a shim of its own. If the
   * group already has a shim, a packed shim answers `start` without starting Node.
   */
  readonly groupAnnotations?: readonly string[] | undefined;
  /**
   * Cleans up after a container: its processes and mounts. containerd calls it in a separate process, both after a shim
   * has died and after every normal end, but see `deleteLeavesNothing`. Resolves to how the container ended. Fields that
   * are left out default to status 137 (killed) and the current time.
   */
  delete?:
    | ((request: ShimRequest) => MaybePromise<MessageInitShape<typeof DeleteResponseSchema> | undefined>)
    | undefined;
  /**
   * Whether the task service's Delete, when it succeeds, leaves nothing of the container for `delete` to clean up. If so,
   * the shim notes in the bundle how the container ended, and a packed shim answers `delete` with that note, without
   * starting Node. Default true if there is no `delete`.
   */
  readonly deleteLeavesNothing?: boolean | undefined;
  /** How the runtime describes itself to containerd 2. `name` and `version` are filled in. */
  info?:
    | ((options: Any | undefined) => MaybePromise<MessageInitShape<typeof RuntimeInfoSchema> | undefined>)
    | undefined;
  /** The version that `-version` and `-info` print. Default `0.0.0`. */
  readonly version?: string | undefined;
}

const HOOKS = [
  "createTaskService",
  "createSandboxService",
  "createInterceptors",
  "addServices",
  "start",
  "delete",
  "info",
] as const satisfies readonly (keyof ShimOptions)[];

const isText = (text: unknown) => typeof text === "string" && text !== "";

/** Checks the parts of a shim. Throws a TypeError that names what is wrong. */
export function checkShim(name: unknown, options: ShimOptions): void {
  if (typeof name !== "string" || name === "")
    throw new TypeError(`name must be a non-empty string, not ${shown(name)}`);
  if (!isPlain(options))
    throw new TypeError(`the options of runShim must be an object, not ${kindOf(options)}`);
  // A class may have members of its own; in a plain object an unknown name is a typing error.
  if (Object.getPrototypeOf(options) === Object.prototype)
    checkOptions("runShim", options, [...HOOKS, "version", "groupAnnotations", "deleteLeavesNothing"]);
  for (const hook of HOOKS) {
    const given = options[hook];
    if (typeof given === "function" || (given === undefined && hook !== "createTaskService")) continue;
    throw new TypeError(`${hook} must be a function, not ${kindOf(given)}`);
  }
  const { version, groupAnnotations, deleteLeavesNothing } = options;
  if (groupAnnotations !== undefined) {
    if (!Array.isArray(groupAnnotations) || !groupAnnotations.every(isText))
      throw new TypeError("groupAnnotations must be an array of non-empty strings");
    if (options.start !== undefined) throw new TypeError("start and groupAnnotations exclude each other");
  }
  if (deleteLeavesNothing !== undefined) checkedBoolean(deleteLeavesNothing, "deleteLeavesNothing");
  if (version !== undefined) checkedString(version, "version");
}

/** Checks what `start` has resolved to. Throws a TypeError that names what is wrong. */
export function checkPlacement(placement: unknown): ShimPlacement | undefined {
  if (placement === undefined) return undefined;
  const { group, address } = isPlain(placement) ? placement : {};
  // A path alone is the name of an abstract socket to containerd.
  if (address !== undefined && !(typeof address === "string" && /^[a-z]+:\/\//.test(address)))
    throw new TypeError(`address must be one such as unix:///run/shim.sock, not ${shown(address)}`);
  if (address === undefined && group === undefined)
    throw new TypeError(
      `start must resolve to { group }, { address } or undefined, not ${kindOf(placement)}`,
    );
  // With an empty one, all containers of a namespace would share a shim.
  if (address === undefined && !isText(group))
    throw new TypeError(`group must be a non-empty string, not ${shown(group)}`);
  return placement as ShimPlacement;
}

/** Where a container's shim is; see {@link ShimOptions.start}. */
export type ShimPlacement =
  | {
      /** Containers of one group share one shim. */
      readonly group: string;
    }
  | {
      /** The address of a running shim that takes the container. */
      readonly address: string;
    };
