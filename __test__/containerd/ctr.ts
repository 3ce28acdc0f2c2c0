import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { text } from "node:stream/consumers";
import { promisify } from "node:util";
import { type Release, toolOf } from "./release.js";

const run = promisify(execFile);

export interface CtrTask {
  id: string;
  pid: number;
  status: string;
}

export interface CtrProcess {
  pid: number;
  /** Undefined for the container's first process. */
  execId: string | undefined;
}

/** The parts of an OCI process that the tests use. The rest is kept as it is. */
export interface OciProcess {
  args: string[];
  cwd: string;
  terminal?: boolean;
  [field: string]: unknown;
}

export interface CtrContainer {
  ID: string;
  Runtime: { Name: string };
  Spec: { process: OciProcess; linux: { cgroupsPath: string; namespaces: { type: string }[] } };
}

/** `ctr task metrics`, as JSON: numbers above 2^53 have lost their last digits. Absent fields are zero. */
export interface CtrMetrics {
  pids?: { current?: number };
  /** cgroup v1 has nanoseconds in `usage.total`, v2 microseconds in `usage_usec`. */
  cpu?: { usage?: { total?: number }; usage_usec?: number };
  /** cgroup v1 has both numbers in `usage`, v2 beside each other. */
  memory?: { usage?: number | { usage?: number; limit?: number }; usage_limit?: number };
}

/** What `ctr events` prints. */
export interface CtrEvents {
  readonly seen: { namespace: string; topic: string; message: Record<string, unknown> }[];
  stop(): void;
}

/** How a ctr command ended, and what it printed. */
export interface CtrResult {
  readonly code: number | string | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  id: string;
  rootfs: string;
  /** The folder where runc keeps its state. The default, /run/containerd/runc, belongs to the machine. */
  runcRoot: string;
  args: string[];
  memoryLimit?: number;
  /** Containers of a group share a shim, which ends with the last. Otherwise it may end before its last events are sent. */
  group?: string;
}

/** The `ctr` command of one containerd, in one namespace. */
export class Ctr {
  readonly address: string;
  readonly namespace: string;
  readonly release: Release;

  constructor(address: string, namespace: string, release: Release) {
    this.address = address;
    this.namespace = namespace;
    this.release = release;
  }

  /** The server's version; fails while the daemon does not answer. */
  async version(): Promise<string> {
    const output = await this.#ctr(["version"], 5_000);
    const version = /Server:\s+Version:\s+(\S+)/.exec(output)?.[1];
    if (version === undefined) throw new Error(`ctr version names no server:\n${output}`);
    return version;
  }

  /** Starts a container whose process keeps running after the command has ended, without input or output. */
  async runDetached({ id, rootfs, runcRoot, args, memoryLimit, group }: RunOptions): Promise<void> {
    // Without --null-io, ctr would make pipes in /run/containerd/fifo.
    const flags = ["--detach", "--null-io", "--runc-root", runcRoot];
    if (memoryLimit !== undefined) flags.push("--memory-limit", String(memoryLimit));
    if (group !== undefined) flags.push("--annotation", `io.containerd.runc.v2.group=${group}`);
    await this.#ctr(["run", ...flags, "--rootfs", rootfs, id, ...args]);
  }

  /** `ctr events` from now on: the topic and message of each event of all namespaces. */
  async events(): Promise<CtrEvents> {
    const args = ["--address", this.address, "events"];
    const env = { ...process.env, PATH: this.release.path };
    const child = spawn(toolOf(this.release, "ctr"), args, { env, stdio: ["ignore", "pipe", "inherit"] });
    const events: CtrEvents = { seen: [], stop: () => child.kill("SIGKILL") };
    createInterface({ input: child.stdout }).on("line", (line) => {
      // 2023-01-01 00:00:00.000000000 +0000 UTC namespace /topic {"json":…}
      const [, namespace, topic, json] = /UTC (\S+) (\/\S+) (\{.*\})$/.exec(line) ?? [];
      if (namespace === undefined || topic === undefined || json === undefined) return;
      events.seen.push({ namespace, topic, message: JSON.parse(json) as Record<string, unknown> });
    });
    return events;
  }

