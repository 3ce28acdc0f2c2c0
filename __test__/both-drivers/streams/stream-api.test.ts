import { create } from "@bufbuild/protobuf";
import { connect, createClient, createServer, packAny, unpackAny } from "containerd-shim-protos";
import { describe, expect, test } from "vitest";
import {
  StreamInitSchema,
  Streaming as SandboxStreaming,
} from "../../../src/protos/generated/containerd/services/streaming/v1/streaming_pb.js";
import { collect, firstOf, Source, times } from "../../helpers/iterables.js";
import { bytes, deferred, failure, rejection, text } from "../../helpers/outcome.js";
import { pairOf, pairWith, SERVICE } from "../../helpers/pair.js";
import { streamServer } from "../../helpers/stream-server.js";
import { EchoPayloadSchema, type Part, Streaming, Streams } from "../../helpers/streaming.js";

const EMPTY = new Uint8Array();

describe("a typed stream", () => {
  test("accepts plain objects and messages, and yields messages", async () => {
    await using pair = await pairWith(streamServer());
    const client = createClient(Streaming, pair.connection);
    const messages = async function* () {
      yield { seq: 1 };
      yield create(EchoPayloadSchema, { seq: 2, msg: "ü€😀" });
    };
    expect(await collect(client.echoStream(messages()))).toEqual([
      create(EchoPayloadSchema, { seq: 2 }),
      create(EchoPayloadSchema, { seq: 3, msg: "ü€😀" }),
    ]);
  });

  test("gives its handler messages, and accepts plain objects from it", async () => {
    const seen: Part[] = [];
    const server = createServer().add(Streaming, {
      async sumStream(requests) {
        for await (const request of requests) seen.push(request);
        return { num: seen.length };
      },
    });
    await using pair = await pairWith(server);
    const sum = await createClient(Streaming, pair.connection).sumStream(times(2, (add) => ({ add })));
    expect(sum).toMatchObject({ $typeName: "ttrpc.integration.streaming.Sum", num: 2, sum: 0 });
    expect(seen).toMatchObject([
      { $typeName: "ttrpc.integration.streaming.Part", add: 0 },
      { $typeName: "ttrpc.integration.streaming.Part", add: 1 },
    ]);
  });

  test("of the package's own streaming service carries Anys both ways", async () => {
    const server = createServer().add(SandboxStreaming, {
      async *stream(requests) {
        for await (const any of requests) yield any;
      },
    });
    await using pair = await pairWith(server);
    const inits = times(3, (index) => packAny(StreamInitSchema, { id: `stream-${index}` }));
    const replies = await collect(createClient(SandboxStreaming, pair.connection).stream(inits));
    expect(replies.map((any) => unpackAny(any, StreamInitSchema)?.id)).toEqual([
      "stream-0",
      "stream-1",
      "stream-2",
    ]);
  });

  test("calls several methods of two services on one connection at once", async () => {
    await using pair = await pairWith(streamServer());
    const [streaming, streams] = [
      createClient(Streaming, pair.connection),
      createClient(Streams, pair.connection),
    ];
    const [echoes, counted, sum, unary] = await Promise.all([
      collect(streaming.echoStream(times(500, (seq) => ({ seq })))),
      collect(streams.count({ num: 500, sum: 10 })),
      streaming.sumStream(times(500, (add) => ({ add }))),
      Promise.all(Array.from({ length: 500 }, (_, seq) => streaming.echo({ seq }))),
    ]);
    expect(echoes.map(({ seq }) => seq)).toEqual(unary.map(({ seq }) => seq));
    expect(counted).toHaveLength(500);
    expect(sum.num).toBe(500);
  });
});

