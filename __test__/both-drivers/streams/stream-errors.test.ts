import { Code, connect, createClient, packAny, TtrpcError, unpackAny } from "containerd-shim-protos";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { collect, Source, times } from "../../helpers/iterables.js";
import { bytes, deferred, failure, rejection, text } from "../../helpers/outcome.js";
import { type Pair, pairOf, pairWith, SERVICE } from "../../helpers/pair.js";
import { describeWithPeers, StreamPeer } from "../../helpers/stream-peer.js";
import { streamServer } from "../../helpers/stream-server.js";
import { EchoPayloadSchema, Streaming, Streams } from "../../helpers/streaming.js";

const EMPTY = new Uint8Array();
const KIB = new Uint8Array(1024);

/** Requests without an end: their reader has to leave. */
const endless = () => new Source((index) => (index === 0 ? bytes("0") : KIB));

describe("a handler that throws", () => {
  const thrown = new TtrpcError("not now", Code.Aborted, {
    details: [packAny(EchoPayloadSchema, { seq: 7 })],
  });
  const left: string[] = [];
  let pair: Pair;
  beforeAll(async () => {
    pair = await pairOf({
      Down: {
        kind: "server_streaming",
        async *handle(payload) {
          try {
            yield* times(Number(text(payload)), () => bytes("before"));
            throw thrown;
          } finally {
            left.push("Down");
          }
        },
      },
      Up: {
        kind: "client_streaming",
        async handle(requests) {
          for await (const _ of requests) throw thrown;
          return EMPTY;
        },
      },
      Both: {
        kind: "bidi_streaming",
        async *handle(requests) {
          for await (const request of requests) {
            yield request;
            throw thrown;
          }
        },
      },
      AtOnce: {
        kind: "bidi_streaming",
        handle() {
          throw thrown;
        },
      },
      Plain: {
        kind: "server_streaming",
        async *handle() {
          yield bytes("before");
          throw new RangeError("beyond");
        },
      },
      Wrong: {
        kind: "server_streaming",
        async *handle() {
          try {
            yield bytes("before");
            yield "text" as never;
          } finally {
            left.push("Wrong");
          }
        },
      },
      NoIterable: { kind: "server_streaming", handle: () => 5 as never },
      NoResponse: { kind: "client_streaming", handle: async () => undefined as never },
      Oversized: {
        kind: "server_streaming",
        async *handle() {
          try {
            yield bytes("before");
            yield new Uint8Array((4 << 20) + 1);
          } finally {
            left.push("Oversized");
          }
        },
      },
      Next: { kind: "unary", handle: () => bytes("next") },
    });
  });
  afterAll(() => pair?.[Symbol.asyncDispose]());

  async function outcome(replies: AsyncIterable<Uint8Array>): Promise<[string[], TtrpcError]> {
    const before: string[] = [];
    const error = await failure(
      (async () => {
        for await (const reply of replies) before.push(text(reply));
      })(),
    );
    expect(text(await pair.connection.unary(SERVICE, "Next", EMPTY))).toBe("next");
    return [before, error];
  }

  test.each([0, 1, 1000])("after %i messages sends them and then its status", async (count) => {
    const [before, error] = await outcome(
      pair.connection.serverStreaming(SERVICE, "Down", bytes(String(count))),
    );
    expect(before).toEqual(Array.from({ length: count }, () => "before"));
    expect(error).toMatchObject({ code: Code.Aborted, rawMessage: "not now" });
    expect(unpackAny(error.details[0]!, EchoPayloadSchema)).toMatchObject({ seq: 7 });
    expect(left.pop()).toBe("Down");
  });

  test("in the middle of the requests ends the call, and the requests are left", async () => {
    const requests = endless();
    expect(await failure(pair.connection.clientStreaming(SERVICE, "Up", requests))).toMatchObject({
      code: Code.Aborted,
      rawMessage: "not now",
    });
    await requests.left;
  });

  test("in the middle of both directions ends both", async () => {
    const requests = endless();
    const [before, error] = await outcome(pair.connection.bidiStreaming(SERVICE, "Both", requests));
    expect(before).toEqual(["0"]);
    expect(error).toMatchObject({ code: Code.Aborted });
    await requests.left;
  });

  test("before it returns an iterable sends its status", async () => {
    const [before, error] = await outcome(pair.connection.bidiStreaming(SERVICE, "AtOnce", endless()));
    expect(before).toEqual([]);
    expect(error).toMatchObject({ code: Code.Aborted, rawMessage: "not now" });
  });

  test("an Error that is not a status sends Unknown with its message", async () => {
    const [before, error] = await outcome(pair.connection.serverStreaming(SERVICE, "Plain", EMPTY));
    expect(before).toEqual(["before"]);
    expect(error).toMatchObject({ code: Code.Unknown, rawMessage: "beyond" });
  });

  test.each([
    ["Wrong", ["before"]],
    ["NoIterable", []],
  ])("because what it returns is wrong (%s) is an error of the server", async (method, expected) => {
    const [before, error] = await outcome(pair.connection.serverStreaming(SERVICE, method, EMPTY));
    expect(before).toEqual(expected);
    expect([Code.Internal, Code.Unknown]).toContain(error.code);
    expect(left.splice(0)).toEqual(expected.map(() => method));
  });

  test("because it returns no response sends Internal", async () => {
    const call = pair.connection.clientStreaming(
      SERVICE,
      "NoResponse",
      times(0, () => EMPTY),
    );
    expect((await failure(call)).code).toBe(Code.Internal);
  });

  test("because a message is too large sends ResourceExhausted, and its generator is ended", async () => {
    const [before, error] = await outcome(pair.connection.serverStreaming(SERVICE, "Oversized", EMPTY));
    expect(before).toEqual(["before"]);
    expect(error.code).toBe(Code.ResourceExhausted);
    expect(left.pop()).toBe("Oversized");
  });
});

