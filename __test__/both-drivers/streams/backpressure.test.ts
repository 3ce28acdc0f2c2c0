import { connect, createClient } from "containerd-shim-protos";
import { describe, expect, test } from "vitest";
import { collect, firstOf, Source, standstill, times } from "../../helpers/iterables.js";
import { bytes, deferred, text } from "../../helpers/outcome.js";
import {
  closeFrame,
  dataFrame,
  Flag,
  openingFrame,
  pairOf,
  pairWith,
  rawClientOf,
  rawServerOf,
  SERVICE,
} from "../../helpers/pair.js";
import { describeWithPeers, StreamPeer } from "../../helpers/stream-peer.js";
import { streamServer } from "../../helpers/stream-server.js";
import { Streaming, Streams } from "../../helpers/streaming.js";

const EMPTY = new Uint8Array();
const MIB = 1 << 20;
const CHUNK = 64 * 1024;
/** This many chunks make 64 MiB. */
const COUNT = 1024;
/**
 * What may be in flight while nobody reads: 4 MiB of unread messages and the reading of one turn, what the kernel's
 * socket holds, and 1 MiB each in the sender's window and before the socket.
 */
const BOUND = 10 * MIB;

const chunk = (index: number): Uint8Array => {
  const message = new Uint8Array(CHUNK);
  new DataView(message.buffer).setUint32(0, index);
  return message;
};
const numberOf = (message: Uint8Array) => new DataView(message.buffer, message.byteOffset).getUint32(0);

/** All chunks must be there, in order. */
function expectChunks(messages: readonly Uint8Array[], count: number, first = 0): void {
  expect(messages).toHaveLength(count);
  expect(messages.every((message, index) => numberOf(message) === first + index)).toBe(true);
}

/** A server whose ticks are unrelated unary calls on a connection of their own: they measure time without a clock. */
async function clock() {
  const pair = await pairOf({ Tick: { kind: "unary", handle: () => EMPTY } });
  return {
    tick: () => pair.connection.unary(SERVICE, "Tick", EMPTY),
    [Symbol.asyncDispose]: () => pair[Symbol.asyncDispose](),
  };
}

