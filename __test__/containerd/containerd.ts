import { spawn, type ChildProcess } from "node:child_process";
import { mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Ctr, type RunOptions } from "./ctr.js";
import {
  FOLDER_TEMPLATE,
  leftovers,
  namespaceOf,
  rememberSharedFolders,
  removeAbandoned,
  removeLeftovers,
  shimAddress,
  taskFolder,
} from "./leftovers.js";
import { packaged, type Release, toolOf } from "./release.js";
import { makeRootfs } from "./rootfs.js";

const START_DEADLINE_MS = 20_000;
const STOP_DEADLINE_MS = 10_000;
const LOG_LIMIT = 64 * 1024;
const WRAPPERS = "wrappers";
const SIGNALS = ["SIGHUP", "SIGINT", "SIGTERM"] as const;

/**
 * Plugins of 1.x and 2.x that containers on a plain folder do not need. `cri` needs CNI, the snapshotters need a kernel or
 * a filesystem that a sandbox may lack, and `opt` would make folders in /var/lib/containerd. (The obsolete
 * `runtime.v1.linux` has to stay: the tasks service of 1.6 does not load without it.)
 */
const DISABLED_PLUGINS = [
  "io.containerd.cri.v1.images",
  "io.containerd.cri.v1.runtime",
  "io.containerd.grpc.v1.cri",
  "io.containerd.internal.v1.opt",
  "io.containerd.internal.v1.restart",
  "io.containerd.internal.v1.tracing",
  "io.containerd.monitor.container.v1.restart",
  "io.containerd.monitor.task.v1.cgroups",
  "io.containerd.monitor.v1.cgroups",
  "io.containerd.nri.v1.nri",
  "io.containerd.podsandbox.controller.v1.podsandbox",
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.blockfile",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.erofs",
  "io.containerd.snapshotter.v1.overlayfs",
  "io.containerd.snapshotter.v1.zfs",
  "io.containerd.tracing.processor.v1.otlp",
];

export interface ContainerdOptions {
  /** The containerd to start; that of the machine's packages if left out. */
  readonly release?: Release;
  /** The TTRPC_ADDRESS of the shims, to which they publish their events, instead of containerd's own. */
  readonly shimsPublishTo?: string;
  /** Whether images are layered by overlayfs. */
  readonly overlay?: boolean;
  /** What the daemon and its shims log. Default: debug. */
  readonly logLevel?: "debug" | "warn";
}

/** A containerd of our own: its root, state, sockets and everything it makes are in one temporary folder. */
export class Containerd {
  readonly folder: string;
  readonly ctr: Ctr;
  #daemon: ChildProcess;
  readonly #log: TailLog;
  readonly #forgetFolder: () => void;

  private constructor(
    folder: string,
    ctr: Ctr,
    daemon: ChildProcess,
    log: TailLog,
    forgetFolder: () => void,
  ) {
    this.folder = folder;
    this.ctr = ctr;
    this.#daemon = daemon;
    this.#log = log;
    this.#forgetFolder = forgetFolder;
  }

  /** Resolves when the daemon answers; leaves nothing behind when it does not. */
  static async start({
    release = packaged,
    shimsPublishTo,
    overlay = false,
    logLevel = "debug",
  }: ContainerdOptions = {}): Promise<Containerd> {
    removeAbandoned();
    const folder = mkdtempSync(FOLDER_TEMPLATE);
    const forgetFolder = clearUpAtExit(folder);
    const log = new TailLog();
    try {
      rememberSharedFolders(folder);
      makeRootfs(join(folder, "rootfs"));
      writeFileSync(join(folder, "config.toml"), configFor(folder, overlay, logLevel));
      if (shimsPublishTo !== undefined) wrapShim(folder, release, shimsPublishTo);
      const ctr = new Ctr(join(folder, "c.sock"), namespaceOf(folder), release);
      const daemon = spawnDaemon(folder, release, log);
      await answers(ctr, daemon);
      return new Containerd(folder, ctr, daemon, log, forgetFolder);
    } catch (error) {
      removeLeftovers(folder);
      forgetFolder();
      throw new Error(`containerd did not start:\n${log.take()}`, { cause: error });
    }
  }

  /** Starts a container on the busybox root filesystem; it keeps running after this has resolved. */
  async runContainer(id: string, options: Pick<RunOptions, "args" | "memoryLimit" | "group">): Promise<void> {
    const rootfs = join(this.folder, "rootfs");
    try {
      await this.ctr.runDetached({ id, rootfs, runcRoot: join(this.folder, "runc"), ...options });
    } catch (error) {
      throw new Error(`the container ${id} did not start:\n${this.takeLog()}`, { cause: error });
    }
  }

  /** The address at which containerd receives its shims' events. */
  get eventsAddress(): string {
    return join(this.folder, "c.sock.ttrpc");
  }

