import { connect, createClient, createServer } from "containerd-shim-protos";
import { describe, expect, test } from "vitest";
import { collect, firstOf, Source, times } from "../../helpers/iterables.js";
import { aborted, bytes, deferred, text } from "../../helpers/outcome.js";
import { pairOf, pairWith, SERVICE } from "../../helpers/pair.js";
import { describeWithPeers, streamCalls, StreamPeer } from "../../helpers/stream-peer.js";
import { streamServer } from "../../helpers/stream-server.js";
import { Streaming, Streams } from "../../helpers/streaming.js";
import { temporaryAddress } from "../../helpers/temp.js";

const EMPTY = new Uint8Array();
const KIB = new Uint8Array(1024);
const MSG = "x".repeat(1000);

describe("leaving a for await", () => {
  test("of a bidirectional call ends its requests and the handler's, and other calls continue", async () => {
    const handled = deferred<number>();
    await using pair = await pairOf({
      Both: {
        kind: "bidi_streaming",
        async *handle(requests) {
          let count = 0;
          try {
            for await (const request of requests) {
              count++;
              yield request;
            }
          } finally {
            handled.resolve(count);
          }
        },
      },
      Other: {
        kind: "bidi_streaming",
        async *handle(requests) {
          yield* requests;
        },
      },
    });
    const { connection } = pair;
    const gate = deferred();
    const other = connection.bidiStreaming(
      SERVICE,
      "Other",
      new Source(async (index) => {
        if (index === 1) await gate.promise;
        return bytes(String(index));
      }, 5),
    );
    const { first, rest } = await firstOf(other);
    expect(text(first)).toBe("0");

    const never = deferred<Uint8Array>();
    const requests = new Source((index) => (index < 3 ? EMPTY : never.promise));
    for await (const _ of connection.bidiStreaming(SERVICE, "Both", requests)) break;
    expect(await handled.promise).toBe(3);
    never.resolve(EMPTY);
    await requests.left;

    gate.resolve();
    const remaining = await collect({ [Symbol.asyncIterator]: () => rest });
    expect(remaining.map(text)).toEqual(["1", "2", "3", "4"]);
    const again = connection.bidiStreaming(
      SERVICE,
      "Both",
      times(3, () => EMPTY),
    );
    expect(await collect(again)).toHaveLength(3);
  });

  test("of a server-streaming call drops what still arrives; the handler ends with the connection", async () => {
    const left = deferred();
    let sent = 0;
    await using pair = await pairOf({
      Down: {
        kind: "server_streaming",
        async *handle(_, context) {
          try {
            for (;;) {
              yield bytes(String(sent++));
              // Other calls run in between.
              if (sent % 100 === 0) await new Promise(setImmediate);
            }
          } finally {
            expect(context.signal.aborted).toBe(true);
            left.resolve();
          }
        },
      },
      Next: { kind: "unary", handle: () => bytes("next") },
    });
    const { connection } = pair;
    for await (const reply of connection.serverStreaming(SERVICE, "Down", EMPTY)) {
      if (text(reply) === "9") break;
    }
    const before = sent;
    for (let i = 0; i < 100; i++) await connection.unary(SERVICE, "Next", EMPTY);
    // ttrpc cannot tell a server that nobody reads.
    expect(sent).toBeGreaterThan(before);
    await connection.close();
    await left.promise;
  });

  test("has the same effect by an error in its body, by return and by an abandoned iterator", async () => {
    await using pair = await pairWith(streamServer());
    const client = createClient(Streaming, pair.connection);
    const inBody = new Source((seq) => ({ seq }));
    const body = (async () => {
      for await (const { seq } of client.echoStream(inBody)) throw new RangeError(String(seq));
    })();
    await expect(body).rejects.toThrow(RangeError);
    await inBody.left;

    const returned = new Source((seq) => ({ seq }));
    const iterator = client.echoStream(returned)[Symbol.asyncIterator]();
    expect(await iterator.return!()).toEqual({ value: undefined, done: true });
    await returned.left;
    expect(await iterator.next()).toEqual({ value: undefined, done: true });
    expect(await iterator.return!()).toEqual({ value: undefined, done: true });
    expect((await client.echo({ seq: 1 })).seq).toBe(2);
  });

  test("wakes a reader that waits for a message", async () => {
    await using pair = await pairWith(streamServer());
    const [asked, never] = [deferred(), deferred<{ seq: number }>()];
    const requests = new Source(() => {
      asked.resolve();
      return never.promise;
    });
    const iterator = createClient(Streaming, pair.connection).echoStream(requests)[Symbol.asyncIterator]();
    const waiting = iterator.next();
    await asked.promise;
    await iterator.return!();
    expect(await waiting).toEqual({ value: undefined, done: true });
    never.reject(new Error("too late to matter"));
    await requests.left;
  });

  test("of hundreds of calls, one after the other, leaves the connection as it was", async () => {
    await using pair = await pairWith(streamServer());
    const [streaming, streams] = [
      createClient(Streaming, pair.connection),
      createClient(Streams, pair.connection),
    ];
    for (let i = 0; i < 500; i++) {
      for await (const _ of streaming.echoStream(new Source((seq) => ({ seq, msg: MSG }), 50))) break;
      for await (const _ of streams.count({ num: 20, sum: 1000 })) break;
    }
    expect(await collect(streams.count({ num: 100 }))).toHaveLength(100);
  });
});

