/**
 * A shim that runs containers with runc, as containerd's own does:
 *
 *     ctr run --rm --runtime $PWD/examples/shim-runc/containerd-shim-noderunc-v1 --rootfs /path/to/rootfs test sh
 */

import { runShim } from "containerd-shim-protos/shim";

void runShim("io.containerd.noderunc.v1", {
  version: "1.0.0",
  // A pod, or a group of runc's own label.
  groupAnnotations: ["io.containerd.runc.v2.group", "io.kubernetes.cri.sandbox-id"],
  createTaskService: async (context) => (await import("./service.js")).createRuncService(context),
  delete: async (request) => (await import("./clean-up.js")).cleanUp(request),
  deleteLeavesNothing: true,
  info: async (options) => (await import("./info.js")).runtimeInfo(options),
});
