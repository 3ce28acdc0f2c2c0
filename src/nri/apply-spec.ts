import { type AdjustmentSpec, type HookPhase, type HookSpec, SPEC_NAMES } from "./adjustment-spec.js";
import type { Adjustment } from "./adjustment.js";
import { checkedList, checkedObject } from "./values.js";

/** Makes the calls that a plain object describes. Throws a TypeError that names what is wrong. */
export function applySpec(to: Adjustment, spec: AdjustmentSpec): void {
  const given = checkedObject(spec, "the adjustment", SPEC_NAMES) as AdjustmentSpec;
  for (const name of SPEC_NAMES) {
    if (given[name] !== undefined)
      (APPLIERS[name] as (to: Adjustment, value: unknown) => void)(to, given[name]);
  }
}

type Appliers = {
  readonly [Name in keyof AdjustmentSpec]-?: (
    to: Adjustment,
    value: NonNullable<AdjustmentSpec[Name]>,
  ) => unknown;
};

function entries<T>(value: Readonly<Record<string, T>>, name: string): [string, T][] {
  return Object.entries(checkedObject(value, name)) as [string, T][];
}

function list<T>(value: readonly T[], name: string): readonly T[] {
  return checkedList(value, name) as T[];
}

/** The parts of a value, or the error that names it. */
function parts<T extends object>(value: T, name: string, known: readonly (keyof T & string)[]): T {
  return checkedObject(value, name, known) as unknown as T;
}

/** Sets the entries of a record; `null` removes one. */
function each(
  all: Readonly<Record<string, string | null>>,
  name: string,
  set: (key: string, value: string) => unknown,
  remove: (key: string) => unknown,
): void {
  for (const [key, value] of entries(all, name)) {
    if (value === null) remove(key);
    else set(key, value);
  }
}

const APPLIERS: Appliers = {
  env: (to, all) =>
    each(
      all,
      "env",
      (key, value) => to.env(key, value),
      (key) => to.removeEnv(key),
    ),
  annotations: (to, all) =>
    each(
      all,
      "annotations",
      (key, value) => to.annotation(key, value),
      (key) => to.removeAnnotation(key),
    ),
  mounts: (to, mounts) => list(mounts, "mounts").forEach((mount) => to.mount(mount)),
  removeMounts: (to, paths) => list(paths, "removeMounts").forEach((path) => to.removeMount(path)),
  args: (to, args) => to.args(args),
  hooks: (to, hooks) =>
    entries(hooks as Record<string, readonly HookSpec[] | undefined>, "hooks").forEach(([phase, all = []]) =>
      list(all, `hooks.${phase}`).forEach((hook) => to.hook(phase as HookPhase, hook)),
    ),
  rlimits: (to, limits) => entries(limits, "rlimits").forEach(([type, limit]) => to.rlimit(type, limit)),
  cdiDevices: (to, names) => list(names, "cdiDevices").forEach((name) => to.cdiDevice(name)),
  devices: (to, devices) => list(devices, "devices").forEach((device) => to.device(device)),
  removeDevices: (to, paths) => list(paths, "removeDevices").forEach((path) => to.removeDevice(path)),
  resources: (to, spec) => to.resources(spec),
  namespaces: (to, all) =>
    each(
      all,
      "namespaces",
      (key, value) => to.namespace(key, value),
      (key) => to.removeNamespace(key),
    ),
  sysctl: (to, all) =>
    each(
      all,
      "sysctl",
      (key, value) => to.sysctl(key, value),
      (key) => to.removeSysctl(key),
    ),
  netDevices: (to, all) =>
    each(
      all,
      "netDevices",
      (key, value) => to.netDevice(key, value),
      (key) => to.removeNetDevice(key),
    ),
  seccomp: (to, policy) => to.seccomp(policy),
  cgroupsPath: (to, path) => to.cgroupsPath(path),
  oomScoreAdj: (to, value) => to.oomScoreAdj(value),
  ioPriority: (to, value) => {
    const { class: ioClass, priority } = parts(value, "ioPriority", ["class", "priority"]);
    to.ioPriority(ioClass, priority);
  },
  scheduler: (to, attributes) => to.scheduler(attributes),
  memoryPolicy: (to, value) => {
    const { mode, nodes, flags } = parts(value, "memoryPolicy", ["mode", "nodes", "flags"]);
    to.memoryPolicy(mode, nodes, flags);
  },
  rdt: (to, rdt) => (rdt === null ? to.removeRdt() : to.rdt(rdt)),
};
