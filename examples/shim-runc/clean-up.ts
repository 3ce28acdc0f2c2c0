import { join } from "node:path";
import { create } from "@bufbuild/protobuf";
import { OptionsSchema } from "containerd-shim-protos/runc";
import { type ShimRequest, timestampFromDate } from "containerd-shim-protos/shim";
import { attempt } from "./attempt.js";
import { pidFile, readExit, readOptions, readPid } from "./bundle.js";
import { unmountAll } from "./mounts.js";
import { Runc } from "./runc.js";

const KILLED = 137;

/**
 * Removes whatever is left of a container. Its shim was killed, or has cleaned up already. Failures are printed for
 * containerd's log and do not stop the remaining steps.
 */
export async function cleanUp({ id, namespace, bundle }: ShimRequest) {
  const options = (await tried(() => readOptions(bundle))) ?? create(OptionsSchema);
  await tried(() => new Runc(id, namespace, bundle, options).delete(true));
  await tried(() => unmountAll(join(bundle, "rootfs")));
  const exit = await tried(() => readExit(bundle));
  const pid = exit?.pid ?? ((await tried(() => readPid(pidFile(bundle)))) || 0);
  const { status = KILLED, exitedAt = new Date() } = exit ?? {};
  return { pid, exitStatus: status, exitedAt: timestampFromDate(exitedAt) };
}

/** Does a step, whose failure is printed for containerd's log. */
const tried = <T>(step: () => T | Promise<T>) => attempt(step, (error) => console.warn(error));
