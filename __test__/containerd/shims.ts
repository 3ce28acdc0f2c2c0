import { deepStrictEqual } from "node:assert/strict";
import { type ChildProcess, execFileSync } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { vi } from "vitest";
import type { Containerd } from "./containerd.js";
import type { CtrContainer, CtrResult } from "./ctr.js";
import { namespaceOf } from "./leftovers.js";

const EXAMPLES = fileURLToPath(new URL("../../examples/", import.meta.url));

/** A shim to run containers with: containerd's own, or one of the examples. */
export interface Shim {
  readonly name: string;
  /** The argument for `ctr run --runtime`. */
  readonly runtime: string;
}

export const OWN: Shim = { name: "containerd's own shim", runtime: "io.containerd.runc.v2" };
export const RUNC: Shim = {
  name: "examples/shim-runc",
  runtime: join(EXAMPLES, "shim-runc", "containerd-shim-noderunc-v1"),
};
export const SKELETON: Shim = {
  name: "examples/shim-skeleton",
  runtime: join(EXAMPLES, "shim-skeleton", "containerd-shim-skeleton-v1"),
};

/** The folders to put on PATH so that the examples are found by name. */
export const SHIM_FOLDERS = [RUNC, SKELETON].map(({ runtime }) => dirname(runtime));

/** Uses one containerd with one shim, through ctr. */
export class ShimUser {
  readonly containerd: Containerd;
  readonly #runtime: string;

  constructor(containerd: Containerd, { runtime }: Shim) {
    this.containerd = containerd;
    this.#runtime = runtime;
    mkdirSync(this.#fifos, { recursive: true });
  }

  get #fifos(): string {
    return join(this.containerd.folder, "fifos");
  }