describe("a handler that leaves its requests early", () => {
  test("answers with what it has, 200 times, while the client keeps sending", async () => {
    await using pair = await pairOf({
      Up: {
        kind: "client_streaming",
        async handle(requests) {
          let count = 0;
          for await (const _ of requests) if (++count === 3) break;
          return bytes(`${count}`);
        },
      },
    });
    for (let i = 0; i < 200; i++) {
      const requests = new Source(() => KIB);
      expect(text(await pair.connection.clientStreaming(SERVICE, "Up", requests))).toBe("3");
      await requests.left;
    }
    // Many empty messages are sent before anything holds them up.
    const requests = new Source(() => EMPTY);
    expect(text(await pair.connection.clientStreaming(SERVICE, "Up", requests))).toBe("3");
  });

  test("may keep sending, and the client's messages hold nothing up", async () => {
    await using pair = await pairOf({
      Both: {
        kind: "bidi_streaming",
        async *handle(requests, context) {
          for await (const request of requests) {
            yield request;
            break;
          }
          // More than is ever held, so it must be dropped.
          yield* times(100, (index) => bytes(String(index)));
          if (context.signal.aborted) throw new Error("leaving the requests is not the end");
        },
      },
    });
    const chunk = new Uint8Array(64 * 1024);
    const requests = new Source((index) => (index === 0 ? bytes("first") : chunk));
    const replies = await collect(pair.connection.bidiStreaming(SERVICE, "Both", requests));
    expect(replies.map(text)).toEqual(["first", ...Array.from({ length: 100 }, (_, i) => `${i}`)]);
    await requests.left;
  });

  test("may never read them", async () => {
    await using pair = await pairOf({
      Up: { kind: "client_streaming", handle: async () => bytes("done") },
      Both: {
        kind: "bidi_streaming",
        async *handle() {
          yield bytes("done");
        },
      },
    });
    const chunk = new Uint8Array(64 * 1024);
    const [up, both] = [new Source(() => chunk), new Source(() => chunk)];
    expect(text(await pair.connection.clientStreaming(SERVICE, "Up", up))).toBe("done");
    const replies = await collect(pair.connection.bidiStreaming(SERVICE, "Both", both));
    expect(replies.map(text)).toEqual(["done"]);
    await Promise.all([up.left, both.left]);
  });
});

describeWithPeers("leaving a stream with the server in $peer", (language) => {
  test("frees it, and the connection carries other calls and a second stream", async () => {
    await using peer = await StreamPeer.serve(language);
    await using connection = await connect(peer.address);
    const [streaming, streams] = [createClient(Streaming, connection), createClient(Streams, connection)];
    for (let i = 0; i < 100; i++) {
      const requests = new Source((seq) => ({ seq }), 10);
      for await (const _ of streaming.echoStream(requests)) break;
      await requests.left;
      for await (const _ of streams.count({ num: 100, sum: 100 })) break;
      for await (const _ of streams.hang({ seq: 1 })) break;
      expect((await streaming.echo({ seq: i })).seq).toBe(i + 1);
    }
    expect(await collect(streaming.echoStream(times(100, (seq) => ({ seq }))))).toHaveLength(100);
  });
});

describeWithPeers("a handler of ours that leaves the requests of the client in $peer early", (language) => {
  test("answers with what it has, 100 times, and later messages do not change that", async () => {
    await using server = createServer().add(Streaming, {
      async sumStream(requests) {
        let count = 0;
        for await (const _ of requests) if (++count === 3) break;
        // What the client expects for 50 messages.
        return { sum: 1225, num: 50 };
      },
    });
    const address = await server.listen(temporaryAddress());
    const results = await streamCalls(language, address, "SumStream", { count: 50, repeat: 100 });
    expect(results).toEqual(Array.from({ length: 100 }, () => ({ method: "SumStream", received: 50 })));
  });
});

test("a stream that is left while its handler waits for its signal ends with the connection", async () => {
  const reason = deferred<unknown>();
  await using pair = await pairOf({
    Down: {
      kind: "server_streaming",
      async *handle(_, context) {
        yield EMPTY;
        reason.resolve(await aborted(context.signal));
      },
    },
  });
  for await (const _ of pair.connection.serverStreaming(SERVICE, "Down", EMPTY)) break;
  await pair.connection.close();
  expect(await reason.promise).toMatchObject({ code: 1 });
});