function revoked(): object {
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  return proxy;
}

describe("requests that throw", () => {
  test("undefined, when they are iterated or encoded, are no empty stream", async () => {
    await using pair = await pairWith(streamServer());
    const client = createClient(Streaming, pair.connection);
    const nothing = (): never => {
      throw undefined;
    };
    const unreadable = { [Symbol.asyncIterator]: nothing };
    const request = Object.defineProperty({}, "sum", { get: nothing, enumerable: true });
    const failed = { code: Code.Unknown };
    expect(await failure(collect(client.echoStream(unreadable)))).toMatchObject(failed);
    expect(await failure(collect(client.divideStream(request)))).toMatchObject(failed);
  });

  test.each([
    [
      "an Error",
      new RangeError("beyond"),
      { code: Code.Canceled, message: expect.stringContaining("beyond") },
    ],
    ["a TtrpcError", new TtrpcError("own", Code.DataLoss), { code: Code.DataLoss, message: "own" }],
    ["what nothing can be asked of", revoked(), { code: Code.Canceled }],
    ["undefined", undefined, { code: Code.Canceled }],
  ])("%s end the call with it, and do not look complete to the server", async (_, thrown, expected) => {
    const arrived = deferred();
    const ended = deferred<unknown>();
    const seen: string[] = [];
    await using pair = await pairOf({
      Up: {
        kind: "client_streaming",
        async handle(requests) {
          try {
            for await (const request of requests) if (seen.push(text(request)) === 2) arrived.resolve();
            ended.resolve("in order");
          } catch (error) {
            ended.resolve(error);
          }
          return EMPTY;
        },
      },
      Next: { kind: "unary", handle: () => bytes("next") },
    });
    const requests = async function* () {
      yield bytes("a");
      yield bytes("b");
      await arrived.promise;
      throw thrown;
    };
    const error = await failure(pair.connection.clientStreaming(SERVICE, "Up", requests()));
    expect(error).toMatchObject(expected);
    expect(await ended.promise).toMatchObject({ code: Code.Canceled });
    expect(seen).toEqual(["a", "b"]);
    expect(text(await pair.connection.unary(SERVICE, "Next", EMPTY))).toBe("next");
  });

  test("end the reader of a bidirectional call with their error", async () => {
    await using pair = await pairWith(streamServer());
    const client = createClient(Streaming, pair.connection);
    const gate = deferred();
    const requests = async function* () {
      yield { seq: 1 };
      await gate.promise;
      throw new RangeError("beyond");
    };
    const replies = client.echoStream(requests())[Symbol.asyncIterator]();
    expect((await replies.next()).value).toMatchObject({ seq: 2 });
    gate.resolve();
    expect(await rejection(replies.next())).toMatchObject({
      code: Code.Canceled,
      cause: { message: "beyond" },
    });
    expect(await replies.next()).toEqual({ value: undefined, done: true });
    expect((await client.echo({ seq: 1 })).seq).toBe(2);
  });

  test("because a message is above the limit end the call with ResourceExhausted", async () => {
    await using pair = await pairWith(streamServer());
    const client = createClient(Streaming, pair.connection);
    const requests = new Source((seq) => ({ seq, msg: seq === 2 ? "x".repeat(4 << 20) : "" }));
    const error = await failure(collect(client.echoStream(requests)));
    expect(error.code).toBe(Code.ResourceExhausted);
    await requests.left;
    expect((await client.echo({ seq: 1 })).seq).toBe(2);
  });
});