describe("a raw stream", () => {
  test("of any kind carries bytes both ways", async () => {
    await using pair = await pairOf({
      Both: {
        kind: "bidi_streaming",
        async *handle(requests) {
          for await (const request of requests) yield bytes(`<${text(request)}>`);
        },
      },
      Up: {
        kind: "client_streaming",
        async handle(requests) {
          return bytes((await collect(requests)).map(text).join(","));
        },
      },
      Down: {
        kind: "server_streaming",
        async *handle(payload) {
          for (const part of text(payload).split(",")) yield bytes(part);
        },
      },
    });
    const { connection } = pair;
    const letters = () => times(3, (index) => bytes("abc".charAt(index)));
    const both = await collect(connection.bidiStreaming(SERVICE, "Both", letters()));
    expect(both.map(text)).toEqual(["<a>", "<b>", "<c>"]);
    expect(text(await connection.clientStreaming(SERVICE, "Up", letters()))).toBe("a,b,c");
    const down = await collect(connection.serverStreaming(SERVICE, "Down", bytes("a,b,c")));
    expect(down.map(text)).toEqual(["a", "b", "c"]);
  });

  test("carries messages up to the limit of a frame, and empty ones", async () => {
    await using pair = await pairOf({
      Both: {
        kind: "bidi_streaming",
        async *handle(requests) {
          yield* requests;
        },
      },
    });
    const sizes = [0, 1, 4 << 20, 0, 0, 65_536, (4 << 20) - 1, 0];
    const messages = times(sizes.length, (index) => new Uint8Array(sizes[index]!).fill(index));
    const replies = await collect(pair.connection.bidiStreaming(SERVICE, "Both", messages));
    expect(replies.map((reply) => reply.length)).toEqual(sizes);
    expect(replies.every((reply, index) => reply.every((byte) => byte === index))).toBe(true);
  });

  test("of empty messages alone delivers each of them", async () => {
    await using pair = await pairOf({
      Both: {
        kind: "bidi_streaming",
        async *handle(requests) {
          yield* requests;
        },
      },
      Up: {
        kind: "client_streaming",
        handle: async (requests) => bytes(String((await collect(requests)).length)),
      },
    });
    const replies = pair.connection.bidiStreaming(
      SERVICE,
      "Both",
      times(1000, () => EMPTY),
    );
    expect(await collect(replies)).toHaveLength(1000);
    const count = await pair.connection.clientStreaming(
      SERVICE,
      "Up",
      times(1000, () => EMPTY),
    );
    expect(text(count)).toBe("1000");
  });

  test("without messages delivers none, whichever side sends", async () => {
    await using pair = await pairOf({
      Both: {
        kind: "bidi_streaming",
        async *handle(requests) {
          yield* requests;
        },
      },
      Up: {
        kind: "client_streaming",
        handle: async (requests) => bytes(String((await collect(requests)).length)),
      },
      Down: { kind: "server_streaming", async *handle() {} },
      Empty: { kind: "client_streaming", handle: async () => EMPTY },
    });
    const { connection } = pair;
    const none = () => times(0, () => EMPTY);
    expect(await collect(connection.bidiStreaming(SERVICE, "Both", none()))).toEqual([]);
    expect(text(await connection.clientStreaming(SERVICE, "Up", none()))).toBe("0");
    expect(await collect(connection.serverStreaming(SERVICE, "Down", EMPTY))).toEqual([]);
    expect(await connection.clientStreaming(SERVICE, "Empty", none())).toEqual(EMPTY);
  });

  test("accepts any iterable for its requests and for a handler's messages", async () => {
    await using pair = await pairOf({
      Both: { kind: "bidi_streaming", handle: () => [bytes("x"), bytes("y")] as never },
      Up: {
        kind: "client_streaming",
        handle: async (requests) => bytes((await collect(requests)).map(text).join("")),
      },
    });
    const { connection } = pair;
    const array = [bytes("a"), bytes("b")] as never;
    expect((await collect(connection.bidiStreaming(SERVICE, "Both", array))).map(text)).toEqual(["x", "y"]);
    expect(text(await connection.clientStreaming(SERVICE, "Up", array))).toBe("ab");
  });

  test("delivers each message once, even if several readers wait at the same time", async () => {
    await using pair = await pairOf({
      Down: {
        kind: "server_streaming",
        async *handle() {
          yield* times(3, (index) => bytes(String(index)));
        },
      },
    });
    const replies = pair.connection.serverStreaming(SERVICE, "Down", EMPTY);
    const results = await Promise.all([1, 2, 3, 4, 5].map(() => replies.next()));
    expect(results.map(({ value }) => value && text(value))).toEqual(["0", "1", "2", undefined, undefined]);
    expect(await replies.next()).toEqual({ value: undefined, done: true });
  });
});

