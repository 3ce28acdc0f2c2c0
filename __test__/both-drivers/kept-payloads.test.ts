/** What programs do with small payloads that they keep, whose memory is part of a larger piece. */

import { setImmediate as turn, setTimeout as sleep } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import {
  type ClientInterceptor,
  connect,
  createClient,
  createServer,
  type Driver,
} from "containerd-shim-protos";
import { describe, expect, test } from "vitest";
import { bytes, deferred, text } from "../helpers/outcome.js";
import { streamServer } from "../helpers/stream-server.js";
import { Streams } from "../helpers/streaming.js";
import { temporaryAddress } from "../helpers/temp.js";

const DRIVERS: Driver[] = ["loop", "thread"];
const MIB = 1 << 20;

const times = <T>(length: number, make: (index: number) => T) =>
  Array.from({ length }, (_, index) => make(index));

/** Collects all garbage, and lets Node free what it lent. */
async function collectGarbage(): Promise<void> {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  for (let round = 0; round < 3; round++) {
    await turn();
    collect();
  }
}

/** Bytes that are alive as long as these arrays are. */
function kept(arrays: readonly Uint8Array[]): number {
  const memory = new Set(arrays.map((array) => array.buffer));
  return [...memory].reduce((sum, { byteLength }) => sum + byteLength, 0);
}

describe.each(DRIVERS)("driver %s", (driver) => {
  test("a program that transfers a payload's memory away costs no later call its outcome", async () => {
    const address = temporaryAddress();
    await using server = createServer({ driver });
    server.addRaw("test.Echo", { Echo: { kind: "unary", handle: (payload) => payload.slice() } });
    await server.listen(address);
    await using connection = await connect(address, { driver });
    const call = async (word: string) => text(await connection.unary("test.Echo", "Echo", bytes(word)));
    const reply = await connection.unary("test.Echo", "Echo", bytes("moved"));
    const { buffer } = reply;
    structuredClone(buffer, { transfer: [buffer as ArrayBuffer] });
    expect(await Promise.all(times(20, (index) => call(`word ${index}`)))).toEqual(
      times(20, (index) => `word ${index}`),
    );
  });

  test("an interceptor that opens a stream again whenever it ends keeps none that have ended", async () => {
    const address = temporaryAddress();
    await using server = streamServer({ driver });
    await server.listen(address);
    await using connection = await connect(address, { driver });
    const opened: WeakRef<object>[] = [];
    const again: ClientInterceptor = (next) => async (call) =>
      (async function* () {
        for (;;) {
          const messages = (await next(call)) as AsyncIterable<unknown>;
          opened.push(new WeakRef(messages));
          yield* messages;
        }
      })();
    const wrapping: ClientInterceptor = (next) => async (call) => {
      const messages = (await next(call)) as AsyncIterable<unknown>;
      return (async function* () {
        yield* messages;
      })();
    };
    const client = createClient(Streams, connection, { interceptors: [again, wrapping] });
    for await (const _ of client.count({ num: 1 })) if (opened.length === 20) break;
    const messages = client.count({ num: 1 })[Symbol.asyncIterator]();
    while (opened.length < 40) await messages.next();
    await collectGarbage();
    expect(opened.filter((one) => one.deref() !== undefined).length).toBeLessThan(5);
    await messages.return!();
  });

  test("a reader that is slower than its peer keeps no message that it has read", async () => {
    const address = temporaryAddress();
    await using server = createServer({ driver });
    const message = new Uint8Array(32 << 10);
    server.addRaw("test.Kept", {
      Endless: {
        kind: "server_streaming",
        async *handle() {
          for (;;) yield message;
        },
      },
    });
    await server.listen(address);
    await using connection = await connect(address, { driver });
    const read: WeakRef<ArrayBufferLike>[] = [];
    for await (const { buffer } of connection.serverStreaming("test.Kept", "Endless", new Uint8Array(0))) {
      read.push(new WeakRef(buffer));
      // More come meanwhile, so that the queue is never empty.
      await sleep(2);
      if (read.length === 300) {
        await collectGarbage();
        expect(read.filter((one) => one.deref() !== undefined).length).toBeLessThan(50);
        break;
      }
    }
  });

  test("requests that many handlers keep do not keep those in between", async () => {
    const address = temporaryAddress();
    await using server = createServer({ driver });
    const requests: Uint8Array[] = [];
    const end = deferred<void>();
    server.addRaw("test.Kept", {
      Keep: {
        kind: "unary",
        async handle(payload) {
          requests.push(payload);
          await end.promise;
          return payload;
        },
      },
      Drop: { kind: "unary", handle: () => new Uint8Array(0) },
    });
    await server.listen(address);
    await using connection = await connect(address, { driver });
    const between = new Uint8Array(4000);
    const calls: Promise<Uint8Array>[] = [];
    for (let index = 0; index < 2000; index++) {
      calls.push(connection.unary("test.Kept", "Keep", Uint8Array.of(index)));
      await Promise.all(times(4, () => connection.unary("test.Kept", "Drop", between)));
    }
    expect(requests).toHaveLength(2000);
    expect(kept(requests)).toBeLessThan(18 * MIB);
    end.resolve();
    expect((await Promise.all(calls)).every((reply, index) => reply[0] === (index & 255))).toBe(true);
  });
});
