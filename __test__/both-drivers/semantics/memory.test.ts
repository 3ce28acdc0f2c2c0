import { once } from "node:events";
import type { Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { Code, connect } from "containerd-shim-protos";
import { describe, expect, test } from "vitest";
import { aborted, bytes, deferred, failure, text } from "../../helpers/outcome.js";
import { RawServer } from "../../helpers/raw-peer.js";
import {
  data,
  ECHO,
  EMPTY,
  expectGoodClientServed,
  HALF_CLOSE,
  nextUnaryRequest,
  OPEN_BY_RUST,
  request,
  serverOfRaw,
  SUM,
} from "./raw-pairs.js";

const MIB = 1 << 20;

/** What the kernel buffers for a socket in both directions, and what is in flight when reading stops. */
const SLACK = 4 * MIB;

/**
 * Writes frames until the other side has stopped reading. Returns the number of bytes that the kernel took; the rest
 * waits in Node's socket.
 */
async function writeUntilStuck(socket: Socket, frame: Buffer, limit: number): Promise<number> {
  let written = 0;
  while (written < limit) {
    const taken = socket.write(frame);
    written += frame.length;
    if (taken) continue;
    // No event says that a socket will never drain, so 500 waits of a millisecond without a drain count as that.
    const drained = once(socket, "drain").then(() => true);
    let waits = 0;
    while (waits++ < 500) {
      if (await Promise.race([drained, sleep(1).then(() => false)])) break;
    }
    if (waits > 500) return written - socket.writableLength;
  }
  throw new Error(`all ${written} bytes were read`);
}

describe("a client that does not read its replies", () => {
  test("is not read while 8 MiB of them wait, and is served to the last afterwards", async () => {
    await using pair = await serverOfRaw();
    const { client, echoed } = pair;
    client.socket.pause();
    const payload = new Uint8Array(256 * 1024);
    let id = 1;
    const next = () => request((id += 2), { ...ECHO, payload });
    let taken = 0;
    for (;;) {
      const frame = next();
      const stuck = await writeUntilStuck(client.socket, frame, frame.length).then(
        () => true,
        () => false,
      );
      taken += frame.length;
      if (stuck) break;
      expect(taken).toBeLessThan(64 * MIB);
    }
    // Other clients are served meanwhile.
    await expectGoodClientServed(pair.address);
    const handled = echoed.length;
    expect(handled * payload.length).toBeLessThan(8 * MIB + SLACK + 2 * MIB);

    client.socket.resume();
    for (let served = 0; served < (id - 1) / 2; served++)
      expect((await client.nextResponse()).status.code).toBe(0);
    await expectGoodClientServed(pair.address);
  });
});

describe("a handler that does not read a stream's messages", () => {
  /** A handler that reads nothing until it is released. */
  async function untaken() {
    const [entered, release] = [deferred<AbortSignal>(), deferred()];
    const pair = await serverOfRaw({
      Sum: {
        kind: "client_streaming",
        async handle(requests, { signal }) {
          entered.resolve(signal);
          await Promise.race([release.promise, aborted(signal)]);
          let size = 0;
          for await (const { length } of requests) size += length;
          return bytes(String(size));
        },
      },
    });
    await pair.client.send(request(1, SUM, OPEN_BY_RUST));
    return { pair, release, signal: await entered.promise };
  }

  test.each([0, 1000, MIB])(
    "holds 4 MiB and what is in flight, in messages of %i bytes, and loses none",
    async (size) => {
      const { pair: made, release } = await untaken();
      await using pair = made;
      const { client } = pair;
      const message = data(1, new Uint8Array(size));
      const before = process.memoryUsage.rss();
      // Small frames are sent in bundles, because the socket's speed does not matter here.
      const bundle = Buffer.concat(Array.from({ length: Math.ceil(MIB / message.length) }, () => message));
      const taken = await writeUntilStuck(client.socket, bundle, 128 * MIB);
      // An empty message counts as 64 bytes, but only 10 cross the wire.
      expect(taken).toBeLessThan(4 * MIB + MIB + SLACK);
      expect(process.memoryUsage.rss() - before).toBeLessThan(128 * MIB);
      await expectGoodClientServed(pair.address);

      release.resolve();
      const all = taken + client.socket.writableLength;
      client.socket.write(data(1, "", HALF_CLOSE));
      const { payload } = await client.nextResponse();
      expect(Number(text(payload))).toBe(Math.round(all / message.length) * size);
      const reply = await client.call(3, { ...ECHO, payload: bytes("next") });
      expect(text(reply.payload)).toBe("next");
    },
  );
});

describe("a reader that does not read a stream's messages", () => {
  test("holds 4 MiB and what is in flight, keeps the connection's other calls waiting, and loses none", async () => {
    await using server = await RawServer.listen();
    await using connection = await connect(server.address);
    await using other = await connect(server.address);
    const [peer, second] = [await server.accept(), await server.accept()];
    const stream = connection.serverStreaming("a.B", "List", EMPTY);
    await peer.nextRequest();
    const message = data(1, new Uint8Array(64 * 1024));
    const taken = await writeUntilStuck(peer.socket, message, 128 * MIB);
    expect(taken).toBeLessThan(4 * MIB + MIB + SLACK);
    const count = (taken + peer.socket.writableLength) / message.length;

    // Its reply is behind the messages.
    const call = connection.unary("a.B", "C", EMPTY);
    const { streamId } = await peer.nextRequest();
    peer.socket.write(data(1, "", HALF_CLOSE));
    void peer.reply(streamId, bytes("behind"));
    let answered = false;
    void call.then(() => (answered = true));

    // Another connection is not affected.
    const elsewhere = other.unary("a.B", "C", EMPTY);
    await second.reply((await second.nextRequest()).streamId, bytes("elsewhere"));
    expect(text(await elsewhere)).toBe("elsewhere");
    expect(answered).toBe(false);

    let seen = 0;
    for await (const _ of stream) seen++;
    expect(seen).toBe(count);
    expect(text(await call)).toBe("behind");
  });

  test("frees the connection when it leaves", async () => {
    await using server = await RawServer.listen();
    await using connection = await connect(server.address);
    const peer = await server.accept();
    const stream = connection.serverStreaming("a.B", "List", EMPTY);
    await peer.nextRequest();
    await writeUntilStuck(peer.socket, data(1, new Uint8Array(64 * 1024)), 128 * MIB);
    await stream.return!();
    const call = connection.unary("a.B", "C", EMPTY);
    // It follows the half-close of the stream that was left.
    const { streamId } = await nextUnaryRequest(peer);
    void peer.reply(streamId, bytes("free"));
    expect(text(await call)).toBe("free");
  });
});

describe("a server that does not read", () => {
  test("makes calls wait, up to 64 MiB; one more is ResourceExhausted, and the others are sent eventually", async () => {
    await using server = await RawServer.listen();
    await using connection = await connect(server.address);
    const peer = await server.accept();
    peer.socket.pause();
    const payload = new Uint8Array(MIB);
    let refused = 0;
    const calls = Array.from({ length: 100 }, () =>
      connection.unary("a.B", "C", payload).then(text, (error: unknown) => {
        refused++;
        return error;
      }),
    );
    // The last is refused. This many calls take several batches.
    expect(await calls.at(-1)).toMatchObject({ code: Code.ResourceExhausted });
    const left = 100 - refused;
    expect(left).toBeGreaterThanOrEqual(63);
    expect(left).toBeLessThanOrEqual(64 + 2 + SLACK / MIB);

    peer.socket.resume();
    for (let seen = 0; seen < left; seen++)
      await peer.reply((await peer.nextRequest()).streamId, bytes("sent"));
    const outcomes = await Promise.all(calls);
    expect(outcomes.filter((outcome) => outcome === "sent")).toHaveLength(left);
    const next = connection.unary("a.B", "C", EMPTY);
    await peer.reply((await peer.nextRequest()).streamId, bytes("next"));
    expect(text(await next)).toBe("next");
  });

  test("lets a waiting call end by its deadline or its signal", async () => {
    await using server = await RawServer.listen();
    await using connection = await connect(server.address);
    const peer = await server.accept();
    peer.socket.pause();
    const fill = Array.from({ length: 8 }, () =>
      failure(connection.unary("a.B", "Fill", new Uint8Array(MIB))),
    );
    const controller = new AbortController();
    const late = failure(connection.unary("a.B", "Late", EMPTY, { timeoutMs: 20 }));
    const left = failure(connection.unary("a.B", "Left", EMPTY, { signal: controller.signal }));
    expect(await late).toMatchObject({ code: Code.DeadlineExceeded });
    controller.abort();
    expect(await left).toMatchObject({ code: Code.Canceled });

    // Neither was sent.
    peer.socket.resume();
    const last = connection.unary("a.B", "Last", EMPTY);
    for (const _ of fill) expect((await peer.nextRequest()).method).toBe("Fill");
    const { streamId, method } = await peer.nextRequest();
    expect(method).toBe("Last");
    await peer.reply(streamId, bytes("last"));
    expect(text(await last)).toBe("last");
    await connection.close();
    for (const error of await Promise.all(fill)) expect(error).toMatchObject({ code: Code.Unavailable });
  });
});
