import { create, type MessageInitShape } from "@bufbuild/protobuf";
import {
  CDIDeviceSchema,
  type ContainerAdjustment,
  ContainerAdjustmentSchema,
  HooksSchema,
  type IOPrioClass,
  type KeyValue,
  KeyValueSchema,
  type LinuxContainerAdjustment,
  LinuxContainerAdjustmentSchema,
  type LinuxDevice,
  LinuxDeviceSchema,
  LinuxIOPrioritySchema,
  LinuxMemoryPolicySchema,
  type LinuxNamespace,
  LinuxNamespaceSchema,
  LinuxNetDeviceSchema,
  LinuxRdtSchema,
  LinuxResourcesSchema,
  LinuxSchedulerSchema,
  LinuxSeccompSchema,
  type MpolFlag,
  type MpolMode,
  type Mount,
  MountSchema,
  OptionalIntSchema,
  type POSIXRlimit,
  POSIXRlimitSchema,
} from "../protos/generated/nri/pkg/api/v1alpha1/nri_pb.js";
import {
  type AdjustmentSpec,
  type DeviceSpec,
  HOOK_PHASES,
  type HookPhase,
  type HookSpec,
  type RlimitSpec,
} from "./adjustment-spec.js";
import { deviceOf, hookOf, rdtOf, seccompOf, type RdtSpec, type SeccompSpec } from "./parts.js";
import { applySpec } from "./apply-spec.js";
import { setEntry } from "../codec/read.js";
import { markRemoved, putEntry, unmarked } from "./entries.js";
import { checkMessage } from "./messages.js";
import { checkedInteger, checkedLimits, checkedNumber } from "./ranges.js";
import { addResources, type ResourcesSpec } from "./resources.js";
import { checkedBoolean, checkedString } from "../options.js";
import { isInstance, shown } from "../value-kinds.js";
import {
  checkedKey,
  checkedList,
  checkedMessage,
  checkedObject,
  checkedStrings,
  isOf,
  removed,
} from "./values.js";

/**
 * The changes that a plugin makes to a container that is being created. Every method returns the adjustment, and throws a
 * TypeError that names a wrong argument.
 *
 * ```ts
 * createContainer: ({ container }) =>
 *   new Adjustment()
 *     .env("NODE_NAME", "worker-1")
 *     .removeEnv("OTHER")
 *     .mount({ source: "/opt/models", destination: "/models", options: ["rbind", "ro"] })
 *     .resources({ cpu: { cpus: "2-3" } }),
 * ```
 *
 * A runtime does not create the container if two plugins set the same entry. But a plugin that first removes an entry may
 * then set it: `removeEnv("A").env("A", "b")` replaces what another plugin has set. Within one adjustment, the last value
 * of an entry counts, and a removal undoes what was set before it.
 */
export class Adjustment {
  /** The message that is sent. */
  readonly message: ContainerAdjustment = create(ContainerAdjustmentSchema);

  /**
   * Starts with the changes that a plain object describes, or with none.
   *
   * ```ts
   * new Adjustment({ env: { NODE_NAME: "worker-1", OTHER: null }, resources: { memory: { limit: 1 << 30 } } });
   * ```
   */
  constructor(spec: AdjustmentSpec = {}) {
    applySpec(this, spec);
  }

