import {
  type ClientCall,
  type ClientInterceptor,
  Code,
  connect,
  createClient,
  type ServerCall,
  type ServerInterceptor,
  TtrpcError,
} from "containerd-shim-protos";
import { describe, expect, test } from "vitest";
import { collect, firstOf, Source, times } from "../../helpers/iterables.js";
import { deferred, failure } from "../../helpers/outcome.js";
import { pairWith } from "../../helpers/pair.js";
import { describeWithPeers, streamCalls, StreamPeer } from "../../helpers/stream-peer.js";
import { streamServer } from "../../helpers/stream-server.js";
import { type EchoPayload, Streaming, Streams } from "../../helpers/streaming.js";
import { temporaryAddress } from "../../helpers/temp.js";

/** Records each call on its way in and its outcome on its way out. */
function noting(name: string, notes: string[]) {
  return (next: (call: never) => Promise<unknown>) => async (call: ClientCall | ServerCall) => {
    notes.push(`${name} > ${call.service.split(".").at(-1)}/${call.method} ${call.kind}`);
    try {
      return await next(call as never);
    } finally {
      notes.push(`${name} < ${call.method}`);
    }
  };
}

async function* map<T>(messages: AsyncIterable<T>, change: (message: T) => T): AsyncGenerator<T> {
  for await (const message of messages) yield change(message);
}

/** Makes one call of each kind. */
async function allKinds(client: ReturnType<typeof createClient<typeof Streaming>>) {
  return {
    unary: (await client.echo({ seq: 1 })).seq,
    down: (await collect(client.divideStream({ sum: 6, num: 3 }))).map(({ add }) => add),
    up: (await client.sumStream(times(3, (add) => ({ add })))).sum,
    both: (await collect(client.echoStream(times(3, (seq) => ({ seq }))))).map(({ seq }) => seq),
  };
}

const ANSWERS = { unary: 2, down: [0, 1, 5], up: 3, both: [1, 2, 3] };
const CALLS = [
  ["Echo", "unary"],
  ["DivideStream", "server_streaming"],
  ["SumStream", "client_streaming"],
  ["EchoStream", "bidi_streaming"],
] as const;
const ORDER = CALLS.flatMap(([method, kind]) => [
  `outer > Streaming/${method} ${kind}`,
  `inner > Streaming/${method} ${kind}`,
  `inner < ${method}`,
  `outer < ${method}`,
]);

