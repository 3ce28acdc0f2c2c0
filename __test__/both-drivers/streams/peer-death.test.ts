import { Code, connect, createClient, createServer, type TtrpcError } from "containerd-shim-protos";
import { describe, expect, test } from "vitest";
import { collect, firstOf, Source, standstill } from "../../helpers/iterables.js";
import { aborted, deferred, failure, rejection } from "../../helpers/outcome.js";
import { pairWith } from "../../helpers/pair.js";
import { describeWithPeers, holdingPeer, StreamPeer } from "../../helpers/stream-peer.js";
import { streams, streamServer } from "../../helpers/stream-server.js";
import { type EchoPayload, Streaming, Streams } from "../../helpers/streaming.js";
import { temporaryAddress } from "../../helpers/temp.js";

const UNAVAILABLE = { code: Code.Unavailable };

/** Handlers that record how they ended: what their requests threw, and why their signal aborted. */
function watched() {
  const ended: { method: string; thrown: unknown; reason: unknown }[] = [];
  const [first, all] = [deferred(), deferred()];
  let open = 0;
  async function* watch<T>(
    method: string,
    signal: AbortSignal,
    body: () => AsyncIterable<T>,
  ): AsyncGenerator<T> {
    open++;
    let thrown: unknown;
    try {
      for await (const message of body()) yield message;
    } catch (error) {
      thrown = error;
      throw error;
    } finally {
      ended.push({ method, thrown, reason: signal.reason });
      if (--open === 0) all.resolve();
    }
  }
  const server = createServer()
    .add(Streaming, {
      echo: ({ seq }) => ({ seq }),
      async *echoStream(requests, { signal }) {
        yield* watch("echoStream", signal, async function* () {
          for await (const { seq, msg } of requests) {
            yield { seq: seq + 1, msg };
            first.resolve();
          }
        });
      },
      async sumStream(requests, { signal }) {
        for await (const _ of watch("sumStream", signal, () => requests)) first.resolve();
        return {};
      },
    })
    .add(Streams, {
      ...streams,
      async *hang(request, { signal }) {
        yield* watch("hang", signal, async function* () {
          yield request;
          first.resolve();
          await aborted(signal);
        });
      },
    });
  return { server, ended, first: first.promise, all: all.promise };
}

