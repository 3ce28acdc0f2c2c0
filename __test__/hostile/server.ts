/**
 * A server for hostile clients to attack: `server.ts DRIVER KIND PATH`, where KIND is `server` or `sink`. For each line on
 * its standard input it prints its state; for `take N` it takes N events of the sink first.
 */

import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { createServer, type HandlerContext } from "containerd-shim-protos";
import { type EventSink, listenEvents } from "containerd-shim-protos/events";
import { Task } from "containerd-shim-protos/task/v3";

const [driver = "loop", kind = "server", path = ""] = process.argv.slice(2);
const address = `unix://${path}`;
const REPLY = new Uint8Array(256 * 1024).fill(1);
let started = 0;

const untilAborted = ({ signal }: HandlerContext) =>
  new Promise<void>((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve());
  });

/** Handlers that behave in the most harmful ways. */
async function serve(): Promise<void> {
  const server = createServer({ driver: driver as "loop" });
  server.addRaw("test.Hostile", {
    Echo: { kind: "unary", handle: (payload) => payload },
    /** Answers an empty request with a large reply. */
    Large: { kind: "unary", handle: () => (started++, REPLY.slice()) },
    LargeLater: { kind: "unary", handle: async () => (started++, REPLY.slice()) },
    /** Answers once nobody waits any more. */
    Block: {
      kind: "unary",
      async handle(payload, context) {
        started++;
        await untilAborted(context);
        return payload;
      },
    },
    /** Ignores its signal, and keeps its payload for a while. */
    Stubborn: {
      kind: "unary",
      async handle(payload) {
        started++;
        await sleep(2500);
        return payload;
      },
    },
    /** Blocks JavaScript for the requested number of milliseconds. */
    Busy: {
      kind: "unary",
      handle(payload) {
        const until = performance.now() + Number(Buffer.from(payload).toString());
        while (performance.now() < until);
        return payload;
      },
    },
    /** Reads no message. */
    Untaken: {
      kind: "bidi_streaming",
      async *handle(_messages, context) {
        started++;
        await untilAborted(context);
        yield REPLY;
      },
    },
    /** Reads all messages. */
    Taken: {
      kind: "client_streaming",
      async handle(messages) {
        for await (const _ of messages);
        return new Uint8Array(0);
      },
    },
    Empty: { kind: "unary", handle: () => new Uint8Array(0) },
    /** Sends without end. */
    Endless: {
      kind: "server_streaming",
      async *handle() {
        started++;
        for (;;) yield new Uint8Array(64 * 1024).fill(2);
      },
    },
  });
  server.add(Task, {
    state: () => ({}),
    async create(_, context) {
      started++;
      await untilAborted(context);
      return {};
    },
  });
  await server.listen(address);
}

let sink: EventSink | undefined;
if (kind === "sink") {
  sink = listenEvents(address, { driver: driver as "loop", maxQueuedEvents: 100, maxQueuedBytes: 4 << 20 });
} else {
  await serve();
}

console.log("ready");
for await (const line of createInterface({ input: process.stdin })) {
  if (line.startsWith("take") && sink !== undefined) {
    let left = Number(line.split(" ")[1]);
    for await (const _ of sink) if (--left === 0) break;
  }
  globalThis.gc?.();
  const { external, heapUsed } = process.memoryUsage();
  console.log(JSON.stringify({ started, received: sink?.counts.received ?? 0, external, heapUsed }));
}
process.exit();