describe("interceptors of a client", () => {
  test("see every kind of call, the first of the list outermost", async () => {
    await using pair = await pairWith(streamServer());
    const notes: string[] = [];
    const interceptors = [noting("outer", notes), noting("inner", notes)] as ClientInterceptor[];
    expect(await allKinds(createClient(Streaming, pair.connection, { interceptors }))).toEqual(ANSWERS);
    expect(notes).toEqual(ORDER);
  });

  test("add metadata and a deadline to every kind of call", async () => {
    const seen: unknown[] = [];
    const server = streamServer({
      interceptors: [
        (next) => async (call) => {
          const { method, context } = call;
          seen.push([method, context.metadata, Math.round(context.timeoutMs ?? 0)]);
          return next(call);
        },
      ],
    });
    await using pair = await pairWith(server);
    const adding: ClientInterceptor = (next) => async (call) => {
      call.metadata["added"] = ["a", "b"];
      return next({ ...call, timeoutMs: 60_000 });
    };
    const client = createClient(Streaming, pair.connection, { interceptors: [adding] });
    await collect(
      client.echoStream(
        times(0, () => ({})),
        { metadata: { own: "x" } },
      ),
    );
    await allKinds(client);
    expect(seen).toEqual([
      ["EchoStream", { own: ["x"], added: ["a", "b"] }, 60_000],
      ...CALLS.map(([method]) => [method, { added: ["a", "b"] }, 60_000]),
    ]);
  });

  test("wrap requests and responses of streams", async () => {
    await using pair = await pairWith(streamServer());
    const wrapping: ClientInterceptor = (next) => async (call) => {
      const doubled = map(
        call.request as AsyncIterable<EchoPayload>,
        ({ seq }) => ({ seq: seq * 2 }) as never,
      );
      const replies = (await next({ ...call, request: doubled })) as AsyncIterable<EchoPayload>;
      return map(replies, (reply) => ({ ...reply, seq: reply.seq + 100 }));
    };
    const client = createClient(Streaming, pair.connection, { interceptors: [wrapping] });
    const replies = await collect(client.echoStream(times(3, (seq) => ({ seq }))));
    expect(replies.map(({ seq }) => seq)).toEqual([101, 103, 105]);
  });

  test("are left, together with their stream, when the reader leaves its for await", async () => {
    await using pair = await pairWith(streamServer());
    const passing: ClientInterceptor = (next) => (call) => next(call);
    const client = createClient(Streaming, pair.connection, { interceptors: [passing, passing] });
    const requests = new Source((seq) => ({ seq, msg: "x".repeat(1000) }));
    for await (const _ of client.echoStream(requests)) break;
    await requests.left;
    expect((await client.echo({ seq: 1 })).seq).toBe(2);
  });

  test("end a stream that is left before its first message", async () => {
    await using pair = await pairWith(streamServer());
    const passing: ClientInterceptor = (next) => (call) => next(call);
    const client = createClient(Streaming, pair.connection, { interceptors: [passing] });
    const never = deferred<object>();
    const requests = new Source(() => never.promise);
    const replies = client.echoStream(requests)[Symbol.asyncIterator]();
    expect(await replies.return!()).toEqual({ value: undefined, done: true });
    await requests.left;
    expect(await replies.next()).toEqual({ value: undefined, done: true });
  });

  test("give a reader that left nothing more, even if their iterator cannot be left", async () => {
    await using pair = await pairWith(streamServer());
    const endless: ClientInterceptor = () => async () => ({
      [Symbol.asyncIterator]: () => ({ next: async () => ({ value: { seq: 1 }, done: false }) }),
    });
    const client = createClient(Streaming, pair.connection, { interceptors: [endless] });
    const replies = client.echoStream([]);
    for await (const _ of replies) break;
    for await (const reply of replies) expect(reply).toBeUndefined();
  });

  test("end a stream that is left while a reader waits for a message, and wake the reader", async () => {
    await using pair = await pairWith(streamServer());
    const passing: ClientInterceptor = (next) => (call) => next(call);
    const client = createClient(Streaming, pair.connection, { interceptors: [passing] });
    const [asked, never] = [deferred(), deferred<object>()];
    const requests = new Source(() => {
      asked.resolve();
      return never.promise;
    });
    const replies = client.echoStream(requests)[Symbol.asyncIterator]();
    const waiting = replies.next();
    await asked.promise;
    await replies.return!();
    expect(await waiting).toEqual({ value: undefined, done: true });
    await requests.left;
  });

  test("fail a call with what they throw, where its caller sees it", async () => {
    await using pair = await pairWith(streamServer());
    const refusing: ClientInterceptor = () => async () => {
      throw new TtrpcError("refused here", Code.PermissionDenied);
    };
    const client = createClient(Streaming, pair.connection, { interceptors: [refusing] });
    const outcomes = [
      client.echo({}),
      collect(client.divideStream({})),
      client.sumStream(times(1, () => ({}))),
      collect(client.echoStream(times(1, () => ({})))),
    ];
    for (const outcome of outcomes) {
      expect(await failure(outcome)).toMatchObject({
        code: Code.PermissionDenied,
        rawMessage: "refused here",
      });
    }
  });

  test("start a streaming call when it is made, not when it is first read", async () => {
    const started = deferred();
    const server = streamServer({
      interceptors: [
        (next) => async (call) => {
          started.resolve();
          return next(call);
        },
      ],
    });
    await using pair = await pairWith(server);
    const passing: ClientInterceptor = (next) => (call) => next(call);
    const client = createClient(Streaming, pair.connection, { interceptors: [passing] });
    const replies = client.divideStream({ sum: 1, num: 2 });
    await started.promise;
    expect(await collect(replies)).toHaveLength(2);
  });

  test("of a stream that fails unread cause no unhandled rejection", async () => {
    await using pair = await pairWith(streamServer());
    const unhandled: unknown[] = [];
    const note = (reason: unknown) => unhandled.push(reason);
    process.on("unhandledRejection", note);
    const refusing: ClientInterceptor = () => async () => {
      throw new TtrpcError("refused here", Code.PermissionDenied);
    };
    const client = createClient(Streaming, pair.connection, { interceptors: [refusing] });
    const replies = client.divideStream({});
    await createClient(Streaming, pair.connection).echo({});
    await new Promise(setImmediate);
    expect((await failure(collect(replies))).code).toBe(Code.PermissionDenied);
    process.off("unhandledRejection", note);
    expect(unhandled).toEqual([]);
  });
});

