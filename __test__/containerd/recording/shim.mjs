/**
 * Stands in for a shim whose conversation is recorded: runs the real one and, once it has started, lets the recorder put
 * itself between its socket and containerd.
 *
 *     node shim.mjs REAL-SHIM RECORDER-SOCKET ARGUMENTS-OF-CONTAINERD…
 */

import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { createConnection } from "node:net";

const [shim = "", recorder = "", ...args] = process.argv.slice(2);

if (args.at(-1) === "start") {
  const { status, stdout } = spawnSync(shim, args, {
    env: { ...process.env, TTRPC_ADDRESS: `${recorder}.events` },
    input: readFileSync(0),
    stdio: ["pipe", "pipe", "inherit"],
  });
  const [address] = /unix:\/\/[\w/.-]+/.exec(stdout.toString()) ?? [];
  if (status !== 0 || address === undefined) process.exit(status ?? 1);
  const socket = createConnection(recorder, () => socket.end(address.slice("unix://".length)));
  // The recorder closes this once it listens.
  socket.resume().once("close", () => process.stdout.write(stdout));
} else {
  process.exitCode = spawnSync(shim, args, { stdio: "inherit" }).status ?? 1;
}
