import type { Any } from "@bufbuild/protobuf/wkt";
import { type LinuxResources, resourcesOf, specJson } from "containerd-shim-protos/shim/spec";

/**
 * The limits of an Update, for runc, which crashes where one is null. containerd's own shim leaves those out, too. What is no
 * JSON object is runc's to refuse, as that shim does: both are Go and say the same.
 */
export function resourcesJson(resources: Any | undefined): Uint8Array {
  let given: LinuxResources;
  try {
    given = resourcesOf(resources);
  } catch {
    return resources?.value ?? new Uint8Array();
  }
  dropNulls(given);
  return Buffer.from(specJson(given));
}

/** In place: the digits of large integers are known for the objects that were read. */
function dropNulls(value: object): void {
  for (const [name, member] of Object.entries(value)) {
    if (member === null) delete (value as Record<string, unknown>)[name];
    else if (typeof member === "object") dropNulls(member as object);
  }
}
