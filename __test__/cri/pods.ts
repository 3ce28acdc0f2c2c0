import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Result } from "./command.js";
import { BUSYBOX_IMAGE } from "./images/images.js";
import { type Handler, Node } from "./node.js";

/** Of what `crictl inspect` says of a container. */
export interface ContainerStatus {
  readonly state: string;
  readonly exitCode: number;
  readonly reason: string;
}

/** A user namespace for a pod: its root is this user of the machine. */
export interface UserNamespace {
  readonly hostId: number;
  readonly length: number;
}

/** Pods of one handler, through crictl. */
export class Pods {
  readonly #node: Node;
  readonly #handler: Handler;
  /** The configuration of each pod, by its id. */
  readonly #files = new Map<string, string>();
  /** The log of each container, by its id. */
  readonly #logs = new Map<string, string>();
  #made = 0;

  constructor(node: Node, handler: Handler) {
    this.#node = node;
    this.#handler = handler;
  }

  /** Runs a pod without containers; resolves to its id. */
  async run(users?: UserNamespace): Promise<string> {
    const name = `p${this.#made++}`;
    const file = this.#file(name, {
      metadata: { name, namespace: "default", uid: `${this.#handler.handler}-${name}`, attempt: 1 },
      log_directory: this.#logFolder,
      linux: { security_context: securityContext(users) },
    });
    const id = await this.#crictl("runp", "--runtime", this.#handler.handler, file);
    this.#files.set(id, file);
    return id;
  }

  /** Makes a container of busybox in a pod and starts it; resolves to its id. */
  async start(pod: string, script: string, users?: UserNamespace): Promise<string> {
    await this.#crictl("pull", BUSYBOX_IMAGE);
    const name = `c${this.#made++}`;
    const file = this.#file(name, {
      metadata: { name },
      image: { image: BUSYBOX_IMAGE },
      command: ["/bin/sh", "-c", script],
      log_path: `${name}.log`,
      linux: { security_context: securityContext(users) },
    });
    const id = await this.#crictl("create", pod, file, this.#files.get(pod) ?? "");
    this.#logs.set(id, join(this.#logFolder, `${name}.log`));
    await this.#crictl("start", id);
    return id;
  }

  /** Runs a command in a container. */
  exec(id: string, ...command: readonly string[]): Promise<Result> {
    return this.#node.crictl(["exec", id, ...command]);
  }

  /** What a container has printed, both streams. */
  async logs(id: string): Promise<string> {
    const { stdout, stderr } = await this.#node.crictl(["logs", id]);
    return stdout + stderr;
  }

  /** The lines of a container's log that are whole, as they are on disk: containerd need not run. */
  printed(id: string): string[] {
    const path = this.#logs.get(id) ?? "";
    // 2026-01-01T00:00:00.000000000Z stdout F text
    const lines = readFileSync(path, "utf8").split("\n").slice(0, -1);
    return lines.map((line) => line.split(" ").slice(3).join(" "));
  }

  async status(id: string): Promise<ContainerStatus> {
    const { status } = JSON.parse(await this.#crictl("inspect", id)) as { status: ContainerStatus };
    return status;
  }

  /** SANDBOX_READY or SANDBOX_NOTREADY. */
  async podState(pod: string): Promise<string> {
    const { status } = JSON.parse(await this.#crictl("inspectp", pod)) as { status: { state: string } };
    return status.state;
  }

  /** The pid of a container's first process. */
  async pid(id: string): Promise<number> {
    const { info } = JSON.parse(await this.#crictl("inspect", id)) as { info: { pid: number } };
    return info.pid;
  }

  async stop(id: string): Promise<void> {
    await this.#crictl("stop", "--timeout", "1", id);
  }

  /** Stops a pod and removes it with all its containers. */
  async remove(pod: string): Promise<void> {
    await this.#crictl("stopp", pod);
    await this.#crictl("rmp", pod);
  }

  get #logFolder(): string {
    return join(Node.root, "logs", this.#handler.handler);
  }

  async #crictl(...args: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await this.#node.crictl(args);
    if (code !== 0) throw new Error(`crictl ${args.join(" ")}: ${stderr}`);
    return stdout.trim();
  }

  #file(name: string, content: object): string {
    const path = join(Node.root, `${this.#handler.handler}-${name}.json`);
    writeFileSync(path, JSON.stringify(content));
    return path;
  }
}

function securityContext(users: UserNamespace | undefined): object {
  if (users === undefined) return {};
  const ids = [{ host_id: users.hostId, container_id: 0, length: users.length }];
  return { namespace_options: { userns_options: { mode: 0, uids: ids, gids: ids } } };
}
