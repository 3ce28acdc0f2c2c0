/**
 * A Task server with a synchronous handler: the counterpart of the crate's `shim-proto-server`.
 *
 *     npx tsx examples/ttrpc-server.ts
 *
 * The crate's server runs handlers on a pool of threads, so one may block while others continue. Node has no such server:
 * every handler runs on the event loop of the thread that listens. This handler returns its reply, not a promise of it,
 * which fits a handler that only computes. A handler that waits for anything must be written as in
 * ttrpc-server-async.ts, because all other requests would wait with it.
 */

import assert from "node:assert/strict";
import { createServer } from "containerd-shim-protos";
import { Task } from "containerd-shim-protos/task/v3";

const server = createServer();
server.add(Task, {
  create(request, context) {
    const { "key-1": v1 = [], "key-2": v2 = [] } = context.metadata;

    assert.equal(v1[0], "value-1-1");
    assert.equal(v1[1], "value-1-2");
    assert.equal(v2[0], "value-2");
    assert.equal(request.id, "id1");

    return { pid: 0x10c0 };
  },
});

await server.listen("unix:///tmp/shim-proto-ttrpc-001", { mode: 0o600, reclaimStale: true });

// A second signal has no handler left, so it ends the process at once.
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => void server.close());
console.log("Server is running, press Ctrl + C to exit");
