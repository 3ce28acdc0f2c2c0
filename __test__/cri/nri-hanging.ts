// A plugin that never answers for a container.
import { runPlugin } from "containerd-shim-protos/nri";

runPlugin("hanging", "10", {
  synchronize: () => console.log("synchronized"),
  createContainer: () => {
    console.log("creating");
    return new Promise<undefined>(() => undefined);
  },
});