  /** Ends the daemon with a signal. Containers and shims keep running. */
  async kill(signal: "SIGKILL" | "SIGTERM" = "SIGKILL"): Promise<void> {
    this.#daemon.kill(signal);
    while (!hasEnded(this.#daemon)) await sleep(5);
  }

  /**
   * Starts the daemon again after {@link kill}, or that of another release, on the same folder; resolves when it answers. ctr
   * stays that of the first.
   */
  async restart(release = this.ctr.release): Promise<void> {
    this.#daemon = spawnDaemon(this.folder, release, this.#log);
    await answers(this.ctr, this.#daemon);
  }

  bundle(id: string): string {
    return join(taskFolder(this.folder), id);
  }

  shimAddress(id: string): string {
    return shimAddress(this.folder, id);
  }

  /** What the daemon and its shims have logged since the last call, or the end of it. */
  takeLog(): string {
    return this.#log.take();
  }

  /** Ends containers, shims and daemon, and removes everything they made, by force if necessary. */
  async stop(): Promise<void> {
    const failures: unknown[] = [];
    for (const step of [
      () => this.deleteContainers(),
      () => this.#endDaemon(),
      () => removeLeftovers(this.folder),
      () => this.#forgetFolder(),
    ]) {
      try {
        await step();
      } catch (error) {
        failures.push(error);
      }
    }
    // Checked even if every step succeeded: a test that leaves something behind must fail.
    failures.push(...leftovers(this.folder).map((what) => new Error(`left behind: ${what}`)));
    if (failures.length > 0) {
      throw new AggregateError(failures, `${failures.map(String).join("\n")}\n${this.takeLog()}`);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  /** Ends and deletes every container. */
  async deleteContainers(): Promise<void> {
    if (hasEnded(this.#daemon)) return;
    for (const { id } of await this.ctr.tasks()) await this.ctr.deleteTask(id, { force: true });
    for (const id of await this.ctr.containers()) await this.ctr.deleteContainer(id);
  }

  async #endDaemon(): Promise<void> {
    this.#daemon.kill("SIGTERM");
    const deadline = Date.now() + STOP_DEADLINE_MS;
    while (!hasEnded(this.#daemon)) {
      if (Date.now() > deadline) {
        this.#daemon.kill("SIGKILL");
        throw new Error(`containerd did not end within ${STOP_DEADLINE_MS} ms of SIGTERM`);
      }
      await sleep(20);
    }
  }
}

/**
 * Ensures that nothing outlives this process, whether it ends by itself or by a signal that can be caught: vitest runs no
 * afterAll when it is interrupted. After any other end, the next run cleans up. Returns a function that undoes this.
 */
function clearUpAtExit(folder: string): () => void {
  const clearUp = () => removeLeftovers(folder);
  const clearUpAndDie = (signal: NodeJS.Signals) => {
    clearUp();
    // The listener has been removed, so the signal has its usual effect. vitest lets no test call process.exit.
    process.kill(process.pid, signal);
  };
  process.once("exit", clearUp);
  for (const signal of SIGNALS) process.once(signal, clearUpAndDie);
  return () => {
    process.off("exit", clearUp);
    for (const signal of SIGNALS) process.off(signal, clearUpAndDie);
  };
}

function configFor(folder: string, overlay: boolean, logLevel: string): string {
  const disabled = DISABLED_PLUGINS.filter((name) => !(overlay && name.endsWith(".overlayfs")));
  // A JSON string of printable characters is also a TOML string.
  const at = (name: string) => JSON.stringify(join(folder, name));
  return [
    "version = 2",
    `root = ${at("root")}`,
    `state = ${at("state")}`,
    `disabled_plugins = ${JSON.stringify(disabled)}`,
    "[grpc]",
    `address = ${at("c.sock")}`,
    "[ttrpc]",
    `address = ${at("c.sock.ttrpc")}`,
    "[debug]",
    `level = "${logLevel}"`,
    "",
  ].join("\n");
}

/** Wraps the shim in a program of its name, because containerd sets TTRPC_ADDRESS itself. */
function wrapShim(folder: string, release: Release, address: string): void {
  const name = "containerd-shim-runc-v2";
  mkdirSync(join(folder, WRAPPERS));
  const script = `#!/bin/sh\nTTRPC_ADDRESS='${address}' exec '${toolOf(release, name)}' "$@"\n`;
  writeFileSync(join(folder, WRAPPERS, name), script, { mode: 0o755 });
}

function spawnDaemon(folder: string, release: Release, log: TailLog): ChildProcess {
  const command = [toolOf(release, "containerd"), "--config", join(folder, "config.toml")];
  // As systemd starts it: with a soft limit of open files that is below the hard one, and a socket to report to.
  const daemon = spawn("prlimit", ["--nofile=1024:", ...command], {
    // containerd looks for shims in its working directory first, and must not find any there.
    cwd: folder,
    env: {
      ...process.env,
      PATH: `${join(folder, WRAPPERS)}${delimiter}${release.path}`,
      TMPDIR: folder,
      NOTIFY_SOCKET: join(folder, "notify.sock"),
    },
    stdio: ["ignore", "pipe", "pipe"],
  });
  for (const stream of [daemon.stdout, daemon.stderr]) {
    stream.setEncoding("utf8");
    stream.on("data", (text: string) => log.append(text));
  }
  daemon.on("error", (error) => log.append(`${String(error)}\n`));
  return daemon;
}

async function answers(ctr: Ctr, daemon: ChildProcess): Promise<void> {
  const deadline = Date.now() + START_DEADLINE_MS;
  for (;;) {
    if (hasEnded(daemon)) throw new Error(`it ended with ${daemon.exitCode ?? daemon.signalCode}`);
    try {
      await ctr.version();
      return;
    } catch (error) {
      if (Date.now() > deadline) throw error;
    }
    await sleep(50);
  }
}

/** Also true for a process that could not be started. */
function hasEnded(child: ChildProcess): boolean {
  return child.pid === undefined || child.exitCode !== null || child.signalCode !== null;
}

/** Keeps the last LOG_LIMIT characters: a daemon at debug level writes without end. */
class TailLog {
  #text = "";

  append(text: string): void {
    this.#text = (this.#text + text).slice(-LOG_LIMIT);
  }

  take(): string {
    const text = this.#text;
    this.#text = "";
    return text;
  }
}
