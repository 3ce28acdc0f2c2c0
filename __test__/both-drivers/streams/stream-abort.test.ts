import { Code, connect, createClient, type TtrpcError } from "containerd-shim-protos";
import { describe, expect, test } from "vitest";
import { collect, Source } from "../../helpers/iterables.js";
import { aborted, bytes, deferred, failure, text } from "../../helpers/outcome.js";
import { Flag, openingFrame, pairOf, rawClientOf, rawServerOf, SERVICE } from "../../helpers/pair.js";
import { describeWithPeers, StreamPeer } from "../../helpers/stream-peer.js";
import { Streaming, Streams } from "../../helpers/streaming.js";

const EMPTY = new Uint8Array();
const KIB = new Uint8Array(1024);
const streamKinds = ["server_streaming", "client_streaming", "bidi_streaming"] as const;
type StreamKind = (typeof streamKinds)[number];

/** A server whose handlers never end by themselves: they wait for requests, or for their signal. */
async function endless() {
  const reasons: Record<string, unknown>[] = [];
  const left = { Down: deferred(), Up: deferred(), Both: deferred() };
  const pair = await pairOf({
    Down: {
      kind: "server_streaming",
      async *handle(_, context) {
        try {
          yield bytes("first");
          await aborted(context.signal);
        } finally {
          reasons.push({ method: "Down", reason: context.signal.reason });
          left.Down.resolve();
        }
      },
    },
    Up: {
      kind: "client_streaming",
      async handle(requests, context) {
        try {
          for await (const _ of requests);
          return bytes("done");
        } finally {
          reasons.push({ method: "Up", reason: context.signal.reason });
          left.Up.resolve();
        }
      },
    },
    Both: {
      kind: "bidi_streaming",
      async *handle(requests, context) {
        try {
          yield bytes("first");
          for await (const request of requests) yield request;
        } finally {
          reasons.push({ method: "Both", reason: context.signal.reason });
          left.Both.resolve();
        }
      },
    },
    Next: { kind: "unary", handle: () => bytes("next") },
  });
  return { ...pair, reasons, left, [Symbol.asyncDispose]: () => pair[Symbol.asyncDispose]() };
}

/** Makes a call of a kind, and reads all its messages. `started` resolves once its handler runs. */
function call(
  { connection }: Awaited<ReturnType<typeof endless>>,
  kind: StreamKind,
  requests: Source<Uint8Array>,
  options: object,
): { outcome: Promise<TtrpcError>; started: Promise<unknown> } {
  if (kind === "client_streaming") {
    const outcome = failure(connection.clientStreaming(SERVICE, "Up", requests, options));
    return { outcome, started: connection.unary(SERVICE, "Next", EMPTY) };
  }
  const replies =
    kind === "server_streaming"
      ? connection.serverStreaming(SERVICE, "Down", EMPTY, options)
      : connection.bidiStreaming(SERVICE, "Both", requests, options);
  const started = deferred();
  const outcome = failure(
    (async () => {
      for await (const _ of replies) started.resolve();
    })(),
  );
  return { outcome, started: started.promise };
}

