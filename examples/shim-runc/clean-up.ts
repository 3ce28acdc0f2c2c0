import { join } from "node:path";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import type { ShimRequest } from "containerd-shim-protos/shim";
import { pidFile, readExit, readOptions, readPid } from "./bundle.js";
import { unmountAll } from "./mounts.js";
import { Runc } from "./runc.js";

const KILLED = 137;

/**
 * Removes whatever is left of a container. Its shim was killed, or has cleaned up already. Failures are printed for
 * containerd's log and do not stop the remaining steps.
 */
export async function cleanUp({ id, namespace, bundle }: ShimRequest) {
  const options = readOptions(bundle);
  if (options !== undefined) {
    await new Runc(id, namespace, bundle, options).delete(true).catch(console.warn);
  }
  await unmountAll(join(bundle, "rootfs")).catch(console.warn);
  const exit = readExit(bundle) ?? { pid: readPid(pidFile(bundle)), status: KILLED, exitedAt: new Date() };
  return { pid: exit.pid, exitStatus: exit.status, exitedAt: timestampFromDate(exit.exitedAt) };
}