describeWithPeers("a stream with the server in $peer", (language) => {
  let peer: StreamPeer;
  beforeAll(async () => {
    peer = await StreamPeer.serve(language);
  });
  afterAll(() => peer?.[Symbol.asyncDispose]());

  test.each([
    [Code.NotFound, Code.NotFound],
    [Code.Unauthenticated, Code.Unauthenticated],
    [99, Code.Unknown],
  ])(
    "that fails with the status code %i is the error %i with message and details",
    async (code, expected) => {
      await using connection = await connect(peer.address);
      const client = createClient(Streams, connection);
      const requests = times(1, () => ({ seq: code, msg: "not here: ü€😀" }));
      const replies = client.fail(requests)[Symbol.asyncIterator]();
      expect((await replies.next()).value).toMatchObject({ seq: code });
      const error = await failure(replies.next());
      expect(error).toMatchObject({ code: expected, rawMessage: "not here: ü€😀" });
      expect(unpackAny(error.details[0]!, EchoPayloadSchema)).toMatchObject({
        seq: code,
        msg: "not here: ü€😀",
      });
      expect((await createClient(Streaming, connection).echo({ seq: 1 })).seq).toBe(2);
    },
  );

  test("that it does not have is Unimplemented, whatever its kind", async () => {
    await using connection = await connect(peer.address);
    const calls = [
      collect(connection.bidiStreaming("test.Streams", "Nope", endless())),
      collect(connection.serverStreaming("test.Streams", "Nope", EMPTY)),
      connection.clientStreaming("test.Streams", "Nope", endless()),
      collect(connection.bidiStreaming("no.Such", "Nope", endless())),
      collect(connection.serverStreaming("no.Such", "Nope", EMPTY)),
    ];
    for (const call of calls) expect((await failure(call)).code).toBe(Code.Unimplemented);
    expect((await createClient(Streaming, connection).echo({ seq: 1 })).seq).toBe(2);
  });

  test("whose message does not decode is an error, and the connection continues", async () => {
    await using connection = await connect(peer.address);
    // Rust also answers messages after the end of a stream, sometimes before it answers the stream.
    const never = deferred<Uint8Array>();
    const garbage = new Source((index) => (index === 0 ? bytes("\u00ff") : never.promise));
    const call = connection.clientStreaming("ttrpc.integration.streaming.Streaming", "SumStream", garbage);
    expect([Code.Internal, Code.Unknown]).toContain((await failure(call)).code);
    await garbage.left;
    expect((await createClient(Streaming, connection).echo({ seq: 1 })).seq).toBe(2);
  });
});
