import { clone } from "@bufbuild/protobuf";
import {
  type ContainerAdjustment,
  ContainerAdjustmentSchema,
  type LinuxSyscall,
} from "../protos/generated/nri/pkg/api/v1alpha1/nri_pb.js";
import type { RuntimeInfo } from "./context.js";
import type { EventName } from "./events.js";

/** First versions of runtimes: their major, minor and patch. */
type Since = Readonly<Record<string, readonly number[]>>;

/** Those whose versions are known. */
const RUNTIMES = new Set(["containerd", "cri-o"]);
/** The first runtimes with a version of NRI. Since 0.12 they say which one they have. */
const NRI_4: Since = { containerd: [1, 7, 7], "cri-o": [1, 29] };
const NRI_8: Since = { containerd: [1, 7, 26], "cri-o": [1, 32] };
const NRI_10: Since = { containerd: [2, 2], "cri-o": [1, 34] };
const NRI_11: Since = { containerd: [2, 2, 1], "cri-o": [1, 35] };
const NRI_12: Since = { containerd: [2, 3], "cri-o": [1, 36] };

const EVENTS: Partial<Record<EventName, Since>> = {
  updatePodSandbox: { ...NRI_10, "cri-o": [1, 33] },
  postUpdatePodSandbox: { ...NRI_10, "cri-o": [1, 33] },
  validateContainerAdjustment: NRI_10,
};
/** Where an adjustment has what not every runtime knows. */
const FIELDS: readonly [
  name: string,
  since: Since,
  of: (adjust: ContainerAdjustment) => object | undefined,
][] = [
  ["rlimits", NRI_4, ({ rlimits }) => rlimits],
  ["cdiDevices", NRI_8, ({ CDIDevices }) => CDIDevices],
  ["oomScoreAdj", NRI_8, ({ linux }) => linux?.oomScoreAdj],
  ["resources.pids", NRI_8, ({ linux }) => linux?.resources?.pids],
  ["args", NRI_10, ({ args }) => args],
  ["ioPriority", NRI_10, ({ linux }) => linux?.ioPriority],
  ["seccomp", NRI_10, ({ linux }) => linux?.seccompPolicy],
  ["namespaces", NRI_10, ({ linux }) => linux?.namespaces],
  ["seccomp.syscalls.errnoRet", NRI_12, errnos],
  ["sysctl", NRI_12, ({ linux }) => linux?.sysctl],
  ["netDevices", NRI_11, ({ linux }) => linux?.netDevices],
  ["scheduler", NRI_11, ({ linux }) => linux?.scheduler],
  ["rdt", NRI_11, ({ linux }) => linux?.rdt],
  ["memoryPolicy", NRI_12, ({ linux }) => linux?.memoryPolicy],
];

/** Whether a runtime knows an event. It refuses a plugin that subscribes to others. */
export function isKnownTo(runtime: RuntimeInfo, event: EventName): boolean {
  return isSince(runtime, EVENTS[event]);
}

/** The fields of an adjustment that have no effect: a runtime ignores them without a word, or does not get them. */
export function fieldsLostOn(runtime: RuntimeInfo, adjust: ContainerAdjustment): string[] {
  return FIELDS.filter(
    ([, since, of]) => Object.keys(of(adjust) ?? {}).length > 0 && !isSince(runtime, since),
  ).map(([name]) => name);
}

/**
 * An adjustment without what crashes a runtime: NRI 0.11 adds sysctls to a map that is not there, and 0.10 and 0.11 set the
 * errno of a seccomp rule through a nil pointer. The plugin's own, which it may return again, stays as it is.
 */
export function harmless(runtime: RuntimeInfo, adjust: ContainerAdjustment): ContainerAdjustment {
  const isHarmful = [adjust.linux?.sysctl, errnos(adjust)].some((each) => Object.keys(each ?? {}).length > 0);
  if (!isHarmful || !isSince(runtime, NRI_10) || isSince(runtime, NRI_12)) return adjust;
  const copy = clone(ContainerAdjustmentSchema, adjust);
  if (copy.linux !== undefined) copy.linux.sysctl = {};
  for (const rule of errnos(copy)) rule.errnoRet = undefined;
  return copy;
}

/** The rules of a seccomp policy that have an errno. */
function errnos({ linux }: ContainerAdjustment): LinuxSyscall[] {
  return linux?.seccompPolicy?.syscalls.filter(({ errnoRet }) => errnoRet !== undefined) ?? [];
}

/**
 * Whether a runtime can block for good when a plugin updates containers by itself. Before NRI 0.12.1 it takes two locks for
 * that in the other order than for all else.
 */
export function canBlock({ name, nriVersion }: RuntimeInfo): boolean {
  return RUNTIMES.has(name) && (nriVersion === "" || isBefore(nriVersion, [0, 12, 1]));
}

/** Whether a runtime is known to ignore a plugin's failure policy, without a word. */
export function ignoresPolicy({ name, nriVersion }: RuntimeInfo): boolean {
  return nriVersion === "" ? RUNTIMES.has(name) : isBefore(nriVersion, [0, 12, 4]);
}

/** Whether a runtime is not known to be older. */
function isSince({ name, version, nriVersion }: RuntimeInfo, since: Since = {}): boolean {
  const first = Object.hasOwn(since, name) ? since[name] : undefined;
  return nriVersion !== "" || first === undefined || !isBefore(version, first);
}

/** Whether a version is known to be before another one. */
function isBefore(version: string, other: readonly number[]): boolean {
  const own = /^v?(\d+)\.(\d+)(?:\.(\d+))?/.exec(version)?.slice(1);
  if (own === undefined) return false;
  for (const [index, part] of other.entries()) {
    const difference = Number(own[index] ?? 0) - part;
    if (difference !== 0) return difference < 0;
  }
  return false;
}
