import { once } from "node:events";
import { createServer, Socket } from "node:net";
import * as v8 from "node:v8";
import { expect, onTestFinished, test } from "vitest";
import type { SubscriptionPlan } from "../../src/events/subscribe-options.js";
import { envelopes } from "../../src/events/subscribe-stream.js";
import { temporaryPath } from "../helpers/temp.js";

/** Not in Node 20.12, nor in the types of this release. */
const { queryObjects } = v8 as unknown as {
  queryObjects?: (constructor: unknown, options: { format: "count" }) => number;
};

test.skipIf(queryObjects === undefined)(
  "an attempt to subscribe leaves nothing behind when it fails",
  async () => {
    const path = temporaryPath(".sock");
    const server = createServer((socket) =>
      socket
        .on("error", () => undefined)
        .resume()
        .end(),
    ).listen(path);
    onTestFinished(() => void server.close());
    await once(server, "listening");
    const plan = { address: "a", path, filters: [] } as unknown as SubscriptionPlan;
    const { signal } = new AbortController();
    const attempt = async () => {
      for await (const _ of envelopes(plan, signal, () => undefined)) throw new Error("an event came");
    };
    const count = () => queryObjects?.(Socket, { format: "count" }) ?? 0;
    await expect(attempt()).rejects.toThrow("a is not a gRPC server");
    const before = count();
    for (let attempts = 0; attempts < 100; attempts++) await attempt().catch(() => undefined);
    expect(count() - before).toBeLessThan(50);
  },
);

const [SETTINGS, HEADERS, PUSH_PROMISE] = [4, 1, 5];
const [ACK, END_HEADERS] = [1, 4];
/** `GET http://localhost/`, as HPACK has it. */
const REQUEST = Buffer.from([0x82, 0x86, 0x84, 0x41, 9, ...Buffer.from("localhost")]);

function frame(type: number, flags: number, stream: number, payload = Buffer.alloc(0)): Buffer {
  const header = Buffer.alloc(9);
  header.writeUIntBE(payload.length, 0, 3);
  header.writeUInt8(type, 3);
  header.writeUInt8(flags, 4);
  header.writeUInt32BE(stream, 5);
  return Buffer.concat([header, payload]);
}

/** Whether the first frames of a client, behind its preface of 24 bytes, have a request among them. */
function hasRequest(bytes: Buffer): boolean {
  for (let at = 24; bytes.length >= at + 9; at += 9 + bytes.readUIntBE(at, 3))
    if (bytes[at + 3] === HEADERS) return true;
  return false;
}

test("a peer that pushes streams, which would fill the memory and end the process, is left", async () => {
  const path = temporaryPath(".sock");
  const server = createServer((socket) => {
    let received = Buffer.alloc(0);
    socket.write(Buffer.concat([frame(SETTINGS, 0, 0), frame(SETTINGS, ACK, 0)]));
    socket.on("error", () => undefined);
    socket.on("data", (bytes) => {
      received = Buffer.concat([received, bytes]);
      if (!hasRequest(received)) return;
      const promised = Buffer.from([0, 0, 0, 2]);
      socket.write(frame(PUSH_PROMISE, END_HEADERS, 1, Buffer.concat([promised, REQUEST])));
    });
  }).listen(path);
  onTestFinished(() => void server.close());
  await once(server, "listening");
  const plan = { address: "a", path, filters: [] } as unknown as SubscriptionPlan;
  const { signal } = new AbortController();
  await expect(envelopes(plan, signal, () => undefined).next()).rejects.toThrow("Protocol error");
});
