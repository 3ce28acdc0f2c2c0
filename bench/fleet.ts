/**
 * What an event costs a collector of examples/fleet, step by step: `npx tsx bench/fleet.ts [--events N]`. Each step does
 * what the one before does, and more. It needs nats-server.
 */

import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { create } from "@bufbuild/protobuf";
import { timestampNow } from "@bufbuild/protobuf/wkt";
import { packAny } from "containerd-shim-protos";
import { type ContainerdEvent, TaskExitSchema } from "containerd-shim-protos/events";
import { Bridge } from "../examples/fleet/bridge.js";
import { type Record, recordOf } from "../examples/fleet/record.js";
import { Spool } from "../examples/fleet/spool.js";
import { Nats } from "../__test__/containerd/nats.js";

const { values } = parseArgs({ options: { events: { type: "string", default: "100000" } } });
const EVENTS = Number(values.events);

function event(pid: number): ContainerdEvent {
  const message = create(TaskExitSchema, { containerId: `container-${pid % 100}`, id: "x".repeat(64), pid });
  const any = packAny(TaskExitSchema, message);
  return {
    namespace: "k8s.io",
    topic: "/tasks/exit",
    timestamp: timestampNow(),
    type: any.typeUrl,
    message,
    any,
  };
}

/** Runs a step, and prints its rate and CPU time. */
async function step(name: string, count: number, action: () => unknown): Promise<void> {
  const [cpu, start] = [process.cpuUsage(), performance.now()];
  await action();
  const [{ user, system }, elapsed] = [process.cpuUsage(cpu), performance.now() - start];
  const rate = Math.round((count / elapsed) * 1000);
  console.log(
    `${name.padEnd(44)} ${String(rate).padStart(8)} events/s  ${((user + system) / count).toFixed(1)} µs of CPU each`,
  );
}

const folder = mkdtempSync("/tmp/bench-fleet-");
const events = Array.from({ length: EVENTS }, (_, pid) => event(pid));
let records: Record[] = [];
await step("records: encode and hash", EVENTS, () => {
  records = events.map((one) => recordOf("node-1", one));
});
for (const size of [10, 100, 1000]) {
  const spool = await Spool.open(join(folder, `${size}.db`), 1 << 30);
  const count = Math.min(EVENTS, size * 500);
  await step(`SQLite: transactions of ${size}, on the disk`, count, () => {
    for (let at = 0; at < count; at += size) spool.append(records.slice(at, at + size));
  });
  spool.close();
}
const nats = await Nats.start(join(folder, "nats"));
const spool = await Spool.open(join(folder, "bridge.db"), 1 << 30);
for (let at = 0; at < EVENTS; at += 1000) spool.append(records.slice(at, at + 1000));
await step("bridge: read the spool, publish, acknowledged", EVENTS, async () => {
  const bridge = new Bridge(spool, "node-1", { nats: nats.url, stream: "CONTAINERD" });
  const running = bridge.run();
  while (spool.published < EVENTS) await new Promise((resolve) => setTimeout(resolve, 5));
  bridge.stop();
  await running;
});
console.log(`nats-server took ${(nats.cpu / EVENTS).toFixed(1)} µs of CPU for each`);
console.log(`the spool holds ${(spool.bytes / EVENTS).toFixed(0)} bytes an event`);
console.log(`JetStream holds ${((await nats.bytes("CONTAINERD")) / EVENTS).toFixed(0)} bytes an event`);
spool.close();
await nats.kill();
rmSync(folder, { recursive: true, force: true });