describe("a reader that reads nothing", () => {
  test("of a server-streaming call stops our server's generator within a few MiB; later everything arrives", async () => {
    await using time = await clock();
    let yielded = 0;
    await using pair = await pairOf({
      Down: {
        kind: "server_streaming",
        async *handle() {
          for (; yielded < COUNT; yielded++) yield chunk(yielded);
        },
      },
    });
    const replies = pair.connection.serverStreaming(SERVICE, "Down", EMPTY);
    const stuck = await standstill(() => yielded, time.tick);
    expect(stuck * CHUNK).toBeGreaterThan(MIB);
    expect(stuck * CHUNK).toBeLessThan(BOUND);
    expectChunks(await collect(replies), COUNT);
  });

  test("in our handler stops the client's requests within a few MiB; later everything arrives", async () => {
    await using time = await clock();
    const gate = deferred();
    const got: Uint8Array[] = [];
    await using pair = await pairOf({
      Up: {
        kind: "client_streaming",
        async handle(requests) {
          await gate.promise;
          for await (const request of requests) got.push(request);
          return EMPTY;
        },
      },
    });
    const requests = new Source(chunk, COUNT);
    const call = pair.connection.clientStreaming(SERVICE, "Up", requests);
    const stuck = await standstill(() => requests.taken, time.tick);
    expect(stuck * CHUNK).toBeGreaterThan(MIB);
    expect(stuck * CHUNK).toBeLessThan(BOUND);
    gate.resolve();
    await call;
    expectChunks(got, COUNT);
  });

  test("of tiny messages holds few of them, because each counts with its overhead", async () => {
    await using time = await clock();
    let yielded = 0;
    const total = 1_000_000;
    await using pair = await pairOf({
      Down: {
        kind: "server_streaming",
        async *handle() {
          for (; yielded < total; yielded++) yield EMPTY;
        },
      },
    });
    const replies = pair.connection.serverStreaming(SERVICE, "Down", EMPTY);
    const stuck = await standstill(() => yielded, time.tick);
    expect(stuck).toBeLessThan(total / 2);
    let count = 0;
    for await (const _ of replies) count++;
    expect(count).toBe(total);
  }, 60_000);

  test("of a bidirectional echo stops the requests in the end; later everything arrives", async () => {
    await using time = await clock();
    await using pair = await pairOf({
      Echo: {
        kind: "bidi_streaming",
        async *handle(requests) {
          yield* requests;
        },
      },
    });
    const requests = new Source(chunk, COUNT);
    const replies = pair.connection.bidiStreaming(SERVICE, "Echo", requests);
    const stuck = await standstill(() => requests.taken, time.tick);
    expect(stuck * CHUNK).toBeLessThan(2 * BOUND);
    expectChunks(await collect(replies), COUNT);
  });

  test("bounds what a server of raw frames can send to our client", async () => {
    await using time = await clock();
    await using raw = await rawServerOf();
    const { connection, peer } = raw;
    const replies = connection.serverStreaming(SERVICE, "Down", EMPTY);
    const { streamId } = await peer.nextRequest();
    for (let index = 0; index < COUNT; index++) peer.socket.write(dataFrame(streamId, chunk(index)));
    peer.socket.write(closeFrame(streamId));
    const left = () => peer.socket.bytesWritten - peer.socket.writableLength;
    expect(await standstill(left, time.tick)).toBeLessThan(BOUND);
    expectChunks(await collect(replies), COUNT);
  });

  test("holds nothing up once it has left, even if its own requests are stuck", async () => {
    await using time = await clock();
    await using raw = await rawServerOf();
    const { connection, peer } = raw;
    const requests = new Source(chunk, COUNT);
    const replies = connection.bidiStreaming(SERVICE, "Both", requests)[Symbol.asyncIterator]();
    const { streamId } = await peer.nextRequest();
    peer.socket.pause();
    await standstill(() => requests.taken, time.tick);
    await replies.return!();
    const flood = Buffer.concat(
      Array.from({ length: COUNT }, (_, index) => dataFrame(streamId, chunk(index))),
    );
    // The callback runs once the kernel has taken all of it.
    const written = new Promise<void>((resolve) => peer.socket.write(flood, () => resolve()));
    await expect(written).resolves.toBeUndefined();
  });

  test("bounds what a client of raw frames can send to our server", async () => {
    await using time = await clock();
    const gate = deferred();
    const got: Uint8Array[] = [];
    await using raw = await rawClientOf({
      Up: {
        kind: "client_streaming",
        async handle(requests) {
          await gate.promise;
          for await (const request of requests) got.push(request);
          return bytes("done");
        },
      },
    });
    const { socket } = raw.peer;
    socket.write(openingFrame(1, Flag.RemoteOpen, { method: "Up" }));
    for (let index = 0; index < COUNT; index++) socket.write(dataFrame(1, chunk(index)));
    socket.write(closeFrame(1));
    const left = () => socket.bytesWritten - socket.writableLength;
    expect(await standstill(left, time.tick)).toBeLessThan(BOUND);
    gate.resolve();
    expect(text((await raw.peer.nextResponse()).payload)).toBe("done");
    expectChunks(got, COUNT);
  });
});

describe("a peer that stops reading its socket", () => {
  test("makes our client's request iterable wait", async () => {
    await using time = await clock();
    await using raw = await rawServerOf();
    const { connection, peer } = raw;
    const requests = new Source(chunk, COUNT);
    const call = connection.clientStreaming(SERVICE, "Up", requests);
    const { streamId } = await peer.nextRequest();
    peer.socket.pause();
    const stuck = await standstill(() => requests.taken, time.tick);
    expect(stuck * CHUNK).toBeLessThan(BOUND);
    peer.socket.resume();
    const got: Uint8Array[] = [];
    while (got.length < COUNT) got.push((await peer.nextFrame()).body);
    expectChunks(got, COUNT);
    expect(await peer.nextFrame()).toMatchObject({ streamId, flags: 5 });
    await peer.reply(streamId, bytes("done"));
    expect(text(await call)).toBe("done");
  });

  test("makes our handler's generator wait", async () => {
    await using time = await clock();
    let yielded = 0;
    await using raw = await rawClientOf({
      Down: {
        kind: "server_streaming",
        async *handle() {
          for (; yielded < COUNT; yielded++) yield chunk(yielded);
        },
      },
    });
    const { peer } = raw;
    peer.socket.pause();
    await peer.send(openingFrame(1, Flag.RemoteClosed, { method: "Down" }));
    const stuck = await standstill(() => yielded, time.tick);
    expect(stuck * CHUNK).toBeLessThan(BOUND);
    peer.socket.resume();
    const got: Uint8Array[] = [];
    while (got.length < COUNT) got.push((await peer.nextFrame()).body);
    expectChunks(got, COUNT);
    expect(await peer.nextFrame()).toMatchObject({ streamId: 1, flags: 5 });
  });

  test("holds nothing up once the waiting stream is canceled", async () => {
    await using time = await clock();
    await using raw = await rawServerOf();
    const { connection, peer } = raw;
    const abort = new AbortController();
    const requests = new Source(chunk);
    const call = connection.clientStreaming(SERVICE, "Up", requests, { signal: abort.signal });
    peer.socket.pause();
    await standstill(() => requests.taken, time.tick);
    abort.abort();
    await expect(call).rejects.toMatchObject({ code: 1 });
    await requests.left;
    peer.socket.resume();
    const unary = connection.unary(SERVICE, "Next", EMPTY);
    for (;;) {
      const frame = await peer.nextFrame();
      if (frame.type === 1 && frame.flags === 0) {
        await peer.reply(frame.streamId, bytes("next"));
        break;
      }
    }
    expect(text(await unary)).toBe("next");
  });
});

