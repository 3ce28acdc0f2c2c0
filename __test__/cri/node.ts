import { execFileSync } from "node:child_process";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { type Result, run } from "./command.js";
import { makeImages, PAUSE_IMAGE } from "./images/images.js";
import { Registry } from "./images/registry.js";
import { Daemon } from "./machine/daemon.js";
import { killContainers, mounts, traces as tracesWith, vethDevices } from "./machine/traces.js";
import { CNI_FOLDERS } from "./requirements.js";

const FOLDER = "/run/node";
const SOCKET = "/run/containerd/containerd.sock";

/** A shim, as Kubernetes names it: a handler of containerd's configuration. */
export interface Handler {
  readonly name: string;
  readonly handler: string;
  readonly runtime: string;
}

export const OWN: Handler = {
  name: "containerd's own shim",
  handler: "runc",
  runtime: "io.containerd.runc.v2",
};
export const RUNC: Handler = { name: "shim-runc", handler: "noderunc", runtime: "io.containerd.noderunc.v1" };

/** Both with their names, for the names of tests. */
export const HANDLERS: [string, Handler][] = [OWN, RUNC].map((handler) => [handler.name, handler]);

/** The same shim as a handler of another name, which has options: the runc to run, and where that keeps its state. */
export function withOptions(handler: Handler): Handler & { readonly runc: string; readonly root: string } {
  const name = `${handler.handler}-options`;
  return {
    ...handler,
    handler: name,
    runc: join(FOLDER, `runc-for-${name}`),
    root: join(FOLDER, `root-of-${name}`),
  };
}

/** A node of Kubernetes without a kubelet: containerd with CRI and a network, on the machine that inside.sh prepares. */
export class Node {
  static readonly root = FOLDER;
  static readonly socket = SOCKET;
  /** Where hosts.toml is, which sends every pull to the registry of the tests. */
  static readonly hosts = join(FOLDER, "certs.d");
  static readonly networks = join(FOLDER, "net.d");

  readonly #registry: Registry;
  readonly #daemon = new Daemon(
    ["containerd", "--config", join(FOLDER, "config.toml")],
    // containerd looks for shims in its working directory first, and must find none there.
    FOLDER,
  );

  private constructor(registry: Registry) {
    this.#registry = registry;
  }

  /**
   * Starts a new node, which pulls its images from a registry of its own.
   *
   * @param more - Lines to add to containerd's configuration.
   */
  static async start(more: readonly string[] = []): Promise<Node> {
    const registry = await Registry.serve(makeImages());
    const { url } = registry;
    mkdirSync(join(Node.hosts, "_default"), { recursive: true });
    mkdirSync(Node.networks, { recursive: true });
    writeFileSync(join(Node.hosts, "_default", "hosts.toml"), `server = "${url}"\n[host."${url}"]\n`);
    writeFileSync(join(Node.networks, "10-bridge.conflist"), JSON.stringify(bridge()));
    writeFileSync(join(FOLDER, "config.toml"), configuration(more));
    for (const { runc } of [OWN, RUNC].map(withOptions)) {
      // It says what it was called for.
      writeFileSync(runc, '#!/bin/sh\necho "$*" >> "$0.calls"\nexec runc "$@"\n', { mode: 0o755 });
    }
    writeFileSync(join(FOLDER, "crictl.yaml"), `runtime-endpoint: unix://${SOCKET}\ntimeout: 60\n`);
    const node = new Node(registry);
    await node.startDaemon();
    return node;
  }

  /** Starts containerd; resolves when it takes pods. */
  startDaemon(): Promise<void> {
    return this.#daemon.start(async () => {
      const { code, stdout, stderr } = await this.crictl(["info", "--output", "json"]);
      return code === 0 && isReady(stdout) ? undefined : stderr || "no pods yet";
    });
  }

  /** Ends containerd alone, by a signal. */
  endDaemon(signal: NodeJS.Signals): Promise<void> {
    return this.#daemon.end(signal);
  }

  /** Ends everything at once, as a loss of power does; what is mounted in memory goes too, but for containerd's state. */
  async losePower(): Promise<void> {
    await this.endDaemon("SIGKILL");
    await killContainers();
    for (const path of mounts().toReversed()) {
      if (path.startsWith("/run/containerd/") || path.startsWith("/run/netns/"))
        execFileSync("umount", ["-l", path]);
    }
    for (const device of vethDevices()) await run("ip", ["link", "delete", device]);
  }

  /** Ends all that there is. Fails if anything but the daemon had to be ended by force, or was left behind. */
  async stop(): Promise<void> {
    const { code, stderr } = await this.crictl(["rmp", "--all", "--force"]);
    await this.endDaemon("SIGTERM");
    const left = code === 0 ? traces() : [stderr, ...traces()];
    await this.losePower();
    this.#registry.close();
    rmSync(FOLDER, { recursive: true, force: true });
    rmSync("/run/containerd", { recursive: true, force: true });
    if (left.length > 0) throw new Error(`left behind:\n${left.join("\n")}\n${this.takeLog()}`);
  }

  /** What containerd says that a handler can do. */
  async features({ handler }: Handler): Promise<Readonly<Record<string, boolean>>> {
    const { stdout } = await this.crictl(["info", "--output", "json"]);
    const { runtimeHandlers } = JSON.parse(stdout) as {
      runtimeHandlers: { name: string; features: Record<string, boolean> }[];
    };
    return runtimeHandlers.find(({ name }) => name === handler)?.features ?? {};
  }

  crictl(args: readonly string[], input?: string): Promise<Result> {
    return run("crictl", ["--config", join(FOLDER, "crictl.yaml"), ...args], { input });
  }

  /** What containerd and its shims have logged since this was last called, or the end of it. */
  takeLog(): string {
    return this.#daemon.takeLog();
  }
}

