/**
 * Asks a shim for its pids and tells it to shut down: the crate's `shim-proto-connect-async`.
 *
 *     npx tsx examples/connect-async.ts unix:///run/containerd/s/… [id]
 */

import { toJsonString } from "@bufbuild/protobuf";
import { EmptySchema } from "@bufbuild/protobuf/wkt";
import { connect, createClient } from "containerd-shim-protos";
import { ConnectResponseSchema, Task } from "containerd-shim-protos/task/v3";

const [socketPath, id = ""] = process.argv.slice(2);
if (socketPath === undefined) {
  console.error("First argument must be shim socket path");
  process.exit(2);
}

console.log(`Connecting to ${socketPath}...`);
const connection = await connect(socketPath);
const task = createClient(Task, connection);

console.log("Sending `Connect` request...");
const connected = await task.connect({ id });
console.log(`Connect response: ${toJsonString(ConnectResponseSchema, connected)}`);

console.log("Sending `Shutdown` request...");
const shutdown = await task.shutdown({ id: "123", now: true });
console.log(`Shutdown response: ${toJsonString(EmptySchema, shutdown)}`);

await connection.close();