  /** The arguments of `ctr run` that choose the shim and keep its files below the folder of this containerd. */
  runArguments(id: string, args: readonly string[], flags: readonly string[] = []): string[] {
    const { folder } = this.containerd;
    const own = this.#runtime === OWN.runtime ? ["--runc-root", join(folder, "runc")] : [];
    const ours = ["--runtime", this.#runtime, ...own, "--fifo-dir", this.#fifos];
    return ["run", ...ours, ...flags, "--rootfs", join(folder, "rootfs"), id, ...args];
  }

  /** `ctr run --rm` in the foreground. */
  run(id: string, args: readonly string[], flags: readonly string[] = []): Promise<CtrResult> {
    return this.containerd.ctr.command(this.runArguments(id, args, ["--rm", ...flags]));
  }

  /** The same, with input that ends once the process has printed something. Before that, ctr may miss the end. */
  async runWithInput(id: string, args: readonly string[], input: string): Promise<string> {
    const child = this.containerd.ctr.spawn(this.runArguments(id, args, ["--rm"]));
    let output = "";
    child.stdout!.on("data", (chunk: Buffer) => {
      if (output === "") child.stdin!.end(input);
      output += chunk.toString();
    });
    await once(child, "close");
    return output;
  }

  /** `ctr run --rm` with a spec made from that of a running container. */
  async runWithSpec(
    id: string,
    from: string,
    change: (spec: CtrContainer["Spec"]) => void,
  ): Promise<CtrResult> {
    const { Spec } = await this.containerd.ctr.containerInfo(from);
    change(Spec);
    const file = join(this.containerd.folder, `${id}.json`);
    writeFileSync(file, JSON.stringify(Spec));
    const [, ...args] = this.runArguments(id, [], ["--rm", "--config", file]);
    return this.containerd.ctr.command(["run", ...args.slice(0, args.indexOf("--rootfs")), id]);
  }

  /** `ctr run --detach`. The container keeps running, without input and output. */
  async runDetached(id: string, args: readonly string[], flags: readonly string[] = []): Promise<void> {
    const all = this.runArguments(id, args, ["--detach", "--null-io", ...flags]);
    const { code, stderr } = await this.containerd.ctr.command(all);
    if (code !== 0) throw new Error(`ctr run: ${stderr}\n${this.containerd.takeLog()}`);
  }

  /** `ctr task exec`. */
  exec(id: string, execId: string, args: readonly string[], input?: string): Promise<CtrResult> {
    const flags = ["--exec-id", execId, "--fifo-dir", this.#fifos];
    return this.containerd.ctr.command(["task", "exec", ...flags, id, ...args], input);
  }

  /** Any other command of `ctr task`. It must succeed. */
  async task(command: string, ...args: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await this.containerd.ctr.command(["task", command, ...args]);
    if (code !== 0) throw new Error(`ctr task ${command}: ${stderr}`);
    return stdout;
  }

  /** `ctr task delete` and `ctr container delete`. Resolves to the outcome of the former, which ends with the container's status. */
  async delete(id: string): Promise<CtrResult> {
    const result = await this.containerd.ctr.command(["task", "delete", id]);
    await this.containerd.ctr.deleteContainer(id);
    return result;
  }
}

/** The task events of one containerd, from `ctr events`. */
export class EventsSeen implements Disposable {
  readonly #child: ChildProcess;
  readonly #seen: { topic: string; event: Record<string, unknown> }[] = [];

  private constructor(containerd: Containerd) {
    this.#child = containerd.ctr.spawn(["events"]);
    createInterface({ input: this.#child.stdout! }).on("line", (line) => {
      // 2026-11-25 11:00:00.000 +0000 UTC namespace /tasks/start {"container_id":"x","pid":1}
      const [, topic, json] = /\s(\/\S+)\s(\{.*\})$/.exec(line) ?? [];
      if (topic === undefined || json === undefined) return;
      this.#seen.push({ topic, event: JSON.parse(json) as Record<string, unknown> });
    });
  }

  /** Resolves once events are shown. */
  static async of(containerd: Containerd): Promise<EventsSeen> {
    const events = new EventsSeen(containerd);
    // ctr does not say when it has subscribed, but an event of a new container shows it.
    const label = namespaceOf(containerd.folder);
    for (let i = 0; events.#seen.length === 0; i++) {
      const id = `probe-${i}`;
      const rootfs = join(containerd.folder, "rootfs");
      await containerd.ctr.command([
        "container",
        "create",
        "--label",
        `of=${label}`,
        "--rootfs",
        rootfs,
        id,
        "true",
      ]);
      await containerd.ctr.command(["container", "delete", id]);
    }
    return events;
  }

  /** The events of one container's task, in order. */
  of(id: string): { topic: string; event: Record<string, unknown> }[] {
    return this.#seen.filter(
      ({ topic, event }) => topic.startsWith("/tasks/") && event["container_id"] === id,
    );
  }

  topics(id: string): string[] {
    return this.of(id).map(({ topic }) => topic);
  }

  /**
   * Resolves when the topics of a container's task are these. containerd's own shim may send the last two, exit and delete,
   * in either order, or end before they are sent, so for that shim they are not checked.
   */
  async tell(id: string, topics: readonly (string | undefined)[], shim: Shim): Promise<void> {
    const expected = shim === OWN ? topics.slice(0, -2) : topics;
    await vi.waitFor(() => {
      const told = shim === OWN ? this.topics(id).slice(0, expected.length) : this.topics(id);
      // Without expect, which belongs in tests.
      deepStrictEqual(told, expected);
    }, 10_000);
  }

  [Symbol.dispose](): void {
    this.#child.kill("SIGKILL");
    void once(this.#child, "exit");
  }
}

/** The traces of shims and containers, to compare before and after. The daemon's own folders are left out. */
export function traces({ folder }: Containerd): string[] {
  const namespace = namespaceOf(folder);
  const lines = (command: string, ...args: string[]) =>
    execFileSync(command, args, { encoding: "utf8" }).split("\n").filter(Boolean);
  return [
    ...lines("ps", "-eo", "args").filter(
      (line) => /containerd-shim|runc/.test(line) && line.includes(folder),
    ),
    ...lines("cat", "/proc/self/mountinfo").filter((line) => line.includes(folder)),
    ...lines("find", "/run/containerd/s", "-type", "s"),
    ...lines("find", "/sys/fs/cgroup", "-type", "d", "-path", `*/${namespace}/*`),
    ...lines("find", folder, "(", "-type", "p", "-o", "-type", "s", ")").filter(
      (path) => !path.includes("c.sock"),
    ),
    ...lines("find", "/tmp", "-maxdepth", "1", "-name", "pty*", "-type", "d"),
  ];
}
