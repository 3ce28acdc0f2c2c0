// A plugin that adds NAME=here to each container and does nothing else, to measure what a plugin costs.
import { Adjustment, runPlugin } from "containerd-shim-protos/nri";

const [name = "node", index = "10"] = process.argv.slice(2);
runPlugin(name, index, {
  synchronize: () => console.log("synchronized"),
  createContainer: () => new Adjustment().env(name, "here"),
});
