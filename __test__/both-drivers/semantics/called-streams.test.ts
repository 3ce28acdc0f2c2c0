import {
  type CallMessage,
  type CallOptions,
  type ClientInterceptor,
  Code,
  type Connection,
  createClient,
  TtrpcError,
} from "containerd-shim-protos";
import { describe, expect, test } from "vitest";
import { listen } from "../../helpers/channels.js";
import { bytes, deferred, failure, rejection, text } from "../../helpers/outcome.js";
import { Streaming } from "../../helpers/streaming.js";
import { encodeFrame, encodeResponse, type Frame, FRAME_LIMIT, FrameType } from "../../helpers/wire.js";
import { clientOfRaw, data, EMPTY, expectClientGoesOn, Flag, HALF_CLOSE, OPEN_BY_RUST } from "./raw-pairs.js";

/** The messages of a stream, and the error that it ends with. */
async function outcomeOf(
  stream: AsyncIterable<Uint8Array>,
): Promise<{ messages: string[]; error?: TtrpcError }> {
  const messages: string[] = [];
  try {
    for await (const message of stream) messages.push(text(message));
  } catch (error) {
    return { messages, error: error as TtrpcError };
  }
  return { messages };
}

/** Requests that never come. */
async function* silence(): AsyncGenerator<Uint8Array> {
  await new Promise(() => {});
  yield EMPTY;
}

async function* passed(replies: unknown): AsyncGenerator<unknown> {
  yield* replies as AsyncIterable<unknown>;
}

async function* several(...messages: string[]): AsyncGenerator<Uint8Array> {
  for (const message of messages) yield bytes(message);
}

const list = (connection: Connection) => connection.serverStreaming("a.B", "List", bytes("asked"));

function response(streamId: number, envelope: Parameters<typeof encodeResponse>[0]): Buffer {
  return encodeFrame({ streamId, type: FrameType.Response, body: encodeResponse(envelope) });
}

describe("the frames by which our client opens a stream", () => {
  test("are Rust's: flag 1 with the request if only the server streams, otherwise flags 6 without it", async () => {
    await using pair = await clientOfRaw();
    const { connection, peer } = pair;
    const calls = [
      outcomeOf(list(connection)),
      outcomeOf(connection.bidiStreaming("a.B", "Chat", several("a", ""))),
      connection.clientStreaming("a.B", "Sum", several()),
    ] as const;
    const frames: Frame[] = [];
    // Three requests; Chat's two messages and end; Sum's end.
    while (frames.length < 7) frames.push(await peer.nextFrame());
    const of = (id: number) => frames.filter(({ streamId }) => streamId === id);
    expect(of(1)).toMatchObject([{ type: FrameType.Request, flags: Flag.RemoteClosed }]);
    expect(of(3)).toMatchObject([
      { type: FrameType.Request, flags: OPEN_BY_RUST },
      { type: FrameType.Data, flags: 0, body: bytes("a") },
      // An empty message is a message: only the flag distinguishes it from a half-close.
      { type: FrameType.Data, flags: 0, body: EMPTY },
      { type: FrameType.Data, flags: HALF_CLOSE, body: EMPTY },
    ]);
    expect(of(5)).toMatchObject([{ flags: OPEN_BY_RUST }, { type: FrameType.Data, flags: HALF_CLOSE }]);
    await peer.send(Buffer.concat([data(1, "", HALF_CLOSE), data(3, "", HALF_CLOSE)]));
    await peer.reply(5, bytes("sum"));
    expect(await calls[0]).toEqual({ messages: [] });
    expect(await calls[1]).toEqual({ messages: [] });
    expect(text(await calls[2])).toBe("sum");
    await expectClientGoesOn(connection, peer);
  });
});