describe("interceptors of a server", () => {
  test("see every kind of call, the first of the list outermost", async () => {
    const notes: string[] = [];
    const interceptors = [noting("outer", notes), noting("inner", notes)] as ServerInterceptor[];
    await using pair = await pairWith(streamServer({ interceptors }));
    expect(await allKinds(createClient(Streaming, pair.connection))).toEqual(ANSWERS);
    expect(notes).toEqual(ORDER);
  });

  test("wrap requests and responses of streams", async () => {
    const wrapping: ServerInterceptor = (next) => async (call) => {
      if (call.kind !== "bidi_streaming") return next(call);
      const doubled = map(call.request as AsyncIterable<EchoPayload>, (message) => {
        return { ...message, seq: message.seq * 2 };
      });
      const replies = (await next({ ...call, request: doubled })) as AsyncIterable<EchoPayload>;
      return map(replies, (reply) => ({ ...reply, seq: reply.seq + 100 }));
    };
    await using pair = await pairWith(streamServer({ interceptors: [wrapping] }));
    const replies = createClient(Streaming, pair.connection).echoStream(times(3, (seq) => ({ seq })));
    expect((await collect(replies)).map(({ seq }) => seq)).toEqual([101, 103, 105]);
  });

  test("refuse a call of any kind with a status of their own", async () => {
    const refusing: ServerInterceptor = () => async () => {
      throw new TtrpcError("refused there", Code.Unauthenticated);
    };
    await using pair = await pairWith(streamServer({ interceptors: [refusing] }));
    const client = createClient(Streaming, pair.connection);
    const outcomes = [
      client.echo({}),
      collect(client.divideStream({})),
      client.sumStream(times(1, () => ({}))),
      collect(client.echoStream(times(1, () => ({})))),
    ];
    for (const outcome of outcomes) {
      expect(await failure(outcome)).toMatchObject({
        code: Code.Unauthenticated,
        rawMessage: "refused there",
      });
    }
  });

  test("are left when the caller of a stream goes", async () => {
    const left = deferred();
    const watching: ServerInterceptor = (next) => async (call) => {
      const replies = (await next(call)) as AsyncIterable<unknown>;
      return (async function* () {
        try {
          yield* replies;
        } finally {
          left.resolve();
        }
      })();
    };
    await using pair = await pairWith(streamServer({ interceptors: [watching] }));
    const client = await connect(pair.address);
    await firstOf(createClient(Streams, client).hang({ seq: 1 }));
    await client.close();
    await expect(left.promise).resolves.toBeUndefined();
  });
});

describeWithPeers("interceptors with the peer in $peer", (language) => {
  test("of our client work for all kinds of calls of its server", async () => {
    await using peer = await StreamPeer.serve(language);
    await using connection = await connect(peer.address);
    const notes: string[] = [];
    const interceptors = [noting("outer", notes), noting("inner", notes)] as ClientInterceptor[];
    expect(await allKinds(createClient(Streaming, connection, { interceptors }))).toEqual(ANSWERS);
    expect(notes).toEqual(ORDER);
  });

  test("of our server work for all kinds of calls of its client", async () => {
    const notes: string[] = [];
    const interceptors = [noting("outer", notes), noting("inner", notes)] as ServerInterceptor[];
    await using server = streamServer({ interceptors });
    const address = await server.listen(temporaryAddress());
    for (const [method] of CALLS) {
      const [result] = await streamCalls(language, address, method, { count: method === "Echo" ? 1 : 3 });
      expect(result?.error).toBeUndefined();
    }
    expect(notes.filter((note) => note.includes(">"))).toEqual(ORDER.filter((note) => note.includes(">")));
    expect(notes.toSorted()).toEqual([...ORDER].toSorted());
  });
});
