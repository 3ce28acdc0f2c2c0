import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeAll } from "vitest";
import { BUSYBOX_IMAGE } from "./images/images.js";
import { Node } from "./node.js";

type Texts = Readonly<Record<string, string>>;

/** The host's network, which needs no plugins of CNI, and processes of the container's own. */
const NAMESPACES = { network: 2, pid: 1 };

/** Pods with names and annotations of a test's choice, through crictl. */
export class NamedPods {
  readonly #node: () => Node;
  readonly #folder = join(Node.root, "nri");
  readonly #files = new Map<string, string>();
  #made = 0;

  constructor(node: () => Node) {
    this.#node = node;
  }

  /** Pulls the image of the containers. */
  async prepare(): Promise<void> {
    mkdirSync(this.#folder, { recursive: true });
    await this.crictl("pull", BUSYBOX_IMAGE);
  }

  /** Runs a pod; resolves to its id. */
  async run(name: string, annotations: Texts = {}): Promise<string> {
    const metadata = { name, namespace: "default", uid: `${name}-${this.#made++}`, attempt: 1 };
    const linux = { security_context: { namespace_options: NAMESPACES } };
    const file = this.#file({ metadata, annotations, linux, log_directory: this.#folder });
    const id = await this.crictl("runp", file);
    this.#files.set(id, file);
    return id;
  }

  /** Creates a container that sleeps; resolves to its id. */
  create(pod: string, name: string, more: object = {}): Promise<string> {
    const container = {
      metadata: { name },
      image: { image: BUSYBOX_IMAGE },
      command: ["/bin/sleep", "1000"],
      envs: [
        { key: "KEPT", value: "1" },
        { key: "OLD", value: "1" },
      ],
      log_path: `${name}.log`,
      linux: { security_context: { namespace_options: NAMESPACES } },
      ...more,
    };
    return this.crictl("create", pod, this.#file(container), this.#files.get(pod) ?? "");
  }

  /** Creates and starts a container that sleeps; resolves to its id. */
  async start(pod: string, name: string, more: object = {}): Promise<string> {
    const id = await this.create(pod, name, more);
    await this.crictl("start", id);
    return id;
  }

  /** What a command prints in a container. */
  exec(id: string, script: string): Promise<string> {
    return this.crictl("exec", id, "sh", "-c", script);
  }

  /** Stops and removes a pod with all its containers. */
  async remove(pod: string): Promise<void> {
    await this.crictl("stopp", pod);
    await this.crictl("rmp", pod);
  }

  /** Runs crictl, which must succeed. */
  async crictl(...args: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await this.#node().crictl(args);
    if (code !== 0) throw new Error(`crictl ${args.join(" ").slice(0, 200)}: ${stderr}`);
    return stdout.trim();
  }

  #file(content: object): string {
    const path = join(this.#folder, `${this.#made++}.json`);
    writeFileSync(path, JSON.stringify(content));
    return path;
  }
}

/** Pods of a node for the tests of a file. After each test, all that are left are removed. */
export function useNamedPods(node: () => Node): NamedPods {
  const pods = new NamedPods(node);
  beforeAll(() => pods.prepare());
  afterEach(async () => {
    await node().crictl(["rmp", "--all", "--force"]);
  });
  return pods;
}