describe("the half-close", () => {
  test("of the client ends the handler's requests, and the handler can still answer", async () => {
    const ended = deferred();
    await using pair = await pairOf({
      Both: {
        kind: "bidi_streaming",
        async *handle(requests) {
          const all = await collect(requests);
          ended.resolve();
          yield bytes(String(all.length));
          yield* times(100, (index) => bytes(String(index)));
        },
      },
    });
    const replies = pair.connection.bidiStreaming(
      SERVICE,
      "Both",
      times(7, () => EMPTY),
    );
    await ended.promise;
    expect((await collect(replies)).map(text)).toEqual([
      "7",
      ...Array.from({ length: 100 }, (_, i) => `${i}`),
    ]);
  });

  test("is sent only when the requests end, while messages arrive all along", async () => {
    await using pair = await pairOf({
      Both: {
        kind: "bidi_streaming",
        async *handle(requests) {
          for await (const request of requests) yield request;
          yield bytes("over");
        },
      },
    });
    const end = deferred();
    const requests = async function* () {
      yield bytes("first");
      await end.promise;
    };
    const { first, rest } = await firstOf(pair.connection.bidiStreaming(SERVICE, "Both", requests()));
    expect(text(first)).toBe("first");
    end.resolve();
    expect(text((await rest.next()).value as Uint8Array)).toBe("over");
    expect(await rest.next()).toEqual({ value: undefined, done: true });
  });

  test("of the server ends the call, and its requests are read no further", async () => {
    await using pair = await pairOf({
      Both: {
        kind: "bidi_streaming",
        async *handle() {
          yield bytes("all there is");
        },
      },
    });
    const never = deferred<Uint8Array>();
    const requests = new Source((index) => (index === 0 ? bytes("asked") : never.promise));
    const replies = await collect(pair.connection.bidiStreaming(SERVICE, "Both", requests));
    expect(replies.map(text)).toEqual(["all there is"]);
    never.resolve(EMPTY);
    await requests.left;
    expect(requests.taken).toBeLessThanOrEqual(2);
  });
});

describe("an error in the arguments of a stream", () => {
  test("reaches the reader of the iterable, or rejects the response", async () => {
    await using pair = await pairWith(streamServer());
    const { connection } = pair;
    const client = createClient(Streaming, connection);
    const wrong = [
      () => collect(connection.serverStreaming("", "Down", EMPTY)),
      () => collect(connection.serverStreaming("a.B", "Down", "text" as never)),
      () => collect(connection.serverStreaming("a.B", "Down", EMPTY, { timeoutMs: -1 })),
      () => collect(connection.bidiStreaming("a.B", "Down", 5 as never)),
      () =>
        connection.clientStreaming(
          "a.B",
          "",
          times(0, () => EMPTY),
        ),
      () => connection.clientStreaming("a.B", "Up", undefined as never),
      () => collect(client.divideStream({ sum: "many" } as never)),
      () => collect(client.echoStream(null as never)),
      () => client.sumStream({} as never),
    ];
    for (const call of wrong) expect(await rejection(call())).toBeInstanceOf(TypeError);
    expect((await client.echo({ seq: 1 })).seq).toBe(2);
  });

  test("in one message ends the call with a TypeError that names the field", async () => {
    const source = new Source((index) => ({ seq: index < 3 ? index : -1 }));
    await using pair = await pairWith(streamServer());
    const client = createClient(Streaming, pair.connection);
    const error = await rejection(collect(client.echoStream(source)));
    expect(error).toBeInstanceOf(TypeError);
    expect((error as Error).message).toContain("seq");
    await source.left;
    expect((await client.echo({ seq: 1 })).seq).toBe(2);
  });

  test("is Unavailable at once if the connection is closed", async () => {
    await using server = streamServer();
    const connection = await connect(await server.listen(`unix://@streams-closed-${process.pid}`));
    await connection.close();
    const client = createClient(Streaming, connection);
    const source = new Source((seq) => ({ seq }));
    const outcomes = [
      collect(client.echoStream(source)),
      collect(client.divideStream({ num: 1 })),
      client.sumStream(times(1, () => ({}))),
    ];
    for (const outcome of outcomes) {
      expect(await failure(outcome)).toMatchObject({ code: 14, cause: { code: "ERR_TTRPC_CLOSED" } });
    }
    expect(source.taken).toBe(0);
  });
});