describe("the end of a stream, as our client sees it", () => {
  test.each([
    ["a half-close", [data(1, "", HALF_CLOSE)], []],
    ["an empty message and a half-close", [data(1, ""), data(1, "", HALF_CLOSE)], [""]],
    ["a message that also closes", [data(1, "last", Flag.RemoteClosed)], ["last"]],
    ["a message that says it has none", [data(1, "x", Flag.NoData), data(1, "", HALF_CLOSE)], ["x"]],
    ["a response of OK", [response(1, { status: {} })], []],
    ["a response of no bytes", [encodeFrame({ streamId: 1, type: FrameType.Response, body: EMPTY })], []],
  ])("is %s", async (_, ending, expected) => {
    await using pair = await clientOfRaw();
    const { connection, peer } = pair;
    const outcome = outcomeOf(list(connection));
    await peer.nextRequest();
    await peer.send(Buffer.concat([data(1, "first"), ...ending]));
    expect(await outcome).toEqual({ messages: ["first", ...expected] });
    await expectClientGoesOn(connection, peer);
  });

  test.each([17, 99, 300, -1, 2 ** 31 - 1])(
    "with the status code %i is an error after the messages, and never a success",
    async (code) => {
      await using pair = await clientOfRaw();
      const { connection, peer } = pair;
      const outcome = outcomeOf(list(connection));
      await peer.nextRequest();
      await peer.send(
        Buffer.concat([data(1, "first"), response(1, { status: { code, message: "strange" } })]),
      );
      const { messages, error } = await outcome;
      expect(messages).toEqual(["first"]);
      expect(error).toMatchObject({ code: Code.Unknown, rawMessage: "strange" });
      await expectClientGoesOn(connection, peer);
    },
  );

  test.each([
    ["a code behind the text", [0x0a, 5, 0x12, 1, 0x61, 0x08, 99], Code.Unknown],
    ["a code behind a payload", [0x12, 1, 0x61, 0x0a, 2, 0x08, 99], Code.Unknown],
    ["a code behind an unknown field", [0x48, 1, 0x0a, 2, 0x08, 99], Code.Unknown],
    ["a status in two parts", [0x0a, 2, 0x08, 5, 0x0a, 3, 0x12, 1, 0x61], Code.NotFound],
  ])("with %s is no success", async (_, body, code) => {
    await using pair = await clientOfRaw();
    const { connection, peer } = pair;
    const outcome = outcomeOf(list(connection));
    await peer.nextRequest();
    await peer.send(encodeFrame({ streamId: 1, type: FrameType.Response, body: Uint8Array.from(body) }));
    expect(await outcome).toMatchObject({ messages: [], error: { code } });
    await expectClientGoesOn(connection, peer);
  });

  test("with a status is an error with its code and details after the messages", async () => {
    await using pair = await clientOfRaw();
    const { connection, peer } = pair;
    const outcome = outcomeOf(list(connection));
    await peer.nextRequest();
    const status = {
      code: Code.NotFound,
      message: "gone",
      details: [{ typeUrl: "a.Detail", value: bytes("x") }],
    };
    await peer.send(Buffer.concat([data(1, "first"), response(1, { status })]));
    const { messages, error } = await outcome;
    expect(messages).toEqual(["first"]);
    expect(error).toMatchObject({ code: Code.NotFound, rawMessage: "gone" });
    expect(error?.details).toMatchObject([{ typeUrl: "a.Detail" }]);
    await expectClientGoesOn(connection, peer);
  });

  test("is the server's, even if the client has not closed: the rest of its messages is not sent", async () => {
    await using pair = await clientOfRaw();
    const { connection, peer } = pair;
    const outcome = outcomeOf(connection.bidiStreaming("a.B", "Chat", silence()));
    await peer.nextRequest();
    await peer.send(data(1, "", HALF_CLOSE));
    expect(await outcome).toEqual({ messages: [] });
    // A server that waits for the client's end gets it.
    expect(await peer.nextFrame()).toMatchObject({ streamId: 1, type: FrameType.Data, flags: HALF_CLOSE });
    await expectClientGoesOn(connection, peer);
  });

  test("is its response if only the client streams; a half-close alone is Internal", async () => {
    await using pair = await clientOfRaw();
    const { connection, peer } = pair;
    const sum = failure(connection.clientStreaming("a.B", "Sum", several()));
    await peer.nextRequest();
    await peer.send(data(1, "", HALF_CLOSE));
    expect(await sum).toMatchObject({ code: Code.Internal });
    await peer.nextFrame();
    await expectClientGoesOn(connection, peer);
  });
});

