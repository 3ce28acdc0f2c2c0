/**
 * Creates a task with a call that carries metadata: the crate's `shim-proto-client-async`. It talks to
 * ttrpc-server-async.ts, to ttrpc-server.ts, and to the crate's two servers.
 *
 *     npx tsx examples/ttrpc-client-async.ts
 */

import assert from "node:assert/strict";
import { threadId } from "node:worker_threads";
import { toJsonString } from "@bufbuild/protobuf";
import { connect, createClient } from "containerd-shim-protos";
import { CreateTaskResponseSchema, Task } from "containerd-shim-protos/task/v3";

const metadata = { "key-1": ["value-1-1", "value-1-2"], "key-2": ["value-2"] };

const connection = await connect("unix:///tmp/shim-proto-ttrpc-001");
const task = createClient(Task, connection);
const start = performance.now();
const elapsed = () => `${(performance.now() - start).toFixed(3)}ms`;

console.log(`OS Thread ${threadId} - task.create() started: ${elapsed()}`);
const response = await task.create({ id: "id1" }, { timeoutMs: 0, metadata });
assert.equal(response.pid, 0x10c0);
const shown = toJsonString(CreateTaskResponseSchema, response);
console.log(`OS Thread ${threadId} - task.create() -> ${shown} ended: ${elapsed()}`);

await connection.close();
