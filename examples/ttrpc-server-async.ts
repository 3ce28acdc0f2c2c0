/**
 * A Task server whose handler returns a promise: the crate's `shim-proto-server-async`.
 *
 *     npx tsx examples/ttrpc-server-async.ts
 */

import assert from "node:assert/strict";
import { createServer, type HandlerContext } from "containerd-shim-protos";
import { type CreateTaskRequest, Task } from "containerd-shim-protos/task/v3";

/** A service may be a class; its methods are called on the object that was added. */
class FakeServer {
  readonly magic = 0xadcbdacf;

  async create(request: CreateTaskRequest, context: HandlerContext) {
    const { "key-1": v1 = [], "key-2": v2 = [] } = context.metadata;

    assert.equal(v1[0], "value-1-1");
    assert.equal(v1[1], "value-1-2");
    assert.equal(v2[0], "value-2");
    assert.equal(request.id, "id1");

    return { pid: 0x10c0 };
  }
}

const server = createServer();
server.add(Task, new FakeServer());

await server.listen("unix:///tmp/shim-proto-ttrpc-001", { mode: 0o600, reclaimStale: true });

// A second signal has no handler left, so it ends the process at once.
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => void server.close());
console.log("Server is running, press Ctrl + C to exit");