describe("requests that have not ended, as the server sees them", () => {
  const BROKEN_OFF = { streamId: 1, type: FrameType.Data, flags: HALF_CLOSE, body: new Uint8Array(1) };

  test("are cut off by a close that carries a byte when the call's signal aborts", async () => {
    await using pair = await clientOfRaw();
    const { connection, peer } = pair;
    const controller = new AbortController();
    const { signal } = controller;
    const sum = failure(connection.clientStreaming("a.B", "Sum", silence(), { signal }));
    await peer.nextRequest();
    controller.abort();
    expect(await sum).toMatchObject({ code: Code.Canceled });
    expect(await peer.nextFrame()).toEqual(BROKEN_OFF);
    await expectClientGoesOn(connection, peer);
  });

  test("are cut off in the same way when the deadline passes", async () => {
    await using pair = await clientOfRaw();
    const { connection, peer } = pair;
    const sum = failure(connection.clientStreaming("a.B", "Sum", silence(), { timeoutMs: 20 }));
    await peer.nextRequest();
    expect(await sum).toMatchObject({ code: Code.DeadlineExceeded });
    expect(await peer.nextFrame()).toEqual(BROKEN_OFF);
    await expectClientGoesOn(connection, peer);
  });

  test("are cut off in the same way when a reply does not decode", async () => {
    await using pair = await clientOfRaw();
    const { connection, peer } = pair;
    const replies = createClient(Streaming, connection).echoStream(silence() as AsyncGenerator<never>);
    const read = failure(replies[Symbol.asyncIterator]().next());
    await peer.nextRequest();
    await peer.send(
      encodeFrame({ streamId: 1, type: FrameType.Data, flags: 0, body: new Uint8Array([0xff]) }),
    );
    expect(await read).toMatchObject({ code: Code.Internal });
    expect(await peer.nextFrame()).toEqual(BROKEN_OFF);
    await expectClientGoesOn(connection, peer);
  });

  test.each<[string, CallOptions, (seen: Promise<void>) => ClientInterceptor]>([
    [
      "an interceptor fails",
      {},
      (seen) => (next) => async (call) => {
        await next(call);
        await seen;
        throw new Error("refused");
      },
    ],
    [
      "the deadline passes while an interceptor waits for the first reply",
      { timeoutMs: 20 },
      () => (next) => async (call) => {
        const replies = (await next({ ...call, timeoutMs: 0 })) as AsyncGenerator<unknown>;
        await replies.next();
        return replies;
      },
    ],
  ])("are cut off in the same way when %s", async (_, options, interceptor) => {
    await using pair = await clientOfRaw();
    const { connection, peer } = pair;
    using ends = listen<CallMessage>("ttrpc:client:call:end");
    const seen = deferred();
    const wrapping: ClientInterceptor = (next) => async (call) => passed(await next(call));
    const interceptors = [interceptor(seen.promise), wrapping];
    const client = createClient(Streaming, connection, { interceptors });
    const replies = client.echoStream(silence() as AsyncGenerator<never>, options);
    const read = rejection(replies[Symbol.asyncIterator]().next());
    await peer.nextRequest();
    seen.resolve();
    await read;
    expect(await peer.nextFrame()).toEqual(BROKEN_OFF);
    expect(ends.seen[0]?.[1].error).toBeInstanceOf(TtrpcError);
    await expectClientGoesOn(connection, peer);
  });

  test("end with a normal half-close when the reader leaves", async () => {
    await using pair = await clientOfRaw();
    const { connection, peer } = pair;
    const chat = connection.bidiStreaming("a.B", "Chat", silence());
    await peer.nextRequest();
    await chat.return!();
    expect(await peer.nextFrame()).toEqual({ ...BROKEN_OFF, body: EMPTY });
    await expectClientGoesOn(connection, peer);
  });
});

describe("frames that a stream of our client must not accept", () => {
  test.each([
    ["a second response", [response(1, { status: {} }), response(1, { status: { code: 5 } })]],
    ["data after a half-close", [data(1, "", HALF_CLOSE), data(1, "late")]],
    ["data after a response", [response(1, { status: {} }), data(1, "late"), data(1, "", HALF_CLOSE)]],
    ["a second half-close", [data(1, "", HALF_CLOSE), data(1, "", HALF_CLOSE)]],
    ["data of streams that do not exist", [data(3, "x"), data(2, "y"), data(1, "", HALF_CLOSE)]],
  ])("such as %s are dropped", async (_, frames) => {
    await using pair = await clientOfRaw();
    const { connection, peer } = pair;
    const outcome = outcomeOf(list(connection));
    await peer.nextRequest();
    await peer.send(Buffer.concat([data(1, "only"), ...frames]));
    expect(await outcome).toEqual({ messages: ["only"] });
    await expectClientGoesOn(connection, peer);
  });

  test.each([FrameType.Request, 0, 4, 255])(
    "such as one of the type %i fail it with Internal",
    async (type) => {
      await using pair = await clientOfRaw();
      const { connection, peer } = pair;
      const outcome = outcomeOf(list(connection));
      await peer.nextRequest();
      await peer.send(encodeFrame({ streamId: 1, type, body: EMPTY }));
      expect((await outcome).error).toMatchObject({ code: Code.Internal });
      await expectClientGoesOn(connection, peer);
    },
  );

  test("such as data in place of a response fail it with Internal", async () => {
    await using pair = await clientOfRaw();
    const { connection, peer } = pair;
    const sum = failure(connection.clientStreaming("a.B", "Sum", silence()));
    await peer.nextRequest();
    await peer.send(data(1, "a message"));
    expect(await sum).toMatchObject({ code: Code.Internal });
    await expectClientGoesOn(connection, peer);
  });

  test.each([
    ["a response that does not decode", encodeFrame({ streamId: 1, type: 2, body: new Uint8Array([0xff]) })],
    ["a close without data that has data", data(1, "x", HALF_CLOSE)],
  ])("such as %s fail it with Internal, not as if the connection had gone", async (_, frame) => {
    await using pair = await clientOfRaw();
    const { connection, peer } = pair;
    const outcome = outcomeOf(list(connection));
    await peer.nextRequest();
    await peer.send(frame);
    expect((await outcome).error).toMatchObject({ code: Code.Internal });
    await expectClientGoesOn(connection, peer);
  });
});

