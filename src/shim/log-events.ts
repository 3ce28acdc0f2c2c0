import { rmSync } from "node:fs";
import { join } from "node:path";
import { makeSocketFolder } from "../socket-folder.js";
import { listenEvents } from "../events/index.js";
import type { ShimLog } from "./log.js";

/**
 * Takes events in the place of containerd and writes them to the log, for a shim in the foreground. Resolves to the
 * address, which is in a folder of this user's that is removed at the end.
 */
export async function logEvents(log: ShimLog): Promise<string> {
  const folder = makeSocketFolder("shim-events-");
  process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
  const sink = listenEvents(join(folder, "events"), { requireSameUser: true });
  void (async () => {
    for await (const { topic, type, message } of sink) log.info("event", { topic, event: message ?? type });
  })().catch((error: unknown) => log.error("events are no longer logged", { error }));
  return sink.address;
}
