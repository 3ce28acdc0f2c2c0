/**
 * Asks a shim for its pids and tells it to shut down, with blocking calls: the crate's `shim-proto-connect`.
 *
 *     npx tsx examples/connect.ts unix:///run/containerd/s/… [id]
 *
 * A blocking call holds the whole thread. It is for scripts and start-up code; a program that does more than one thing at
 * a time is written as in connect-async.ts.
 */

import { toJsonString } from "@bufbuild/protobuf";
import { EmptySchema } from "@bufbuild/protobuf/wkt";
import { connectSync, createSyncClient } from "containerd-shim-protos";
import { ConnectResponseSchema, Task } from "containerd-shim-protos/task/v3";

const [socketPath, id = ""] = process.argv.slice(2);
if (socketPath === undefined) {
  console.error("First argument must be shim socket path");
  process.exit(2);
}

console.log(`Connecting to ${socketPath}...`);
const connection = connectSync(socketPath);
const task = createSyncClient(Task, connection);

console.log("Sending `Connect` request...");
const connected = task.connect({ id });
console.log(`Connect response: ${toJsonString(ConnectResponseSchema, connected)}`);

console.log("Sending `Shutdown` request...");
const shutdown = task.shutdown({ id: "123", now: true });
console.log(`Shutdown response: ${toJsonString(EmptySchema, shutdown)}`);

connection.close();