describeWithPeers("our client, when the server in $peer is killed,", (language) => {
  test("throws Unavailable from every stream and call, once, and says why the connection closed", async () => {
    const peer = await StreamPeer.serve(language);
    const connection = await connect(peer.address);
    const [streaming, extras] = [createClient(Streaming, connection), createClient(Streams, connection)];
    const never = deferred<object>();
    const [bidi, up] = [
      new Source((seq) => (seq === 0 ? { seq } : never.promise)),
      new Source((add) => (add === 0 ? { add } : never.promise)),
    ];
    const both = await firstOf(streaming.echoStream(bidi));
    const down = await firstOf(extras.hang({ seq: 1 }));
    const sum = failure(streaming.sumStream(up));
    const waiting = [failure(both.rest.next()), failure(down.rest.next()), sum];
    await peer.kill();
    for (const outcome of waiting) expect(await outcome).toMatchObject(UNAVAILABLE);
    expect((await Promise.all(waiting)).map(({ cause }) => cause)).toMatchObject([
      { code: expect.stringMatching(/^(ERR_TTRPC_CLOSED|ECONNRESET)$/) as string },
      { code: expect.stringMatching(/^(ERR_TTRPC_CLOSED|ECONNRESET)$/) as string },
      { code: expect.stringMatching(/^(ERR_TTRPC_CLOSED|ECONNRESET)$/) as string },
    ]);
    expect(await both.rest.next()).toEqual({ value: undefined, done: true });
    await Promise.all([bidi.left, up.left]);
    const why = await connection.closed;
    expect(["remote", "error"]).toContain(why.reason);
    expect(await failure(collect(streaming.echoStream(bidi)))).toMatchObject(UNAVAILABLE);
    await connection.close();
  });

  test("delivers what had arrived before the error", async () => {
    const peer = await StreamPeer.serve(language);
    await using connection = await connect(peer.address);
    const never = deferred<object>();
    const requests = new Source((seq) => (seq < 10 ? { seq } : never.promise));
    const replies = createClient(Streaming, connection).echoStream(requests)[Symbol.asyncIterator]();
    for (let seq = 1; seq <= 5; seq++) expect((await replies.next()).value).toMatchObject({ seq });
    // Once a later call is answered, the other five messages have arrived.
    await createClient(Streaming, connection).echo({});
    await peer.kill();
    await connection.closed;
    const rest: EchoPayload[] = [];
    const error = await failure(
      (async () => {
        for await (const reply of { [Symbol.asyncIterator]: () => replies }) rest.push(reply);
      })(),
    );
    expect(rest.map(({ seq }) => seq)).toEqual([6, 7, 8, 9, 10].slice(0, rest.length));
    expect(error).toMatchObject(UNAVAILABLE);
  });

  test("stops sending, in the middle of 64 KiB messages", async () => {
    const peer = await StreamPeer.serve(language);
    await using connection = await connect(peer.address);
    const msg = "x".repeat(65_536);
    const requests = new Source((seq) => ({ seq, msg }));
    let received = 0;
    const outcome = failure(
      (async () => {
        for await (const _ of createClient(Streaming, connection).echoStream(requests)) {
          if (++received === 50) void peer.kill();
        }
      })(),
    );
    expect(await outcome).toMatchObject(UNAVAILABLE);
    await requests.left;
  });
});

describeWithPeers("our server, when the client in $peer is killed,", (language) => {
  test.each(["EchoStream", "SumStream", "Hang"])(
    "aborts the signal of %s, wakes it from where it waits, and runs its finally",
    async (method) => {
      const { server, ended, all } = watched();
      const address = await server.listen(temporaryAddress());
      const client = await holdingPeer(language, address, method);
      await client.kill();
      await all;
      expect(ended).toHaveLength(1);
      expect(ended[0]).toMatchObject({ reason: { code: Code.Canceled } });
      await server.close();
    },
  );

  test("aborts fifty handlers of fifty clients, and keeps serving", async () => {
    const { server, ended } = watched();
    const address = await server.listen(temporaryAddress());
    for (let round = 0; round < 5; round++) {
      const clients = await Promise.all(
        Array.from({ length: 10 }, () => holdingPeer(language, address, "EchoStream", { count: 3 })),
      );
      await Promise.all(clients.map((client) => client.kill()));
    }
    await using connection = await connect(address);
    await createClient(Streaming, connection).echo({});
    await server.close({ graceMs: 0 });
    expect(ended).toHaveLength(50);
    for (const { reason } of ended) expect(reason).toMatchObject({ code: Code.Canceled });
  });

  test("aborts a handler that reads nothing of its stream", async () => {
    const [reason, started] = [deferred<unknown>(), deferred()];
    await using server = createServer().add(Streaming, {
      async sumStream(_, { signal }) {
        started.resolve();
        reason.resolve(await aborted(signal));
        return {};
      },
    });
    const address = await server.listen(temporaryAddress());
    const client = await holdingPeer(language, address, "SumStream", { count: 1 });
    await started.promise;
    await client.kill();
    expect(await reason.promise).toMatchObject({ code: Code.Canceled });
  });
});

