/**
 * One process of the events soak: `sink ADDRESS`, `forwarder ADDRESS TO` or `publisher ADDRESS NUMBER COUNT IN-FLIGHT`.
 * When asked by a line on stdin, a sink or forwarder prints what it has seen as a line of JSON. It ends when its stdin
 * ends.
 */

import { createInterface } from "node:readline";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import {
  createPublisher,
  type EventSink,
  forwardEvents,
  listenEvents,
  TaskExitSchema,
} from "containerd-shim-protos/events";
import { Check, exitOf } from "./check.js";

setFlagsFromString("--expose-gc");
const collectGarbage = runInNewContext("gc") as () => void;

/** Events that may wait in a queue: few, so that a consumer that pauses holds its publishers back. */
const maxQueuedEvents = 512;

const [role, address = "", ...rest] = process.argv.slice(2);
process.stdin.once("end", () => process.exit());

if (role === "publisher") {
  process.stdin.resume();
  const [number = 0, count = 0, maxInFlight = 1] = rest.map(Number);
  // Nothing is retried while the consumer pauses; tests cover retries.
  const publisher = createPublisher(address, {
    namespace: "soak",
    maxInFlight,
    maxQueuedEvents,
    timeoutMs: 120_000,
  });
  for (let sequence = 0; sequence < count; sequence++) {
    await publisher.ready();
    publisher.publish("/tasks/exit", TaskExitSchema, exitOf(number, sequence)).catch((error: unknown) => {
      console.error(`publisher ${number}, event ${sequence}:`, error);
      process.exit(1);
    });
  }
  await publisher.close({ graceMs: 120_000 });
  process.exit();
}

const sink: EventSink =
  role === "forwarder"
    ? forwardEvents(address, rest[0] ?? "", { maxQueuedEvents })
    : listenEvents(address, { maxQueuedEvents });
const check = new Check();

/** The consumer pauses until this resolves. */
let wait: Promise<void> = Promise.resolve();

createInterface({ input: process.stdin }).on("line", (line) => {
  if (line.startsWith("stop ")) {
    wait = new Promise((resolve) => setTimeout(resolve, Number(line.slice(5))));
    return;
  }
  collectGarbage();
  const { rss, heapUsed, external, arrayBuffers } = process.memoryUsage();
  const { failures, events, sum } = check;
  const held = heapUsed + external + arrayBuffers;
  console.log(JSON.stringify({ failures, events, sum: String(sum), counts: sink.counts, rss, held }));
});
console.log("ready");

for await (const { message } of sink) {
  check.add(message);
  await wait;
}
