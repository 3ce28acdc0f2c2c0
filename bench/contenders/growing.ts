/**
 * A server whose costs are measured while things pile up: `growing.ts DRIVER PATH`. For each line on its standard input it
 * prints its CPU time and memory; for `collect` it first collects garbage; for `serve N` it first serves N Duplexes to
 * their ends.
 */

import { Duplex } from "node:stream";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { createServer } from "containerd-shim-protos";
import { listenEvents } from "containerd-shim-protos/events";
import { SERVICE } from "../job.js";

const [driver, path] = process.argv.slice(2);
let blocked = 0;
const server = createServer({
  driver: driver as "loop",
  maxConcurrentCalls: 400_000,
  maxConnections: 100_000,
});
server.addRaw(SERVICE, {
  Echo: { kind: "unary", handle: (payload) => payload },
  Block: {
    kind: "unary",
    async handle(payload, { signal }) {
      blocked++;
      await new Promise((resolve) => signal.addEventListener("abort", resolve));
      blocked--;
      return payload;
    },
  },
  Chat: {
    kind: "bidi_streaming",
    async *handle(messages) {
      yield* messages;
    },
  },
  Source: {
    kind: "server_streaming",
    async *handle(wish) {
      const message = new Uint8Array(64 * 1024);
      for (let left = Number(Buffer.from(wish).toString()); left > 0; left--) yield message;
    },
  },
});
await server.listen(`unix://${path}`);
let taken = 0;
const sink = listenEvents(`unix://${path}.events`, { driver: driver as "loop", maxQueuedEvents: 10 });
void (async () => {
  for await (const _ of sink) taken++;
})();
console.log("ready");

for await (const line of createInterface({ input: process.stdin })) {
  const [what, count] = line.split(" ");
  for (let left = what === "serve" ? Number(count) : 0; left > 0; left--) {
    const duplex = new Duplex({ read() {}, write: (_chunk, _encoding, done) => done() });
    duplex.on("error", () => undefined);
    await server.listen(duplex);
    duplex.push(null);
    if (left % 100 === 0) await sleep(5);
  }
  // A garbage collection takes longer the more objects live, and parts of it continue after the call.
  if (what === "collect") {
    globalThis.gc?.();
    await sleep(500);
  }
  const { user, system } = process.cpuUsage();
  console.log(JSON.stringify({ cpuUs: user + system, resident: process.memoryUsage.rss(), blocked, taken }));
}
