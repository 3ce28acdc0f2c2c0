// An NRI plugin that gives each container with the annotation pin.example.com/CONTAINER: COUNT as many CPUs of its own, and
// all other containers the rest.
import { readFileSync } from "node:fs";
import {
  type Container,
  ContainerState,
  type PodSandbox,
  runPlugin,
  type UpdateSpec,
} from "containerd-shim-protos/nri";

const PIN = "pin.example.com/";
const [socket, online = readFileSync("/sys/devices/system/cpu/online", "utf8")] = process.argv.slice(2);

const all = parse(online);
const free = new Set(all);
/** The CPUs of each pinned container, by its id. */
const pinned = new Map<string, number[]>();
/** The other containers. */
const shared = new Set<string>();

/** The numbers in a list such as 0-3,8. */
function parse(list: string): number[] {
  return list
    .trim()
    .split(",")
    .flatMap((range) => {
      const [first = 0, last = first] = range.split("-").map(Number);
      return Array.from({ length: last - first + 1 }, (_, index) => first + index);
    });
}

/** How many CPUs a container is to have for its own; 0 without the annotation, NaN if that is no number. */
function wanted(pod: PodSandbox, { name }: Container): number {
  const text = pod.annotations[PIN + name] ?? "0";
  return /^\d+$/.test(text) ? Number(text) : Number.NaN;
}

const cpus = (numbers: Iterable<number>) => ({ cpu: { cpus: [...numbers].join(",") } });

/** What moves all other containers to the CPUs that are left. */
const moveShared = (): UpdateSpec[] =>
  // One of them may have ended meanwhile.
  [...shared].map((containerId) => ({ containerId, resources: cpus(free), ignoreFailure: true }));

function pin(id: string, count: number): number[] {
  // One CPU stays with the others.
  if (free.size <= count) throw new Error(`${count} CPUs are wanted, and ${free.size - 1} can be pinned`);
  const taken = [...free].slice(0, count);
  for (const cpu of taken) free.delete(cpu);
  pinned.set(id, taken);
  return taken;
}

/** Gives a container's CPUs back. */
function release({ id }: Container): boolean {
  shared.delete(id);
  const taken = pinned.get(id);
  for (const cpu of taken ?? []) free.add(cpu);
  return pinned.delete(id);
}

runPlugin(
  "cpu-pinning",
  "90",
  {
    synchronize({ pods, containers }) {
      // It comes again after each loss of the connection; what has ended meanwhile is not among them.
      for (const cpu of all) free.add(cpu);
      pinned.clear();
      shared.clear();
      for (const container of containers) {
        if (container.state === ContainerState.CONTAINER_STOPPED) continue;
        const pod = pods.find(({ id }) => id === container.podSandboxId);
        const own = container.linux?.resources?.cpu?.cpus;
        if (pod === undefined || !(wanted(pod, container) > 0) || !own) shared.add(container.id);
        else {
          const taken = parse(own);
          for (const cpu of taken) free.delete(cpu);
          pinned.set(container.id, taken);
        }
      }
      return moveShared();
    },
    createContainer({ pod, container }) {
      const count = wanted(pod, container);
      if (Number.isNaN(count))
        throw new Error(`the annotation ${PIN}${container.name} must be a number of CPUs`);
      if (count === 0) {
        shared.add(container.id);
        return { adjust: { resources: cpus(free) } };
      }
      return { adjust: { resources: cpus(pin(container.id, count)) }, update: moveShared() };
    },
    stopContainer({ container }) {
      return release(container) ? moveShared() : [];
    },
    removeContainer({ container }) {
      release(container);
    },
  },
  { socket },
);
