import { execFileSync } from "node:child_process";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Result, run } from "../cri/command.js";
import { busyboxFolder } from "../cri/images/images.js";
import { Daemon } from "../cri/machine/daemon.js";
import { killContainers, mounts, traces as tracesWith, vethDevices } from "../cri/machine/traces.js";
import { configureRuntimes, RUNTIMES } from "./runtimes.js";

const FOLDER = "/run/engine";
const CONTAINERD = "/run/containerd/containerd.sock";
/** What Docker mounts for a container that runs: its root filesystem, /dev/shm and its network namespace. */
const OF_CONTAINERS = new RegExp(`^${FOLDER}/(data/(overlay2/.*/merged|containers/.*/shm)|exec/netns/)`);

/** How long a command may take. Fifty containers that start at once take their time on a busy machine. */
const COMMAND_MS = 300_000;

/** What Docker does not use. */
const OF_KUBERNETES = [
  "io.containerd.cri.v1.images",
  "io.containerd.cri.v1.runtime",
  "io.containerd.grpc.v1.cri",
  "io.containerd.podsandbox.controller.v1.podsandbox",
];

/** A shell and all that busybox has. */
export const IMAGE = "busybox:test";

/** dockerd on a containerd of its own, on the machine that inside.sh prepares. */
export class Engine {
  static readonly socket = `${FOLDER}/docker.sock`;

  // Both look for programs in their working directory first, and must find none there.
  readonly #containerd = new Daemon(["containerd", "--config", join(FOLDER, "containerd.toml")], FOLDER);
  readonly #dockerd = new Daemon(["dockerd", "--config-file", join(FOLDER, "daemon.json")], FOLDER);

  private constructor() {}

  /** Starts a new engine, with one image. */
  static async start(): Promise<Engine> {
    mkdirSync(FOLDER);
    writeFileSync(join(FOLDER, "containerd.toml"), containerdConfiguration());
    configureRuntimes();
    writeFileSync(join(FOLDER, "daemon.json"), JSON.stringify(dockerdConfiguration()));
    const engine = new Engine();
    await engine.startContainerd();
    await engine.startDockerd();
    await engine.#importImage();
    return engine;
  }

  startContainerd(): Promise<void> {
    return this.#containerd.start(async () => {
      const { code, stderr } = await run("ctr", ["--address", CONTAINERD, "version"]);
      return code === 0 ? undefined : stderr;
    });
  }

  startDockerd(): Promise<void> {
    return this.#dockerd.start(async () => {
      const { code, stderr } = await this.docker(["info"]);
      return code === 0 ? undefined : stderr;
    });
  }

  endContainerd(signal: NodeJS.Signals): Promise<void> {
    return this.#containerd.end(signal);
  }

  endDockerd(signal: NodeJS.Signals): Promise<void> {
    return this.#dockerd.end(signal);
  }

  async #importImage(): Promise<void> {
    const folder = busyboxFolder(join(FOLDER, "busybox"));
    const archive = join(FOLDER, "busybox.tar");
    execFileSync("tar", ["--numeric-owner", "--owner=0", "--group=0", "-C", folder, "-cf", archive, "."]);
    const { code, stderr } = await this.docker(["import", "--change", 'CMD ["sh"]', archive, IMAGE]);
    if (code !== 0) throw new Error(`docker import: ${stderr}`);
  }

  /** Runs the command line's `docker` to its end. */
  docker(args: readonly string[], input?: string): Promise<Result> {
    return run("docker", args, { input, env: Engine.env, timeoutMs: COMMAND_MS });
  }

  /** What `docker` needs to find this engine and nothing of the user's. */
  static get env(): NodeJS.ProcessEnv {
    return { ...process.env, DOCKER_HOST: `unix://${Engine.socket}`, DOCKER_CONFIG: join(FOLDER, "cli") };
  }

  async removeContainers(): Promise<void> {
    const { stdout } = await this.docker(["ps", "--all", "--quiet"]);
    const ids = stdout.split("\n").filter(Boolean);
    if (ids.length > 0) await this.docker(["rm", "--force", ...ids]);
  }

  /** Ends all that there is. Fails if anything was left behind once all containers have been removed. */
  async stop(): Promise<void> {
    await this.removeContainers();
    await this.endDockerd("SIGTERM");
    await this.endContainerd("SIGTERM");
    const left = traces();
    await killContainers();
    for (const path of mounts().toReversed()) {
      if (path.startsWith("/run/containerd/") || path.startsWith(`${FOLDER}/`))
        execFileSync("umount", ["-l", path]);
    }
    for (const device of [...vethDevices(), "docker0"]) await run("ip", ["link", "delete", device]);
    for (const folder of [FOLDER, "/run/containerd"]) rmSync(folder, { recursive: true, force: true });
    if (left.length > 0) throw new Error(`left behind:\n${left.join("\n")}\n${this.takeLog()}`);
  }

  /** What both daemons and the shims have logged since this was last called, or the end of it. */
  takeLog(): string {
    return `containerd:\n${this.#containerd.takeLog()}\ndockerd:\n${this.#dockerd.takeLog()}`;
  }
}

/** Processes of shims and containers, their mounts, and devices of the network that are there. */
export function traces(): string[] {
  return tracesWith(OF_CONTAINERS);
}

function containerdConfiguration(): string {
  return [
    "version = 3",
    `root = '${FOLDER}/containerd'`,
    "state = '/run/containerd'",
    // Docker does not use it.
    `disabled_plugins = ${JSON.stringify(OF_KUBERNETES)}`,
    "[grpc]",
    `address = '${CONTAINERD}'`,
    `[plugins.'io.containerd.internal.v1.opt']`,
    `path = '${FOLDER}/opt'`,
    "",
  ].join("\n");
}

function dockerdConfiguration(): object {
  return {
    hosts: [`unix://${Engine.socket}`],
    containerd: CONTAINERD,
    "data-root": join(FOLDER, "data"),
    "exec-root": join(FOLDER, "exec"),
    pidfile: join(FOLDER, "docker.pid"),
    "storage-driver": "overlay2",
    "exec-opts": ["native.cgroupdriver=cgroupfs"],
    "userland-proxy": false,
    // Containers go on while dockerd is away.
    "live-restore": true,
    // Checkpoints.
    experimental: true,
    runtimes: RUNTIMES,
  };
}
