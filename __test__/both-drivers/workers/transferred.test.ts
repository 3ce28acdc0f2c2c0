import { once } from "node:events";
import { Worker } from "node:worker_threads";
import { connect, createServer } from "containerd-shim-protos";
import { expect, test } from "vitest";
import { PACKAGE } from "../../helpers/package.js";
import { temporaryAddress } from "../../helpers/temp.js";

const SIZE = 1 << 20;

/** Receives payloads in every possible way, and transfers their memory to the thread that started it. */
const WORKER = `
  const { parentPort, workerData: { address, way } } = require("node:worker_threads");
  import("${PACKAGE}").then(async ({ connect, connectSync, createServer }) => {
    const payload = new Uint8Array(${SIZE}).fill(7);
    const got = [];
    const server = createServer().addRaw("a.B", {
      Echo: { kind: "unary", handle: (request) => (got.push(request), payload) },
      Chat: {
        kind: "bidi_streaming",
        async *handle(requests) {
          for await (const request of requests) {
            got.push(request);
            yield payload;
          }
        },
      },
    });
    const connection = await connect(await server.listen(address + "-worker"));
    got.push(await connection.unary("a.B", "Echo", payload));
    for await (const message of connection.bidiStreaming("a.B", "Chat", [payload])) got.push(message);
    const blocking = connectSync(address);
    got.push(blocking.unary("a.B", "Echo", payload));
    blocking.close();
    const moved = got.map(({ buffer }) => {
      if (way === "structuredClone") return structuredClone(buffer, { transfer: [buffer] });
      // ArrayBuffer.prototype.transfer came with Node 22.
      return way === "transfer" && buffer.transfer !== undefined ? buffer.transfer() : buffer;
    });
    parentPort.postMessage(moved, moved);
  });
`;

test.each([
  { way: "postMessage", ending: "terminate" },
  { way: "structuredClone", ending: "terminate" },
  { way: "transfer", ending: "terminate" },
  { way: "transfer", ending: "exit" },
])(
  "a payload that a worker received and transferred ($way) stays intact after the worker has ended ($ending)",
  async ({ way, ending }) => {
    const other = new Uint8Array(SIZE).fill(66);
    await using server = createServer().addRaw("a.B", {
      Echo: { kind: "unary", handle: (request) => request },
    });
    const address = await server.listen(temporaryAddress());
    const worker = new Worker(
      `${WORKER}${ending === "exit" ? "parentPort.on('message', process.exit);" : ""}`,
      {
        eval: true,
        workerData: { address, way },
      },
    );
    const [moved] = (await once(worker, "message")) as [ArrayBuffer[]];
    if (ending === "exit") {
      const exited = once(worker, "exit");
      worker.postMessage(0, []);
      await exited;
    } else {
      await worker.terminate();
    }
    // Reuses the memory that was given back.
    await using connection = await connect(address);
    const kept = [];
    for (let i = 0; i < 20; i++) kept.push(await connection.unary("a.B", "Echo", other));
    const expected = new Uint8Array(SIZE).fill(7);
    const same = moved.map((memory) => Buffer.compare(new Uint8Array(memory), expected) === 0);
    expect(same).toEqual([true, true, true, true, true]);
    expect(kept).toHaveLength(20);
  },
);

test("a payload that the main thread received and transferred stays intact in a worker", async () => {
  await using server = createServer().addRaw("a.B", {
    Echo: { kind: "unary", handle: (request) => request },
  });
  await using connection = await connect(await server.listen(temporaryAddress()));
  let { buffer } = await connection.unary("a.B", "Echo", new Uint8Array(SIZE).fill(7));
  if ("transfer" in buffer) buffer = (buffer as { transfer(): ArrayBuffer }).transfer();
  const source = `
    const { parentPort } = require("node:worker_threads");
    parentPort.once("message", (memory) => {
      setTimeout(() => parentPort.postMessage(new Uint8Array(memory).every((byte) => byte === 7)), 50);
    });
  `;
  const worker = new Worker(source, { eval: true });
  // An ArrayBuffer that V8 does not own cannot be transferred; the one that `transfer()` makes of it can.
  const transferable = process.versions.node.startsWith("20.") ? [] : [buffer as ArrayBuffer];
  worker.postMessage(buffer, transferable);
  expect(await once(worker, "message")).toEqual([true]);
  await worker.terminate();
});

test("the main thread transfers a slice of a large payload, or what its buffer's transfer() returns", async () => {
  await using server = createServer().addRaw("a.B", {
    Echo: { kind: "unary", handle: (request) => request },
  });
  await using connection = await connect(await server.listen(temporaryAddress()));
  const payload = await connection.unary("a.B", "Echo", new Uint8Array(SIZE).fill(7));
  const slice = payload.slice();
  // ArrayBuffer.prototype.transfer came with Node 22.
  const { buffer } = payload as { buffer: ArrayBuffer & { transfer?: () => ArrayBuffer } };
  const moved = [slice.buffer, buffer.transfer?.() ?? payload.slice().buffer];
  const received = structuredClone(moved, { transfer: moved });
  expect(moved.map(({ byteLength }) => byteLength)).toEqual([0, 0]);
  const expected = new Uint8Array(SIZE).fill(7);
  for (const memory of received) expect(Buffer.compare(new Uint8Array(memory), expected)).toBe(0);
});
