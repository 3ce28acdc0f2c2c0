import { Code } from "../code.js";
import { TtrpcError } from "../error.js";
import type { ContainerAdjustment } from "../protos/generated/nri/pkg/api/v1alpha1/nri_pb.js";
import { unmarked } from "./entries.js";

/** Refuses an adjustment that sets an entry twice, as NRI does. Throws a TtrpcError that names the entry. */
export function checkEntries(
  plugin: string,
  { mounts, env, linux, rlimits, CDIDevices }: ContainerAdjustment,
): void {
  // NRI's names of the fields, in its order.
  once(plugin, "Mounts", mounts.map(({ destination }) => destination).filter(isSet));
  once(plugin, "Env", env.map(({ key }) => key).filter(isSet));
  if (linux !== undefined) {
    once(plugin, "Devices", linux.devices.map(({ path }) => path).filter(isSet));
    const hugepages = linux.resources?.hugepageLimits ?? [];
    once(
      plugin,
      "HugepageLimits",
      hugepages.map(({ pageSize }) => pageSize),
    );
    // A namespace that is removed and set counts as set twice.
    once(
      plugin,
      "Namespace",
      linux.namespaces.map(({ type }) => unmarked(type)),
    );
  }
  once(
    plugin,
    "Rlimits",
    rlimits.map(({ type }) => type),
  );
  once(
    plugin,
    "CdiDevices",
    CDIDevices.map(({ name }) => name),
  );
}

function isSet(key: string): boolean {
  return !key.startsWith("-");
}

function once(plugin: string, field: string, keys: readonly string[]): void {
  const seen = new Set<string>();
  for (const key of keys) {
    if (seen.has(key)) {
      throw new TtrpcError(
        `plugins "${plugin}" and "${plugin}" both tried to set ${field} ${key}`,
        Code.Unknown,
      );
    }
    seen.add(key);
  }
}
