import { join } from "node:path";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import type { ShimRequest } from "containerd-shim-protos/shim";
import { pidFile, readExit, readOptions, readPid } from "./bundle.js";
import { unmountAll } from "./mounts.js";
import { Runc } from "./runc.js";

const KILLED = 137;

/**
 * Removes all that there may be of a container, whose shim has been killed or has done it already. Whatever fails is
 * said, for containerd's log, and does not keep the rest from being done.
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
