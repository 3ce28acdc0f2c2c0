import { runPlugin, type RunningPlugin } from "containerd-shim-protos/nri";
import { expect, onTestFinished, test, vi } from "vitest";
import { buildGo } from "../helpers/go-build.js";
import { Program } from "../helpers/program.js";
import { Started } from "../helpers/started.js";
import { Node } from "./node.js";
import { useNamedPods } from "./nri-pods.js";
import { useRunning } from "./suite.js";

const SOCKET = "/var/run/nri/nri.sock";
/** Containers in all; more for a measurement. */
const CONTAINERS = Number(process.env["NRI_CONTAINERS"] ?? 4);
/** Pods that they are divided among; the plugins change places with each. */
const ROUNDS = CONTAINERS < 100 ? 2 : 4;
const quiet = { info: () => undefined, warn: () => undefined, error: () => undefined };

const node = useRunning(() =>
  Node.start(["[plugins.'io.containerd.nri.v1.nri']", "plugin_request_timeout = '30s'"]),
);
const pods = useNamedPods(node);

/** When each probe began, and what it saw, for the container that is being created. */
const arrivals: { at: number; env: string[] }[] = [];

/** A plugin of this process that notes when it is asked. The time between two of them is that of a plugin between them. */
async function probe(index: string): Promise<RunningPlugin> {
  const createContainer = ({ container }: { container: { env: string[] } }) =>
    void arrivals.push({ at: performance.now(), env: container.env });
  const plugin = runPlugin("probe", index, { createContainer }, { log: quiet, ownsProcess: false });
  onTestFinished(() => plugin.close());
  await plugin.ready;
  return plugin;
}

function shown(name: string, times: number[]): string {
  const sorted = times.toSorted((one, other) => one - other);
  const at = (share: number) => sorted[Math.floor(share * (sorted.length - 1))]?.toFixed(2);
  return `${name}: median ${at(0.5)} ms, 10 % to 90 %: ${at(0.1)} to ${at(0.9)} ms`;
}

test(
  `plugins of Go and of this package adjust the same ${CONTAINERS} containers, in turn first, and each takes its time`,
  { timeout: 900_000 },
  async () => {
    const peer = buildGo("nri", "nri-peer");
    const plugins = {
      go: (index: string) => new Started(peer, ["adjuster", "go", index, SOCKET]),
      node: (index: string) => new Program("__test__/cri/nri-adjuster.ts", ["node", index]),
    };
    for (const index of ["05", "15", "25", "35"]) await probe(index);
    const times = { go: [] as number[], node: [] as number[], none: [] as number[] };
    const created: number[] = [];
    const started: number[] = [];
    const inRound = Math.ceil(CONTAINERS / ROUNDS);
    for (let made = 0, rounds = 0; made < CONTAINERS; rounds++) {
      const order = rounds % 2 === 0 ? (["go", "node"] as const) : (["node", "go"] as const);
      await using first = plugins[order[0]]("10");
      await using second = plugins[order[1]]("20");
      for (const plugin of [first, second]) await plugin.printed("synchronized");
      const pod = await pods.run(`cost-${rounds}`);
      // Asked once, the plugins are called for each container that follows.
      await vi.waitFor(async () => {
        arrivals.length = 0;
        await pods.create(pod, `warm-${Math.random()}`.replace(".", "-"));
        expect(arrivals.at(-1)?.env.filter((line) => line.endsWith("=here"))).toHaveLength(2);
      }, 30_000);
      for (let count = 0; count < inRound && made < CONTAINERS; count++, made++) {
        arrivals.length = 0;
        const before = performance.now();
        const id = await pods.create(pod, `c-${made}`);
        const between = performance.now();
        await pods.crictl("start", id);
        created.push(between - before);
        started.push(performance.now() - before);
        expect(arrivals.map(({ env }) => env.filter((line) => line.endsWith("=here")))).toEqual([
          [],
          [`${order[0]}=here`],
          expect.arrayContaining(["go=here", "node=here"]),
          expect.arrayContaining(["go=here", "node=here"]),
        ]);
        const gap = (index: number) => arrivals[index + 1]!.at - arrivals[index]!.at;
        // Each gap has the call of a probe, which the last one has alone.
        times.none.push(gap(2));
        times[order[0]].push(gap(0) - gap(2));
        times[order[1]].push(gap(1) - gap(2));
      }
      await pods.crictl("rmp", "--force", pod);
    }
    expect(created).toHaveLength(CONTAINERS);
    console.log(
      [
        `${CONTAINERS} containers of containerd with CRI`,
        shown("a plugin of Go adds", times.go),
        shown("a plugin of this package adds", times.node),
        shown("a probe alone, in the process of the test", times.none),
        shown("to create a container, with four probes and both plugins", created),
        shown("to create and start it", started),
      ].join("\n"),
    );
  },
);
