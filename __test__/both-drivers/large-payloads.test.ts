/** Payloads of 8 KiB and more cross outside the batch. */

import { connect, connectSync, createServer, type Driver } from "containerd-shim-protos";
import { describe, expect, test } from "vitest";
import { collect, times } from "../helpers/iterables.js";
import { deferred, failure } from "../helpers/outcome.js";
import { describeWithPeer, Peer } from "../helpers/peer.js";
import { Script } from "../helpers/script.js";
import { temporaryAddress } from "../helpers/temp.js";

const LARGE = 8 << 10;
/** Below and above the size from which payloads cross outside the batch, and above what a socket buffers. */
const SIZES = [LARGE - 1, LARGE, LARGE + 1, 1 << 20];
const DRIVERS: Driver[] = ["loop", "thread"];

/** Bytes that show which payload they belong to, and where in it. */
function payloadOf(size: number, seed: number): Uint8Array<ArrayBuffer> {
  return Uint8Array.from({ length: size }, (_, index) => seed + index + (index >> 8));
}

/** Compares without printing the bytes. */
function isSame(actual: Uint8Array, expected: Uint8Array): boolean {
  return Buffer.compare(actual, expected) === 0;
}

describeWithPeer("a large payload", () => {
  describe.each(DRIVERS)("driver %s", (driver) => {
    test.each(SIZES)(
      "of %i bytes is sent as it was at the call, whatever happens to its memory",
      async (size) => {
        await using peer = await Peer.echo();
        await using connection = await connect(peer.address, { driver });
        const expected = payloadOf(size, 1);
        const changed = payloadOf(size, 1);
        const overwritten = connection.unary("test.Echo", "Echo", changed);
        changed.fill(0);
        const moved = payloadOf(size, 1);
        const transferred = connection.unary("test.Echo", "Echo", moved);
        structuredClone(moved.buffer, { transfer: [moved.buffer] });
        expect(moved).toHaveLength(0);
        expect(isSame(await overwritten, expected)).toBe(true);
        expect(isSame(await transferred, expected)).toBe(true);
      },
    );

    test("may be part of an array, a Buffer, or shared or resizable memory", async () => {
      await using peer = await Peer.echo();
      await using connection = await connect(peer.address, { driver });
      const expected = payloadOf(LARGE, 5);
      const around = payloadOf(LARGE + 200, 9);
      around.set(expected, 100);
      const shared = new Uint8Array(new SharedArrayBuffer(LARGE));
      shared.set(expected);
      const resizable = new Uint8Array(new ArrayBuffer(LARGE, { maxByteLength: 2 * LARGE }));
      resizable.set(expected);
      const payloads = [around.subarray(100, 100 + LARGE), Buffer.from(expected), shared, resizable];
      const replies = await Promise.all(
        payloads.map((payload) => connection.unary("test.Echo", "Echo", payload)),
      );
      expect(replies.map((reply) => isSame(reply, expected))).toEqual([true, true, true, true]);
    });

    test("keeps its place among calls of all sizes, some of them canceled", async () => {
      await using peer = await Peer.echo();
      await using connection = await connect(peer.address, { driver });
      const payloads = Array.from({ length: 60 }, (_, index) =>
        payloadOf(SIZES[index % 4]! >> (index % 3), index),
      );
      const controller = new AbortController();
      const calls = payloads.map((payload, index) =>
        connection.unary("test.Echo", "Echo", payload, index % 5 === 4 ? { signal: controller.signal } : {}),
      );
      controller.abort();
      const outcomes = await Promise.allSettled(calls);
      const same = outcomes.map((outcome, index) =>
        outcome.status === "fulfilled" ? isSame(outcome.value, payloads[index]!) : "given up",
      );
      // The thread driver may have answered the first of them before they were canceled.
      const allowed = (outcome: unknown, index: number) =>
        outcome === true || (outcome === "given up" && index % 5 === 4);
      expect(same.map(allowed)).toEqual(same.map(() => true));
      expect(same.at(-1)).toBe("given up");
      // The connection is between two frames.
      const last = payloadOf(LARGE, 3);
      expect(isSame(await connection.unary("test.Echo", "Echo", last), last)).toBe(true);
    });

    test("also crosses as a reply and as a message of a stream", async () => {
      const { promise: seen, resolve } = deferred<Uint8Array[]>();
      await using server = createServer({ driver }).addRaw("a.B", {
        Unary: { kind: "unary", handle: (payload) => payload },
        Up: {
          kind: "client_streaming",
          async handle(messages) {
            const all = await collect(messages);
            resolve(all);
            return all.at(-1)!;
          },
        },
        Down: {
          kind: "server_streaming",
          async *handle() {
            for (const size of SIZES) yield payloadOf(size, 7);
          },
        },
      });
      await using connection = await connect(await server.listen(temporaryAddress()), { driver });
      const sent = SIZES.map((size) => payloadOf(size, 7));
      const areSame = (all: Uint8Array[]) => all.map((one, index) => isSame(one, sent[index]!));
      const allSame = SIZES.map(() => true);
      const last = await connection.clientStreaming(
        "a.B",
        "Up",
        times(sent.length, (index) => sent[index]!),
      );
      expect(isSame(last, sent.at(-1)!)).toBe(true);
      expect(areSame(await seen)).toEqual(allSame);
      const down = connection.serverStreaming("a.B", "Down", new Uint8Array());
      expect(areSame(await collect(down))).toEqual(allSame);
      expect(areSame(await Promise.all(sent.map((one) => connection.unary("a.B", "Unary", one))))).toEqual(
        allSame,
      );
    });

    test("of a refused call does not end up in the next one", async () => {
      await using peer = await Peer.echo();
      await using connection = await connect(peer.address, { driver });
      // Too large only with its envelope, which is known after it crossed.
      const refused = failure(connection.unary("test.Echo", "Echo", new Uint8Array(4 << 20)));
      const payload = payloadOf(LARGE, 11);
      const reply = connection.unary("test.Echo", "Echo", payload);
      expect((await refused).message).toContain("exceed maximum message size");
      expect(isSame(await reply, payload)).toBe(true);
    });
  });

  test.each([
    { kept: 0, atMost: 200 },
    { kept: 200, atMost: 350 },
  ])(
    "does not pile up in memory: of 6000 of 256 KiB with $kept kept, $atMost MiB at most are resident",
    { timeout: 60_000 },
    async ({ kept, atMost }) => {
      await using peer = await Peer.echo();
      await using script = new Script(
        `const connection = await product.connect(address);
         const payload = new Uint8Array(256 << 10);
         const ring = [];
         let most = 0;
         const before = process.memoryUsage.rss();
         for (let call = 0; call < 6000; call += 8) {
           const calls = Array.from({ length: 8 }, () => connection.unary("test.Echo", "Echo", payload));
           ring.push(...await Promise.all(calls));
           ring.splice(0, ring.length - ${kept});
           most = Math.max(most, process.memoryUsage.rss() - before);
         }
         say(String(most >> 20));
         process.exit(0);`,
        peer.address,
      );
      const [most] = await script.rest();
      expect(Number(most)).toBeLessThan(atMost);
    },
  );

  test.each(SIZES)("of %i bytes crosses in a blocking call", async (size) => {
    await using peer = await Peer.echo();
    using connection = connectSync(peer.address);
    const payload = payloadOf(size, 13);
    expect(isSame(connection.unary("test.Echo", "Echo", payload, { timeoutMs: 15_000 }), payload)).toBe(true);
  });
});