test("a handler whose connection is full and not read is aborted when the peer has gone", async () => {
  const [reason, started] = [deferred<unknown>(), deferred()];
  await using server = createServer().addRaw("a.B", {
    Up: {
      kind: "client_streaming",
      async handle(_, { signal }) {
        started.resolve();
        reason.resolve(await aborted(signal));
        return new Uint8Array();
      },
    },
    Tick: { kind: "unary", handle: () => new Uint8Array() },
  });
  const address = await server.listen(temporaryAddress());
  await using other = await connect(address);
  const connection = await connect(address);
  const requests = new Source(() => new Uint8Array(65_536));
  const call = rejection(connection.clientStreaming("a.B", "Up", requests));
  await started.promise;
  await standstill(
    () => requests.taken,
    () => other.unary("a.B", "Tick", new Uint8Array()),
  );
  await connection.close();
  expect(await call).toMatchObject(UNAVAILABLE);
  expect(await reason.promise).toMatchObject({ code: Code.Canceled });
});

describe("a server that closes with streams open", () => {
  test("aborts their signals with Unavailable, wakes them, and its client gets Unavailable", async () => {
    const { server, ended, all } = watched();
    const pair = await pairWith(server);
    const [streaming, extras] = [
      createClient(Streaming, pair.connection),
      createClient(Streams, pair.connection),
    ];
    const never = deferred<object>();
    const both = await firstOf(
      streaming.echoStream(new Source((seq) => (seq === 0 ? { seq } : never.promise))),
    );
    const down = await firstOf(extras.hang({ seq: 1 }));
    const sum = failure(streaming.sumStream(new Source(() => never.promise)));
    await streaming.echo({});
    const waiting = [both.rest.next(), down.rest.next()].map((next) => failure(next));
    await server.close({ graceMs: 0 });
    await all;
    expect(ended.map(({ method }) => method).toSorted()).toEqual(["echoStream", "hang", "sumStream"]);
    for (const { reason } of ended) expect(reason).toMatchObject(UNAVAILABLE);
    const outcomes: TtrpcError[] = await Promise.all([...waiting, sum]);
    for (const outcome of outcomes) expect(outcome).toMatchObject(UNAVAILABLE);
    await pair.connection.closed;
  });

  test("lets those that end in time finish, and delivers all that they sent", async () => {
    const server = streamServer();
    const pair = await pairWith(server);
    const gate = deferred();
    const requests = new Source(async (seq) => {
      if (seq === 1) await gate.promise;
      return { seq };
    }, 1000);
    const { rest } = await firstOf(createClient(Streaming, pair.connection).echoStream(requests));
    const closed = server.close({ graceMs: 10_000 });
    gate.resolve();
    const replies = await collect({ [Symbol.asyncIterator]: () => rest });
    expect(replies.map(({ seq }) => seq)).toEqual(Array.from({ length: 999 }, (_, index) => index + 2));
    await closed;
    await pair.connection.closed;
  });

  test("refuses new streams with Unavailable while it waits for the others", async () => {
    const server = streamServer();
    const pair = await pairWith(server);
    const client = createClient(Streaming, pair.connection);
    const gate = deferred<object>();
    const { rest } = await firstOf(
      client.echoStream(new Source((seq) => (seq === 0 ? { seq } : gate.promise), 2)),
    );
    const closed = server.close({ graceMs: 10_000 });
    expect(await failure(collect(client.divideStream({ num: 1 })))).toMatchObject(UNAVAILABLE);
    gate.resolve({});
    expect((await rest.next()).value).toMatchObject({ seq: 1 });
    expect(await rest.next()).toEqual({ value: undefined, done: true });
    await closed;
  });
});

test("our client's own close ends its streams with Unavailable, and the handlers' with Canceled", async () => {
  const { server, ended, all } = watched();
  await using pair = await pairWith(server);
  const streaming = createClient(Streaming, pair.connection);
  const never = deferred<object>();
  const { rest } = await firstOf(
    streaming.echoStream(new Source((seq) => (seq === 0 ? { seq } : never.promise))),
  );
  const next = failure(rest.next());
  await pair.connection.close();
  expect(await next).toMatchObject({ ...UNAVAILABLE, cause: { code: "ERR_TTRPC_CLOSED" } });
  await all;
  expect(ended).toMatchObject([{ method: "echoStream", reason: { code: Code.Canceled } }]);
});