describe.each(streamKinds)("a %s call", (kind) => {
  test("whose signal aborts is Canceled with the signal's reason; the connection continues", async () => {
    await using pair = await endless();
    const abort = new AbortController();
    const never = deferred<Uint8Array>();
    const requests = new Source(() => never.promise);
    const { outcome, started } = call(pair, kind, requests, { signal: abort.signal });
    await started;
    abort.abort(new Error("enough"));
    expect(await outcome).toMatchObject({ code: Code.Canceled, cause: { message: "enough" } });
    if (kind !== "server_streaming") await requests.left;
    expect(text(await pair.connection.unary(SERVICE, "Next", EMPTY))).toBe("next");
  });

  test("whose signal has already aborted is Canceled, and its requests are not read", async () => {
    await using pair = await endless();
    const requests = new Source(() => KIB);
    const options = { signal: AbortSignal.abort(new Error("before")) };
    const { connection } = pair;
    const outcome = {
      server_streaming: () => collect(connection.serverStreaming(SERVICE, "Down", EMPTY, options)),
      client_streaming: () => connection.clientStreaming(SERVICE, "Up", requests, options),
      bidi_streaming: () => collect(connection.bidiStreaming(SERVICE, "Both", requests, options)),
    }[kind]();
    expect(await failure(outcome)).toMatchObject({ code: Code.Canceled, cause: { message: "before" } });
    expect(requests.taken).toBe(0);
  });

  test("that is aborted in the same tick is Canceled", async () => {
    await using pair = await endless();
    const abort = new AbortController();
    const requests = new Source(() => KIB);
    const { connection } = pair;
    const options = { signal: abort.signal };
    const outcome = {
      server_streaming: () => collect(connection.serverStreaming(SERVICE, "Down", EMPTY, options)),
      client_streaming: () => connection.clientStreaming(SERVICE, "Up", requests, options),
      bidi_streaming: () => collect(connection.bidiStreaming(SERVICE, "Both", requests, options)),
    }[kind]();
    abort.abort();
    expect((await failure(outcome)).code).toBe(Code.Canceled);
    expect(text(await connection.unary(SERVICE, "Next", EMPTY))).toBe("next");
  });

  test("whose deadline passes is DeadlineExceeded, and so is the reason of its handler's signal", async () => {
    await using pair = await endless();
    const never = deferred<Uint8Array>();
    const requests = new Source(() => never.promise);
    const { outcome } = call(pair, kind, requests, { timeoutMs: 50 });
    expect((await outcome).code).toBe(Code.DeadlineExceeded);
    const method = { server_streaming: "Down", client_streaming: "Up", bidi_streaming: "Both" } as const;
    await pair.left[method[kind]].promise;
    // The caller half-closes at its deadline, too, and a handler that reads may see that first.
    const certain = kind === "server_streaming" ? { reason: { code: Code.DeadlineExceeded } } : {};
    expect(pair.reasons).toMatchObject([{ method: method[kind], ...certain }]);
    expect(text(await pair.connection.unary(SERVICE, "Next", EMPTY))).toBe("next");
  });

  test("whose deadline passes while it sends and receives is DeadlineExceeded", async () => {
    await using pair = await endless();
    const requests = new Source(() => KIB);
    const { outcome } = call(pair, kind, requests, { timeoutMs: 50 });
    expect((await outcome).code).toBe(Code.DeadlineExceeded);
    expect(text(await pair.connection.unary(SERVICE, "Next", EMPTY))).toBe("next");
  });

  test("that ends before its deadline is not affected by it", async () => {
    await using raw = await rawServerOf();
    const { connection, peer } = raw;
    const options = { timeoutMs: 60_000, signal: new AbortController().signal };
    const none = new Source(() => EMPTY, 0);
    const outcome = {
      server_streaming: () => collect(connection.serverStreaming(SERVICE, "Down", EMPTY, options)),
      client_streaming: () => connection.clientStreaming(SERVICE, "Up", none, options),
      bidi_streaming: () => collect(connection.bidiStreaming(SERVICE, "Both", none, options)),
    }[kind]();
    const { streamId, timeoutNano } = await peer.nextRequest();
    expect(timeoutNano).toBe(60_000_000_000n);
    await peer.reply(streamId, EMPTY);
    expect(await outcome).toHaveLength(0);
  });
});

test.each(["Up", "Both", "Down"])(
  "our server ends %s at its deadline by itself, and wakes a handler that waits",
  async (method) => {
    const woken = deferred<unknown>();
    const wait = async (requests: AsyncIterable<Uint8Array>, signal: AbortSignal) => {
      try {
        await collect(requests);
      } catch (error) {
        woken.resolve({ thrown: error, reason: signal.reason as unknown });
      }
      return EMPTY;
    };
    await using raw = await rawClientOf({
      Up: { kind: "client_streaming", handle: (requests, { signal }) => wait(requests, signal) },
      Both: {
        kind: "bidi_streaming",
        async *handle(requests, { signal }) {
          yield await wait(requests, signal);
        },
      },
      Down: {
        kind: "server_streaming",
        async *handle(_, { signal }) {
          woken.resolve({ thrown: await aborted(signal), reason: signal.reason as unknown });
          yield EMPTY;
        },
      },
    });
    const { peer } = raw;
    // A client that keeps its side of the stream open.
    const flags = method === "Down" ? Flag.RemoteClosed : Flag.RemoteOpen | Flag.NoData;
    await peer.send(openingFrame(1, flags, { method, timeoutNano: 50_000_000n }));
    expect((await peer.nextResponse()).status.code).toBe(Code.DeadlineExceeded);
    const deadline = { code: Code.DeadlineExceeded };
    expect(await woken.promise).toMatchObject({ thrown: deadline, reason: deadline });
  },
);

describeWithPeers("a stream with the server in $peer", (language) => {
  test("of any kind is aborted by its signal and by its deadline, and the connection continues", async () => {
    await using peer = await StreamPeer.serve(language);
    await using connection = await connect(peer.address);
    const [streaming, streams] = [createClient(Streaming, connection), createClient(Streams, connection)];
    const never = deferred<object>();
    const calls = [
      (options: object) => collect(streams.hang({ seq: 1 }, options)),
      (options: object) => collect(streaming.echoStream(new Source(() => never.promise), options)),
      (options: object) => streaming.sumStream(new Source(() => never.promise), options),
    ];
    for (const start of calls) {
      const abort = new AbortController();
      const outcome = failure(start({ signal: abort.signal }));
      expect((await streaming.echo({ seq: 1 })).seq).toBe(2);
      abort.abort();
      expect((await outcome).code).toBe(Code.Canceled);
      expect((await failure(start({ timeoutMs: 50 }))).code).toBe(Code.DeadlineExceeded);
      expect((await streaming.echo({ seq: 1 })).seq).toBe(2);
    }
  });
});
