/** The demo's Task server, which server-process.ts starts. Its containers are only entries of a Map. */

import { EventEmitter, once } from "node:events";
import { timestampNow, type Timestamp } from "@bufbuild/protobuf/wkt";
import { Code, createServer, packAny, TtrpcError } from "containerd-shim-protos";
import { TaskExitSchema } from "containerd-shim-protos/events";
import { Status, Task } from "containerd-shim-protos/task/v3";

class Container extends EventEmitter<{ exit: [] }> {
  status = Status.CREATED;
  exitStatus = 0;
  exitedAt: Timestamp | undefined;

  constructor(
    readonly id: string,
    readonly pid: number,
  ) {
    super();
  }

  exit(status: number): void {
    this.status = Status.STOPPED;
    this.exitStatus = status;
    this.exitedAt = timestampNow();
    this.emit("exit");
  }
}

const containers = new Map<string, Container>();
let lastPid = 1000;

function find(id: string): Container {
  const container = containers.get(id);
  if (container === undefined) throw new TtrpcError(`no container ${id}`, Code.NotFound);
  return container;
}

const server = createServer();
server.add(Task, {
  connect({ id }) {
    return { shimPid: process.pid, taskPid: containers.get(id)?.pid ?? 0, version: "3" };
  },

  create({ id }) {
    if (containers.has(id)) throw new TtrpcError(`container ${id} exists`, Code.AlreadyExists);
    const container = new Container(id, ++lastPid);
    containers.set(id, container);
    return { pid: container.pid };
  },

  start({ id }) {
    const container = find(id);
    container.status = Status.RUNNING;
    return { pid: container.pid };
  },

  state({ id }, { metadata }) {
    const { pid, status, exitStatus, exitedAt } = find(id);
    // containerd names the namespace of a request in its metadata.
    const [namespace = "default"] = metadata["containerd-namespace-ttrpc"] ?? [];
    return { id, pid, status, exitStatus, exitedAt, bundle: `/run/demo/${namespace}/${id}` };
  },

  async wait({ id }, { signal }) {
    const container = find(id);
    // The signal aborts at the caller's deadline. Without it, this would keep waiting though nobody wants the reply.
    if (container.exitedAt === undefined) await once(container, "exit", { signal });
    return { exitStatus: container.exitStatus, exitedAt: container.exitedAt };
  },

  kill({ id, signal }) {
    const container = find(id);
    const { pid, exitStatus, exitedAt } = container;
    if (exitedAt !== undefined) {
      const exit = packAny(TaskExitSchema, { containerId: id, id, pid, exitStatus, exitedAt });
      throw new TtrpcError("process already finished", Code.NotFound, { details: [exit] });
    }
    container.exit(128 + signal);
    return {};
  },
});

const [address = ""] = process.argv.slice(2);
await server.listen(address, { mode: 0o600 });

// Ctrl-C reaches this process too, but the demo decides when the server ends: it closes the channel between the two
// processes, which also closes if the demo is killed.
process.on("SIGINT", () => undefined);
process.once("disconnect", () => void server.close({ graceMs: 0 }));
process.send?.("listening");
