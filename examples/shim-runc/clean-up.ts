import { join } from "node:path";
import { create } from "@bufbuild/protobuf";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import { OptionsSchema } from "containerd-shim-protos/runc";
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
  // Of a container that was never created there are none, and after a crash they may be unreadable.
  const options = orUndefined(() => readOptions(bundle)) ?? create(OptionsSchema);
  await new Runc(id, namespace, bundle, options).delete(true).catch(console.warn);
  await unmountAll(join(bundle, "rootfs")).catch(console.warn);
  const exit = orUndefined(() => readExit(bundle)) ?? {
    pid: orUndefined(() => readPid(pidFile(bundle))) || 0,
    status: KILLED,
    exitedAt: new Date(),
  };
  return { pid: exit.pid, exitStatus: exit.status, exitedAt: timestampFromDate(exit.exitedAt) };
}

function orUndefined<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    console.warn(error);
    return undefined;
  }
}