/** Processes of shims and containers, their mounts, and devices of the network that are there. */
export function traces(): string[] {
  return tracesWith(/^\/run\/netns\//);
}

function isReady(info: string): boolean {
  const { status } = JSON.parse(info) as { status: { conditions: { type: string; status: boolean }[] } };
  const isTrue = (name: string) =>
    status.conditions.some((condition) => condition.type === name && condition.status);
  return isTrue("RuntimeReady") && isTrue("NetworkReady");
}

function bridge(): object {
  const ranges = [[{ subnet: "10.88.0.0/16" }]];
  const ipam = { type: "host-local", ranges, routes: [{ dst: "0.0.0.0/0" }], dataDir: join(FOLDER, "cni") };
  const network = { type: "bridge", bridge: "cni0", isGateway: true, ipMasq: true, hairpinMode: true, ipam };
  const plugins = [network, { type: "portmap", capabilities: { portMappings: true } }];
  return { cniVersion: "1.0.0", name: basename(FOLDER), plugins };
}

function configuration(more: readonly string[]): string {
  const cri = "io.containerd.cri.v1";
  const handlers = [OWN, RUNC].flatMap(({ handler, runtime }) => [
    `[plugins.'${cri}.runtime'.containerd.runtimes.${handler}]`,
    `runtime_type = '${runtime}'`,
  ]);
  const optional = [OWN, RUNC]
    .map(withOptions)
    .flatMap(({ handler, runtime, runc, root }) => [
      `[plugins.'${cri}.runtime'.containerd.runtimes.${handler}]`,
      `runtime_type = '${runtime}'`,
      `[plugins.'${cri}.runtime'.containerd.runtimes.${handler}.options]`,
      `BinaryName = '${runc}'`,
      `Root = '${root}'`,
    ]);
  return [
    "version = 3",
    `root = '${FOLDER}/root'`,
    "state = '/run/containerd'",
    "[grpc]",
    `address = '${SOCKET}'`,
    `[plugins.'io.containerd.internal.v1.opt']`,
    `path = '${FOLDER}/opt'`,
    `[plugins.'${cri}.images']`,
    "snapshotter = 'overlayfs'",
    `[plugins.'${cri}.images'.pinned_images]`,
    `sandbox = '${PAUSE_IMAGE}'`,
    `[plugins.'${cri}.images'.registry]`,
    `config_path = '${Node.hosts}'`,
    `[plugins.'${cri}.runtime']`,
    // A machine that is itself a sandbox may lack the capability to lower it.
    "restrict_oom_score_adj = true",
    `[plugins.'${cri}.runtime'.cni]`,
    `bin_dirs = ${JSON.stringify(CNI_FOLDERS)}`,
    `conf_dir = '${Node.networks}'`,
    `[plugins.'${cri}.runtime'.containerd]`,
    `default_runtime_name = '${OWN.handler}'`,
    ...handlers,
    ...optional,
    ...more,
    "",
  ].join("\n");
}
