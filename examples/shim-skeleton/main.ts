/**
 * The smallest shim that `ctr run` works with. It makes no container: it runs an ordinary process of this machine, with the
 * arguments, environment and working directory of the container's spec.
 *
 *     ctr run --rm --runtime $PWD/examples/shim-skeleton/containerd-shim-skeleton-v1 --rootfs / test echo hello
 */

import { runShim } from "containerd-shim-protos/shim";

void runShim("io.containerd.skeleton.v1", {
  createTaskService: async (context) => (await import("./service.js")).createSkeleton(context),
});
