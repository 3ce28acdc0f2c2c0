import { existsSync } from "node:fs";
import { isAbsolute, join } from "node:path";
import { Task } from "../protos/task/v3.js";
import type { ServiceImpl } from "../server/service.js";
import { handlersOf } from "./handlers.js";
import { writeWhole } from "./write-file.js";

/**
 * Where containerd up to 1.7 looks for the address of a container's shim when it has been restarted. A newer one may be
 * replaced by it while the container runs, so the file is there whatever started the shim.
 */
const FILE = "address";

/** Leaves a shim's address in a bundle. Throws the system's error. */
export function writeAddress(bundle: string, address: string): void {
  writeWhole(join(bundle, FILE), address);
}

/**
 * A service that leaves its address in the bundles of containers that have had no `start`: containerd 2.x sends those of a
 * sandbox to the sandbox's shim.
 */
export function leavingAddress(service: ServiceImpl<typeof Task>, address: string): ServiceImpl<typeof Task> {
  const handlers = handlersOf(Task, service);
  const { create } = handlers;
  if (typeof create !== "function") return service;
  handlers["create"] = (request, context) => {
    const { bundle } = request as { bundle: string };
    try {
      // containerd names a folder. Other paths would be those of this process, which is in no bundle.
      if (isAbsolute(bundle) && !existsSync(join(bundle, FILE))) writeAddress(bundle, address);
    } catch {
      // containerd can do without the file.
    }
    return create(request, context);
  };
  return handlers as ServiceImpl<typeof Task>;
}
