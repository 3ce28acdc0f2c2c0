import { join } from "node:path";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import { create } from "@bufbuild/protobuf";
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
  const options = (await attempt(() => readOptions(bundle))) ?? create(OptionsSchema);
  await attempt(() => new Runc(id, namespace, bundle, options).delete(true));
  await attempt(() => unmountAll(join(bundle, "rootfs")));
  const exit = await attempt(() => readExit(bundle));
  const pid = exit?.pid ?? ((await attempt(() => readPid(pidFile(bundle)))) || 0);
  const { status = KILLED, exitedAt = new Date() } = exit ?? {};
  return { pid, exitStatus: status, exitedAt: timestampFromDate(exitedAt) };
}

/** The result of a step, or undefined if it fails. */
async function attempt<T>(step: () => T | Promise<T>): Promise<T | undefined> {
  try {
    return await step();
  } catch (error) {
    console.warn(error);
    return undefined;
  }
}
