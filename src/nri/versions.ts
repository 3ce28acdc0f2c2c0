import type {
  ContainerAdjustment,
  LinuxContainerAdjustment,
} from "../protos/generated/nri/pkg/api/v1alpha1/nri_pb.js";
import type { RuntimeInfo } from "./context.js";
import type { EventName } from "./events.js";

/** First versions of runtimes. Later ones say which version of NRI they have, 0.12 or later. */
type Since = Readonly<Record<string, readonly [major: number, minor: number]>>;

/** The runtimes with NRI 0.10 and 0.11; those before have 0.9 at most. */
const NRI_10: Since = { containerd: [2, 2], "cri-o": [1, 34] };
const NRI_11: Since = { containerd: [2, 2], "cri-o": [1, 35] };
const NRI_12: Since = { containerd: [2, 3], "cri-o": [1, 36] };

const EVENTS: Partial<Record<EventName, Since>> = {
  updatePodSandbox: { ...NRI_10, "cri-o": [1, 33] },
  postUpdatePodSandbox: { ...NRI_10, "cri-o": [1, 33] },
  validateContainerAdjustment: NRI_10,
};
const FIELDS: Partial<Record<keyof LinuxContainerAdjustment, Since>> = {
  ioPriority: NRI_10,
  seccompPolicy: NRI_10,
  namespaces: NRI_10,
  sysctl: NRI_11,
  netDevices: NRI_11,
  scheduler: NRI_11,
  rdt: NRI_11,
  memoryPolicy: NRI_12,
};

/** Whether a runtime knows an event. It refuses a plugin that subscribes to others. */
export function isKnownTo(runtime: RuntimeInfo, event: EventName): boolean {
  return isSince(runtime, EVENTS[event]);
}

/** The fields of an adjustment that a runtime does not know, and ignores without a word. */
export function fieldsUnknownTo(runtime: RuntimeInfo, adjust: ContainerAdjustment): string[] {
  const fields = adjust.args.length > 0 && !isSince(runtime, NRI_10) ? ["args"] : [];
  for (const [name, since] of Object.entries(FIELDS)) {
    const value = adjust.linux?.[name as keyof LinuxContainerAdjustment] ?? {};
    if (Object.keys(value).length > 0 && !isSince(runtime, since)) fields.push(name);
  }
  return fields;
}

/** Whether a runtime is not known to be older. */
function isSince({ name, version, nriVersion }: RuntimeInfo, since: Since = {}): boolean {
  const [major, minor] = Object.hasOwn(since, name) ? (since[name] ?? []) : [];
  const [, ownMajor, ownMinor] = /^v?(\d+)\.(\d+)/.exec(version) ?? [];
  if (nriVersion !== "" || major === undefined || minor === undefined || ownMajor === undefined) return true;
  return Number(ownMajor) > major || (Number(ownMajor) === major && Number(ownMinor) >= minor);
}