  async tasks(): Promise<CtrTask[]> {
    return rows(await this.#ctr(["task", "ls"])).map((row) => {
      const [id = "", pid = "", status = ""] = row.split(/\s+/);
      return { id, pid: Number(pid), status };
    });
  }

  async task(id: string): Promise<CtrTask> {
    const task = (await this.tasks()).find((candidate) => candidate.id === id);
    if (task === undefined) throw new Error(`ctr task ls knows no ${id}`);
    return task;
  }

  async processes(id: string): Promise<CtrProcess[]> {
    return rows(await this.#ctr(["task", "ps", id])).map((row) => {
      // containerd 1.6 prints `&ProcessDetails{ExecID:e1,…}`, 1.7 `exec_id:"e1"`.
      const details = /ExecID:([^,}]+)|exec_id:"([^"]+)"/.exec(row);
      return { pid: Number.parseInt(row, 10), execId: details?.[1] ?? details?.[2] };
    });
  }

  async metrics(id: string): Promise<CtrMetrics> {
    return JSON.parse(await this.#ctr(["task", "metrics", "--format", "json", id])) as CtrMetrics;
  }

  async containers(): Promise<string[]> {
    return (await this.#ctr(["container", "ls", "--quiet"])).split("\n").filter((id) => id !== "");
  }

  async containerInfo(id: string): Promise<CtrContainer> {
    return JSON.parse(await this.#ctr(["container", "info", id])) as CtrContainer;
  }

  /** Deletes the container's task, which ends its shim. `force` kills what still runs. */
  async deleteTask(id: string, { force = false } = {}): Promise<void> {
    try {
      await this.#ctr(["task", "delete", ...(force ? ["--force"] : []), id]);
    } catch (error) {
      // Once ctr has deleted the task, it ends with the task's exit status, so only what is left shows the outcome.
      if ((await this.tasks()).some((task) => task.id === id)) throw error;
    }
  }

  async deleteContainer(id: string): Promise<void> {
    await this.#ctr(["container", "delete", id]);
  }

  /** Starts a ctr command. The caller handles its output and end. */
  spawn(args: readonly string[]): ChildProcess {
    const env = { ...process.env, PATH: this.release.path };
    return spawn(toolOf(this.release, "ctr"), [...this.#global, ...args], { env, stdio: "pipe" });
  }

  /** Runs a ctr command to its end, even if it fails. */
  async command(args: readonly string[], input = ""): Promise<CtrResult> {
    const child = this.spawn(args);
    const timer = setTimeout(() => child.kill("SIGKILL"), 60_000);
    child.stdin?.on("error", () => undefined).end(input);
    const [stdout, stderr, [code, signal]] = await Promise.all([
      text(child.stdout!),
      text(child.stderr!),
      once(child, "close") as Promise<[number | null, NodeJS.Signals | null]>,
    ]);
    clearTimeout(timer);
    return { code: code ?? signal, stdout, stderr };
  }

  get #global(): string[] {
    return ["--address", this.address, "--namespace", this.namespace];
  }

  async #ctr(args: string[], timeout = 20_000): Promise<string> {
    const global = this.#global;
    const env = { ...process.env, PATH: this.release.path };
    try {
      return (
        await run(toolOf(this.release, "ctr"), [...global, ...args], { env, timeout, killSignal: "SIGKILL" })
      ).stdout;
    } catch (error) {
      const { stderr = "", killed } = error as { stderr?: string; killed?: boolean };
      const why = killed ? `no answer within ${timeout} ms` : stderr.trim();
      throw new Error(`ctr ${args.join(" ")}: ${why || String(error)}`, { cause: error });
    }
  }
}

/** The lines of a table without its heading. */
function rows(table: string): string[] {
  return table
    .split("\n")
    .slice(1)
    .map((row) => row.trim())
    .filter((row) => row !== "");
}
