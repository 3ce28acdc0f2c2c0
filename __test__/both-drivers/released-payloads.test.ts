/** What `releasePayload` frees, and what it leaves alone. */

import { once } from "node:events";
import { setImmediate as turn } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { Worker } from "node:worker_threads";
import { create, type DescMessage, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { EmptySchema } from "@bufbuild/protobuf/wkt";
import {
  connect,
  connectSync,
  createClient,
  createServer,
  type Driver,
  releasePayload,
  type Server,
} from "containerd-shim-protos";
import { CreateTaskRequestSchema, ExecProcessRequestSchema, Task } from "containerd-shim-protos/task/v3";
import { describe, expect, test } from "vitest";
import { messageDecoder } from "../../src/codec/payload.js";
import { Random } from "../codec/random.js";
import { deferred } from "../helpers/outcome.js";
import { PACKAGE } from "../helpers/package.js";
import { describeWithPeer, Peer } from "../helpers/peer.js";
import { Script } from "../helpers/script.js";
import { temporaryAddress } from "../helpers/temp.js";

const DRIVERS: Driver[] = ["loop", "thread"];
/** From this size on, a payload has memory of its own. */
const LARGE = 8 << 10;
const NOTHING = new Uint8Array(0);

const filled = (size: number, byte: number) => new Uint8Array(size).fill(byte);
const isFilled = (payload: Uint8Array, size: number, byte: number) =>
  Buffer.compare(payload, filled(size, byte)) === 0;

/** Echoes requests, each to a call or to a stream's message. */
function echoServer(driver: Driver): Server {
  return createServer({ driver }).addRaw("a.B", {
    Echo: { kind: "unary", handle: (request) => request },
    Chat: {
      kind: "bidi_streaming",
      async *handle(requests) {
        for await (const request of requests) {
          yield request;
          releasePayload(request);
        }
      },
    },
  });
}

describe.each(DRIVERS)("driver %s", (driver) => {
  test("a payload that is released has no bytes left, and its neighbours keep theirs", async () => {
    await using server = echoServer(driver);
    await using connection = await connect(await server.listen(temporaryAddress()), { driver });
    const bytes = [1, 2, 3, 4, 5, 6];
    const replies = await Promise.all(
      bytes.map((byte) => connection.unary("a.B", "Echo", filled(LARGE, byte))),
    );
    for await (const message of connection.bidiStreaming(
      "a.B",
      "Chat",
      bytes.map((byte) => filled(LARGE, byte)),
    )) {
      replies.push(message);
    }
    replies.forEach((reply, index) => {
      if (index % 2 === 0) releasePayload(reply);
    });
    // It may be released again, and there is nothing left to free.
    releasePayload(replies[0]!);
    replies.forEach((reply, index) => {
      if (index % 2 === 0) expect(reply).toHaveLength(0);
      else expect(isFilled(reply, LARGE, (index % 6) + 1)).toBe(true);
    });
  });

  test("a message that a handler yields may be released as soon as it is asked for the next one", async () => {
    await using server = echoServer(driver);
    await using connection = await connect(await server.listen(temporaryAddress()), { driver });
    const sent = Array.from({ length: 40 }, (_, index) => filled(LARGE * ((index % 9) + 1), index));
    let index = 0;
    for await (const message of connection.bidiStreaming("a.B", "Chat", sent)) {
      expect(isFilled(message, sent[index]!.length, index)).toBe(true);
      releasePayload(message);
      index++;
    }
    expect(index).toBe(40);
  });

  test("memory that is released is never taken from a payload that comes later", async () => {
    setFlagsFromString("--expose-gc");
    const collect = runInNewContext("gc") as () => void;
    await using server = echoServer(driver);
    await using connection = await connect(await server.listen(temporaryAddress()), { driver });
    const random = new Random(22);
    const kept = new Map<number, Uint8Array>();
    const damaged: number[] = [];
    for (let round = 0; round < 150; round++) {
      const replies = await Promise.all(
        Array.from({ length: 8 }, (_, index) =>
          connection.unary("a.B", "Echo", filled(LARGE, round * 8 + index)),
        ),
      );
      replies.forEach((reply, index) => kept.set(round * 8 + index, reply));
      for (const [name, payload] of kept) {
        if (!isFilled(payload, LARGE, name)) damaged.push(name);
        if (random.below(3) > 0) {
          releasePayload(payload);
          kept.delete(name);
        }
      }
      // Only then does Node report what was freed, while its address may be another's already.
      if (round % 10 === 0) collect();
      if (round % 3 === 0) await turn();
    }
    expect(damaged).toEqual([]);
  });

  test("a bytes field is released with its message's payload, and a small one is left alone", async () => {
    const requests = deferred<[large: Uint8Array, small: Uint8Array]>();
    await using server = createServer({ driver });
    let first: Uint8Array | undefined;
    server.add(Task, {
      exec({ spec }) {
        const { value } = spec!;
        releasePayload(value);
        if (first === undefined) first = value;
        else requests.resolve([first, value]);
        return {};
      },
    });
    await using connection = await connect(await server.listen(temporaryAddress()), { driver });
    const task = createClient(Task, connection);
    await task.exec({ id: "a", spec: { typeUrl: "a", value: filled(LARGE, 1) } });
    await task.exec({ id: "a", spec: { typeUrl: "a", value: filled(100, 2) } });
    const [large, small] = await requests.promise;
    expect(large).toHaveLength(0);
    expect(isFilled(small, 100, 2)).toBe(true);
  });
});

test("a large message that has no part of its payload leaves none of it behind", async () => {
  await using server = echoServer("loop");
  await using connection = await connect(await server.listen(temporaryAddress()), { driver: "loop" });
  const decodedFrom = async <Desc extends DescMessage>(desc: Desc, init: MessageInitShape<Desc>) => {
    const payload = await connection.unary("a.B", "Echo", toBinary(desc, create(desc, init)));
    const message = messageDecoder(desc)(payload, 0, payload.length, true);
    return { message, left: payload.length };
  };
  const bundle = "x".repeat(LARGE);
  const texts = await decodedFrom(CreateTaskRequestSchema, { id: "a", bundle });
  expect(texts).toMatchObject({ message: { id: "a", bundle }, left: 0 });
  const value = filled(LARGE, 1);
  const bytes = await decodedFrom(CreateTaskRequestSchema, { options: { typeUrl: "a", value } });
  expect(bytes.left).toBeGreaterThan(LARGE);
  expect(isFilled(bytes.message.options!.value, LARGE, 1)).toBe(true);
  // Exec's field 4 is its spec, of which an empty message knows nothing.
  const unknown = await connection.unary(
    "a.B",
    "Echo",
    toBinary(ExecProcessRequestSchema, create(ExecProcessRequestSchema, { spec: { typeUrl: "a", value } })),
  );
  const sent = unknown.slice();
  const empty = messageDecoder(EmptySchema)(unknown, 0, unknown.length, true);
  expect(Buffer.compare(toBinary(EmptySchema, empty), sent)).toBe(0);
});

test("arrays that did not come from a peer keep their bytes", () => {
  const own = filled(1 << 20, 5);
  const pooled = Buffer.from("part of Node's pool");
  const shared = new Uint8Array(new SharedArrayBuffer(LARGE));
  for (const array of [own, own.subarray(LARGE), pooled, shared, NOTHING]) releasePayload(array);
  expect(isFilled(own, 1 << 20, 5)).toBe(true);
  expect(pooled.toString()).toBe("part of Node's pool");
  expect(shared).toHaveLength(LARGE);
});

test("a worker's payloads are released as well, and what it transferred is not", async () => {
  const worker = new Worker(
    `const { parentPort, workerData: address } = require("node:worker_threads");
     import("${PACKAGE}").then(async ({ connect, createServer, releasePayload }) => {
       const server = createServer().addRaw("a.B", { Echo: { kind: "unary", handle: (request) => request } });
       const connection = await connect(await server.listen(address));
       const reply = (byte) => connection.unary("a.B", "Echo", new Uint8Array(${LARGE}).fill(byte));
       const moved = await reply(1);
       const { buffer } = moved;
       const same = structuredClone(buffer, { transfer: [buffer] });
       releasePayload(moved);
       releasePayload(new Uint8Array(same));
       const kept = [];
       const lengths = new Set();
       for (let index = 0; index < 200; index++) {
         const payload = await reply(index);
         if (index % 2 === 0) kept.push(payload);
         else {
           releasePayload(payload);
           lengths.add(payload.length);
         }
       }
       parentPort.postMessage({
         same: new Uint8Array(same).every((byte) => byte === 1) && same.byteLength === ${LARGE},
         kept: kept.every((payload, index) => payload.length === ${LARGE} && payload.every((byte) => byte === index * 2)),
         lengths: [...lengths],
       });
     });`,
    { eval: true, workerData: temporaryAddress() },
  );
  const [result] = (await once(worker, "message")) as [unknown];
  expect(result).toEqual({ same: true, kept: true, lengths: [0] });
  await worker.terminate();
});

describeWithPeer("with a peer in Rust", () => {
  test("a blocking call's reply is released", async () => {
    await using peer = await Peer.echo();
    using connection = connectSync(peer.address);
    const reply = connection.unary("test.Echo", "Echo", filled(LARGE, 1), { timeoutMs: 15_000 });
    expect(reply).toHaveLength(LARGE);
    releasePayload(reply);
    expect(reply).toHaveLength(0);
  });

  test(
    "of 3000 replies of 256 KiB that are released, 32 MiB at most are resident",
    { timeout: 60_000 },
    async () => {
      await using peer = await Peer.echo();
      await using script = new Script(
        // A thread's memory goes back to that thread first, in its own time.
        `const connection = await product.connect(address, { driver: "loop" });
         const payload = new Uint8Array(256 << 10);
         const calls = () => Promise.all(
           Array.from({ length: 8 }, () => connection.unary("test.Echo", "Echo", payload)),
         );
         for (const reply of await calls()) product.releasePayload(reply);
         let most = 0;
         const before = process.memoryUsage.rss();
         for (let call = 0; call < 3000; call += 8) {
           for (const reply of await calls()) product.releasePayload(reply);
           most = Math.max(most, process.memoryUsage.rss() - before);
         }
         say(String(most >> 20));
         process.exit(0);`,
        peer.address,
      );
      const [most] = await script.rest();
      expect(Number(most)).toBeLessThan(32);
    },
  );
});