describe("unary calls on the connection of a big stream", () => {
  test("of ours in both directions are answered all along", async () => {
    await using pair = await pairOf({
      Echo: {
        kind: "bidi_streaming",
        async *handle(requests) {
          yield* requests;
        },
      },
      Next: { kind: "unary", handle: (payload) => payload },
    });
    const { connection } = pair;
    const over = new AbortController();
    const stream = collect(connection.bidiStreaming(SERVICE, "Echo", times(COUNT, chunk))).finally(() =>
      over.abort(),
    );
    let answered = 0;
    while (!over.signal.aborted) {
      expect(text(await connection.unary(SERVICE, "Next", bytes(String(answered))))).toBe(String(answered));
      answered++;
    }
    expectChunks(await stream, COUNT);
    expect(answered).toBeGreaterThan(10);
  });

  test("are answered while a handler reads nothing of its stream", async () => {
    await using time = await clock();
    const gate = deferred();
    await using pair = await pairOf({
      Up: {
        kind: "client_streaming",
        async handle(requests) {
          await gate.promise;
          return bytes(String((await collect(requests)).length));
        },
      },
      Next: { kind: "unary", handle: (payload) => payload },
    });
    const { connection } = pair;
    // Too little to stop the connection.
    const requests = new Source(chunk, 40);
    const call = connection.clientStreaming(SERVICE, "Up", requests);
    await standstill(() => requests.taken, time.tick);
    expect(text(await connection.unary(SERVICE, "Next", bytes("next")))).toBe("next");
    gate.resolve();
    expect(text(await call)).toBe("40");
  });
});

describeWithPeers("a big stream with the server in $peer", (language) => {
  const msg = "x".repeat(CHUNK - 16);

  test("that is not read for a while arrives whole and in order", async () => {
    await using time = await clock();
    await using peer = await StreamPeer.serve(language);
    await using connection = await connect(peer.address);
    const { first, rest } = await firstOf(
      createClient(Streams, connection).count({ num: COUNT, sum: CHUNK }),
    );
    expect(first.seq).toBe(0);
    for (let i = 0; i < 500; i++) await time.tick();
    const others = await collect({ [Symbol.asyncIterator]: () => rest });
    expect(others.map(({ seq }) => seq)).toEqual(Array.from({ length: COUNT - 1 }, (_, index) => index + 1));
    expect(others.every((other) => other.msg.length === CHUNK)).toBe(true);
  });

  test("runs both ways, while unary calls are answered all along", async () => {
    await using peer = await StreamPeer.serve(language);
    await using connection = await connect(peer.address);
    const client = createClient(Streaming, connection);
    const over = new AbortController();
    const stream = collect(client.echoStream(times(COUNT, (seq) => ({ seq, msg })))).finally(() =>
      over.abort(),
    );
    let answered = 0;
    while (!over.signal.aborted) expect((await client.echo({ seq: answered++ })).seq).toBe(answered);
    const replies = await stream;
    expect(replies.map(({ seq }) => seq)).toEqual(Array.from({ length: COUNT }, (_, index) => index + 1));
    expect(answered).toBeGreaterThan(10);
  });
});

test("runs both ways beside fifteen others on its connection, each in order", async () => {
  await using pair = await pairWith(streamServer());
  const client = createClient(Streaming, pair.connection);
  const msg = "x".repeat(4096);
  const streams = Array.from({ length: 16 }, () =>
    collect(client.echoStream(times(500, (seq) => ({ seq, msg })))),
  );
  for (const replies of await Promise.all(streams)) {
    expect(replies.map(({ seq }) => seq)).toEqual(Array.from({ length: 500 }, (_, index) => index + 1));
  }
});