  get #linux(): LinuxContainerAdjustment {
    return (this.message.linux ??= create(LinuxContainerAdjustmentSchema));
  }

  /** Sets an environment variable. */
  env(name: string, value: string): this {
    const entry = { key: checkedVariable(name), value: checkedString(value, `env.${name}`) };
    putEntry(this.message.env, create(KeyValueSchema, entry), keyOf, [entry.key]);
    return this;
  }

  /**
   * Removes an environment variable that another plugin has set. Runtimes, as of NRI 0.12, keep a variable that the
   * container itself has; set that to an empty string instead.
   */
  removeEnv(name: string): this {
    const entry = create(KeyValueSchema, { key: `-${checkedVariable(name)}` });
    putEntry(this.message.env, entry, keyOf, [name, entry.key]);
    return this;
  }

  /** Sets an annotation. */
  annotation(key: string, value: string): this {
    const checked = checkedKey(key, "the key of annotation");
    setEntry(this.message.annotations, checked, checkedString(value, `annotations.${key}`));
    return this;
  }

  /** Removes an annotation. Runtimes, as of NRI 0.12, may keep one that another plugin has set. */
  removeAnnotation(key: string): this {
    markRemoved(this.message.annotations, removed(key, "the key of annotation"), "");
    return this;
  }

  /** Adds a mount. */
  mount(mount: MessageInitShape<typeof MountSchema>): this {
    const checked = checkedMessage(MountSchema, mount, "mount");
    const destination = checkedKey(
      (mount as { readonly destination?: unknown }).destination,
      "mount.destination",
    );
    putEntry(this.message.mounts, checked, destinationOf, [destination]);
    return this;
  }

  /** Removes the mount at a path in the container. */
  removeMount(destination: string): this {
    const mount = create(MountSchema, { destination: removed(destination, "mount.destination") });
    putEntry(this.message.mounts, mount, destinationOf, [destination, mount.destination]);
    return this;
  }

  /** Replaces the container's command, and with `replace` also a command that another plugin has set. */
  args(args: readonly string[], replace = false): this {
    const checked = checkedStrings(args, "args");
    this.message.args = checkedBoolean(replace, "replace") ? ["", ...checked] : checked;
    return this;
  }

  /** Adds an OCI hook, a program that the runtime runs in a phase of the container's life. */
  hook(phase: HookPhase, hook: HookSpec): this {
    if (!HOOK_PHASES.includes(phase)) {
      throw new TypeError(`a hook's phase must be one of ${HOOK_PHASES.join(", ")}, not ${shown(phase)}`);
    }
    const checked = hookOf(hook, `hooks.${phase}`);
    (this.message.hooks ??= create(HooksSchema))[phase].push(checked);
    return this;
  }

  /** Sets a limit such as `RLIMIT_NOFILE`. */
  rlimit(type: string, limits: RlimitSpec): this {
    const checkedType = checkedKey(type, "the type of rlimit");
    const { soft, hard } = checkedObject(limits, `rlimits.${type}`, ["soft", "hard"]);
    const checked = checkedLimits(soft, hard, `rlimits.${type}`);
    const rlimit = create(POSIXRlimitSchema, { type: checkedType, ...checked });
    putEntry(this.message.rlimits, rlimit, typeOf, [checkedType]);
    return this;
  }

  /** Adds a device by its CDI name, as in `vendor.com/gpu=0`. The runtime must know the name. */
  cdiDevice(name: string): this {
    const device = create(CDIDeviceSchema, { name: checkedKey(name, "the name of cdiDevice") });
    putEntry(this.message.CDIDevices, device, (each) => each.name, [name]);
    return this;
  }

  /** Adds a device. The device cgroup lets the container use it. */
  device(device: DeviceSpec): this {
    const checked = deviceOf(device, "device");
    putEntry(this.#linux.devices, checked, pathOf, [checked.path]);
    return this;
  }

  /**
   * Removes a device that another plugin has added, by its path. Runtimes, as of NRI 0.12, keep the container's own
   * devices.
   */
  removeDevice(path: string): this {
    const device = create(LinuxDeviceSchema, { path: removed(path, "device.path") });
    putEntry(this.#linux.devices, device, pathOf, [path, device.path]);
    return this;
  }

  /** Sets resources, and keeps those that were set before. */
  resources(spec: ResourcesSpec): this {
    const linux = this.#linux;
    linux.resources = addResources(linux.resources ?? create(LinuxResourcesSchema), spec, "resources");
    return this;
  }

  /**
   * Joins the namespace at a path, or without a path makes a new one. The type is `network`, `ipc` and the like. Only one
   * plugin may change the namespace of a type, even if it removes the namespace first.
   */
  namespace(type: string, path = ""): this {
    const namespace = {
      type: checkedKey(type, "the type of namespace"),
      path: checkedString(path, "namespace.path"),
    };
    return this.#namespace(create(LinuxNamespaceSchema, namespace));
  }

  /** Removes a namespace, so that the container shares the runtime's namespace of that type. */
  removeNamespace(type: string): this {
    return this.#namespace(create(LinuxNamespaceSchema, { type: removed(type, "the type of namespace") }));
  }

  /** A runtime refuses a removal beside a value, so the last change is the only one. */
  #namespace(namespace: LinuxNamespace): this {
    const type = unmarked(namespace.type);
    putEntry(this.#linux.namespaces, namespace, (each) => unmarked(each.type), [type]);
    return this;
  }

  /** Sets a kernel parameter of the container. */
  sysctl(key: string, value: string): this {
    const checked = checkedKey(key, "the key of sysctl");
    setEntry(this.#linux.sysctl, checked, checkedString(value, `sysctl.${key}`));
    return this;
  }

  /** Removes a kernel parameter. Runtimes, as of NRI 0.12, may keep one that another plugin has set. */
  removeSysctl(key: string): this {
    markRemoved(this.#linux.sysctl, removed(key, "the key of sysctl"), "");
    return this;
  }

  /** Moves a network device of the host into the container, under the same name or another. */
  netDevice(hostName: string, name = hostName): this {
    const key = checkedKey(hostName, "the host's name of netDevice");
    const device = create(LinuxNetDeviceSchema, { name: checkedString(name, "netDevice.name") });
    setEntry(this.#linux.netDevices, key, device);
    return this;
  }

  /** Removes a network device. Runtimes, as of NRI 0.12, may keep one that another plugin has added. */
  removeNetDevice(hostName: string): this {
    const key = removed(hostName, "the host's name of netDevice");
    markRemoved(this.#linux.netDevices, key, create(LinuxNetDeviceSchema));
    return this;
  }

  /** Replaces the seccomp policy. */
  seccomp(policy: SeccompSpec): this {
    this.#linux.seccompPolicy = create(LinuxSeccompSchema, seccompOf(policy, "seccomp"));
    return this;
  }

  /** Sets the cgroup's path. */
  cgroupsPath(path: string): this {
    this.#linux.cgroupsPath = checkedString(path, "cgroupsPath");
    return this;
  }

  /** Sets how readily the kernel ends the container when memory runs out, from -1000 to 1000. */
  oomScoreAdj(value: number): this {
    const checked = checkedInteger(value, "oomScoreAdj", "LinuxContainerAdjustment.oomScoreAdj");
    this.#linux.oomScoreAdj = create(OptionalIntSchema, { value: checked });
    return this;
  }

  /** Sets the class of I/O, and the priority within it, from 0 (the highest) to 7. */
  ioPriority(ioClass: IOPrioClass, priority: number): this {
    const checked = {
      class: checkedNumber(ioClass, "ioPriority.class", "LinuxIOPriority.class"),
      priority: checkedNumber(priority, "ioPriority.priority", "LinuxIOPriority.priority"),
    };
    this.#linux.ioPriority = create(LinuxIOPrioritySchema, checked);
    return this;
  }

  /** Sets the scheduler's attributes. */
  scheduler(attributes: MessageInitShape<typeof LinuxSchedulerSchema>): this {
    this.#linux.scheduler = checkedMessage(LinuxSchedulerSchema, attributes, "scheduler");
    return this;
  }

  /** Sets how memory is spread over NUMA nodes; `nodes` is a list such as `0-1`. */
  memoryPolicy(mode: MpolMode, nodes = "", flags: readonly MpolFlag[] = []): this {
    const policy = {
      mode: checkedNumber(mode, "memoryPolicy.mode", "LinuxMemoryPolicy.mode"),
      nodes: checkedString(nodes, "memoryPolicy.nodes"),
      flags: checkedList(flags, "memoryPolicy.flags").map((flag, index) =>
        checkedNumber(flag, `memoryPolicy.flags[${index}]`, "LinuxMemoryPolicy.flags"),
      ),
    };
    this.#linux.memoryPolicy = create(LinuxMemoryPolicySchema, policy);
    return this;
  }

  /** Sets the control of cache and memory bandwidth. */
  rdt(rdt: RdtSpec): this {
    const remove = this.message.linux?.rdt?.remove ?? false;
    this.#linux.rdt = Object.assign(rdtOf(rdt, "rdt"), { remove });
    return this;
  }

  /** Removes all control of cache and memory bandwidth. */
  removeRdt(): this {
    this.#linux.rdt = create(LinuxRdtSchema, { remove: true });
    return this;
  }
}

/** Checks the name of an environment variable. Of `A=B` the runtime would make `A`, whoever else has set that. */
function checkedVariable(name: unknown): string {
  const key = checkedKey(name, "the name of env");
  if (key.includes("=")) throw new TypeError(`the name of env must not contain "=": ${shown(key)}`);
  return key;
}

const keyOf = (entry: KeyValue): string => entry.key;
const destinationOf = (mount: Mount): string => mount.destination;
const typeOf = (rlimit: POSIXRlimit): string => rlimit.type;
const pathOf = (device: LinuxDevice): string => device.path;

/** Makes the message of an adjustment, whatever a handler has returned. Throws a TypeError that names a wrong field. */
export function adjustmentOf(given: Adjustment | ContainerAdjustment | AdjustmentSpec): ContainerAdjustment {
  const message = messageOf(given);
  // An adjustment's message may have been changed since its methods checked it.
  checkMessage(ContainerAdjustmentSchema, message, "adjust");
  return message;
}

function messageOf(given: Adjustment | ContainerAdjustment | AdjustmentSpec): ContainerAdjustment {
  if (isInstance(given, Adjustment)) return given.message;
  if (isOf(given, ContainerAdjustmentSchema)) return given;
  return new Adjustment(given as AdjustmentSpec).message;
}
