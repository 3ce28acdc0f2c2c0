import { runShim } from "containerd-shim-protos/shim";

// containerd runs this program several times for each container, so it imports the service only where it is needed.
void runShim("io.containerd.__NAME__.v1", {
  version: "0.1.0",
  createTaskService: async (context) => (await import("./service.js")).createSkeleton(context),
});
