import { type Client, type Connection, createClient } from "containerd-shim-protos";
import { Task as TaskV2 } from "containerd-shim-protos/task/v2";
import { Task } from "containerd-shim-protos/task/v3";
import { beforeEach } from "vitest";
import type { Containerd } from "./containerd.js";
import type { OciProcess } from "./ctr.js";
import { packaged, type Release } from "./releases.js";

/** A client of the service that the shims of a release serve. Both services have the same messages. */
export function taskClient(connection: Connection, release: Release): Client<typeof Task> {
  return createClient(release === packaged ? TaskV2 : Task, connection) as Client<typeof Task>;
}

/** The process of an exec, made from that of a container, as containerd sends it. */
export async function processLike(containerd: Containerd, id: string, change: Partial<OciProcess> = {}) {
  const { Spec } = await containerd.ctr.containerInfo(id);
  const typeUrl = "types.containerd.io/opencontainers/runtime-spec/1/Process";
  return { typeUrl, value: Buffer.from(JSON.stringify({ ...Spec.process, ...change })) };
}

/** The streams of an exec. */
export interface ExecStreams {
  readonly stdin?: string;
  readonly stdout: string;
  readonly stderr?: string;
  readonly terminal?: boolean;
}

/** Creates an exec of `sh -c` in a container, with these streams, and waits for its exit. It is not started yet. */
export async function execScript(
  containerd: Containerd,
  task: Client<typeof Task>,
  name: { readonly id: string; readonly execId: string },
  script: string,
  streams: ExecStreams,
) {
  const { terminal = false } = streams;
  const spec = await processLike(containerd, name.id, { args: ["/bin/sh", "-c", script], terminal });
  await task.exec({ ...name, ...streams, spec });
  const exited = task.wait(name);
  exited.catch(() => undefined);
  return { name, exited, start: () => task.start(name) };
}

/** Shows what containerd has logged during each test that fails. */
export function showLogOfFailures(containerd: () => Containerd): void {
  beforeEach(({ onTestFailed }) => {
    containerd().takeLog();
    onTestFailed(() => console.error(containerd().takeLog()));
  });
}
