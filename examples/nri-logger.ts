// An NRI plugin that prints a line for every event of pods and containers.
import { type ContainerEvent, type PodEvent, runPlugin } from "containerd-shim-protos/nri";

const [socket] = process.argv.slice(2);

const ofPod =
  (what: string) =>
  ({ pod }: PodEvent) =>
    console.log(`${pod.namespace}/${pod.name}: ${what}`);
const ofContainer =
  (what: string) =>
  ({ pod, container }: ContainerEvent) =>
    console.log(`${pod.namespace}/${pod.name}/${container.name}: ${what}`);

runPlugin(
  "logger",
  "10",
  {
    synchronize({ pods, containers }, { runtime }) {
      console.log(
        `${runtime.name} ${runtime.version} has ${pods.length} pods, ${containers.length} containers`,
      );
    },
    runPodSandbox: ofPod("run"),
    stopPodSandbox: ofPod("stop"),
    removePodSandbox: ofPod("remove"),
    createContainer: ofContainer("create"),
    startContainer: ofContainer("start"),
    updateContainer: ofContainer("update"),
    stopContainer: ofContainer("stop"),
    removeContainer: ofContainer("remove"),
  },
  { socket },
);