describe("large messages of a stream at our client", () => {
  test("of exactly 4 MiB arrive", async () => {
    await using pair = await clientOfRaw();
    const { connection, peer } = pair;
    const stream = list(connection);
    const sizes = (async () => {
      const seen: number[] = [];
      for await (const { length } of stream) seen.push(length);
      return seen;
    })();
    await peer.nextRequest();
    const whole = data(1, new Uint8Array(FRAME_LIMIT));
    await peer.send(Buffer.concat([whole, whole, data(1, "", HALF_CLOSE)]));
    expect(await sizes).toEqual([FRAME_LIMIT, FRAME_LIMIT]);
    await expectClientGoesOn(connection, peer);
  });

  test.each([FRAME_LIMIT + 1, FRAME_LIMIT + (8 << 20)])(
    "of %i bytes fail it with ResourceExhausted, and the connection continues",
    async (size) => {
      await using pair = await clientOfRaw();
      const { connection, peer } = pair;
      const outcome = outcomeOf(list(connection));
      await peer.nextRequest();
      await peer.send(Buffer.concat([data(1, "small"), data(1, new Uint8Array(size))]));
      const { messages, error } = await outcome;
      expect(messages).toEqual(["small"]);
      expect(error).toMatchObject({ code: Code.ResourceExhausted });
      await expectClientGoesOn(connection, peer);
    },
  );

  test("are refused before they are sent, and the server sees the requests cut off", async () => {
    await using pair = await clientOfRaw();
    const { connection, peer } = pair;
    const arrived = deferred();
    async function* requests() {
      yield bytes("small");
      // A call that fails in the tick in which it was made is not sent at all.
      await arrived.promise;
      yield new Uint8Array(FRAME_LIMIT + 1);
    }
    const sum = failure(connection.clientStreaming("a.B", "Sum", requests()));
    await peer.nextRequest();
    expect(text((await peer.nextFrame()).body)).toBe("small");
    arrived.resolve();
    expect(await sum).toMatchObject({ code: Code.ResourceExhausted });
    expect(await peer.nextFrame()).toMatchObject({ type: FrameType.Data, flags: HALF_CLOSE });
    await expectClientGoesOn(connection, peer);
  });
});

describe("a peer that closes during a stream", () => {
  test.each([
    ["between two messages", data(1, "whole"), "ERR_TTRPC_CLOSED"],
    ["in the middle of a message", data(1, "never whole").subarray(0, -1), "ECONNRESET"],
    ["in the middle of a header", data(1, "").subarray(0, 4), "ECONNRESET"],
  ])("%s makes the call Unavailable after the messages that had arrived", async (_, last, cause) => {
    await using pair = await clientOfRaw();
    const { connection, peer } = pair;
    const streams = [outcomeOf(list(connection)), outcomeOf(connection.bidiStreaming("a.B", "C", silence()))];
    const sum = rejection(connection.clientStreaming("a.B", "Sum", silence()));
    for (const _each of [1, 2, 3]) await peer.nextRequest();
    peer.socket.end(Buffer.concat([data(1, "first"), data(3, "first"), last]));
    for (const { messages, error } of await Promise.all(streams)) {
      expect(messages[0]).toBe("first");
      expect(error).toMatchObject({ code: Code.Unavailable, cause: { code: cause } });
    }
    expect(await sum).toMatchObject({ code: Code.Unavailable, cause: { code: cause } });
    expect((await connection.closed).reason).toBe(cause === "ECONNRESET" ? "error" : "remote");
  });
});
