import { Code } from "containerd-shim-protos";
import { describe, expect, test } from "vitest";
import { collect, Source, times } from "../../helpers/iterables.js";
import { bytes, deferred, failure, text } from "../../helpers/outcome.js";
import {
  closeFrame,
  dataFrame,
  Flag,
  openingFrame,
  pairOf,
  rawClientOf,
  rawServerOf,
  SERVICE,
} from "../../helpers/pair.js";
import type { RawConnection } from "../../helpers/raw-peer.js";
import { encodeFrame, encodeRequest, encodeResponse, FrameType } from "../../helpers/wire.js";

const EMPTY = new Uint8Array();
const CLOSE = { type: FrameType.Data, flags: Flag.RemoteClosed | Flag.NoData, body: EMPTY };

/** Answers with the number of messages, and the messages. */
const list = {
  List: {
    kind: "client_streaming",
    async handle(requests: AsyncIterable<Uint8Array>) {
      const all = await collect(requests);
      return bytes(`${all.length}:${all.map(text).join(",")}`);
    },
  },
  Echo: {
    kind: "bidi_streaming",
    async *handle(requests: AsyncIterable<Uint8Array>) {
      yield* requests;
    },
  },
} as const;

async function expectServes(peer: RawConnection, streamId: number): Promise<void> {
  await peer.send(openingFrame(streamId, Flag.RemoteOpen | Flag.NoData, { method: "List" }));
  await peer.send(dataFrame(streamId, bytes("next")));
  await peer.send(closeFrame(streamId));
  expect(text((await peer.nextResponse()).payload)).toBe("1:next");
}

describe("the frames of our client", () => {
  test("open a stream as Go and Rust expect it, with metadata and timeout", async () => {
    await using raw = await rawServerOf();
    const { connection, peer } = raw;
    const options = { timeoutMs: 5000, metadata: { "Key-1": ["b", "a"] } };
    const opened = {
      metadata: [
        ["key-1", "b"],
        ["key-1", "a"],
      ],
      timeoutNano: 5_000_000_000n,
    };

    const up = connection.clientStreaming(
      SERVICE,
      "Up",
      times(1, () => bytes("x")),
      options,
    );
    expect(await peer.nextRequest()).toMatchObject({ ...opened, streamId: 1, flags: 6, payload: EMPTY });
    expect(await peer.nextFrame()).toMatchObject({ streamId: 1, type: 3, flags: 0, body: bytes("x") });
    expect(await peer.nextFrame()).toMatchObject({ streamId: 1, ...CLOSE });
    await peer.reply(1, bytes("up"));
    expect(text(await up)).toBe("up");

    const down = collect(connection.serverStreaming(SERVICE, "Down", bytes("y"), options));
    expect(await peer.nextRequest()).toMatchObject({ ...opened, streamId: 3, flags: 1, payload: bytes("y") });
    await peer.send(Buffer.concat([dataFrame(3, bytes("down")), closeFrame(3)]));
    expect((await down).map(text)).toEqual(["down"]);

    const both = connection.bidiStreaming(
      SERVICE,
      "Both",
      times(1, () => EMPTY),
      options,
    );
    expect(await peer.nextRequest()).toMatchObject({ ...opened, streamId: 5, flags: 6, payload: EMPTY });
    expect(await peer.nextFrame()).toMatchObject({ streamId: 5, type: 3, flags: 0, body: EMPTY });
    expect(await peer.nextFrame()).toMatchObject({ streamId: 5, ...CLOSE });
    await peer.send(Buffer.concat([dataFrame(5, EMPTY), closeFrame(5)]));
    expect(await collect(both)).toEqual([EMPTY]);
  });

  test("half-close a stream that its reader leaves, and no more frames follow", async () => {
    await using raw = await rawServerOf();
    const { connection, peer } = raw;
    const never = deferred<Uint8Array>();
    const requests = new Source((index) => (index === 0 ? bytes("x") : never.promise));
    const replies = connection.bidiStreaming(SERVICE, "Both", requests);
    await peer.nextRequest();
    expect(await peer.nextFrame()).toMatchObject({ body: bytes("x") });
    await peer.send(dataFrame(1, bytes("reply")));
    for await (const _ of replies) break;
    expect(await peer.nextFrame()).toMatchObject({ streamId: 1, ...CLOSE });
    await peer.send(Buffer.concat([dataFrame(1, bytes("late")), closeFrame(1)]));
    const call = connection.unary(SERVICE, "Next", EMPTY);
    expect(await peer.nextRequest()).toMatchObject({ streamId: 3 });
    await peer.reply(3, bytes("next"));
    expect(text(await call)).toBe("next");
  });
});

describe("our client with a server of raw frames", () => {
  async function repliesTo(
    send: (peer: RawConnection, streamId: number) => Promise<void>,
  ): Promise<Uint8Array[]> {
    await using raw = await rawServerOf();
    const { connection, peer } = raw;
    const replies = collect(connection.serverStreaming(SERVICE, "Down", EMPTY));
    const { streamId } = await peer.nextRequest();
    replies.catch(() => undefined);
    await send(peer, streamId);
    try {
      return await replies;
    } finally {
      // Whatever happened to the stream, the connection continues.
      const call = connection.unary(SERVICE, "Next", EMPTY);
      await peer.reply((await peer.nextRequest()).streamId, bytes("next"));
      expect(text(await call)).toBe("next");
    }
  }

  test("accepts a last message that also ends the stream", async () => {
    const replies = await repliesTo((peer, id) =>
      peer.send(Buffer.concat([dataFrame(id, bytes("a")), dataFrame(id, bytes("b"), Flag.RemoteClosed)])),
    );
    expect(replies.map(text)).toEqual(["a", "b"]);
  });

  test("treats a response with an OK status as the end of a stream", async () => {
    const replies = await repliesTo(async (peer, id) => {
      await peer.send(dataFrame(id, bytes("a")));
      await peer.reply(id, EMPTY);
    });
    expect(replies.map(text)).toEqual(["a"]);
  });

  test.each([
    [99, Code.Unknown],
    [17, Code.Unknown],
    [-1, Code.Unknown],
    [2 ** 31 - 1, Code.Unknown],
    [Code.NotFound, Code.NotFound],
  ])("turns the status code %i of a stream into the error %i", async (code, expected) => {
    const outcome = repliesTo((peer, id) => peer.replyStatus(id, { code, message: "strange" }));
    expect(await failure(outcome)).toMatchObject({ code: expected, rawMessage: "strange" });
  });

  test("yields the messages before a status, then throws the status, once", async () => {
    await using raw = await rawServerOf();
    const { connection, peer } = raw;
    const replies = connection.serverStreaming(SERVICE, "Down", EMPTY);
    const { streamId } = await peer.nextRequest();
    const details = [{ typeUrl: "a.B", value: bytes("detail") }];
    const body = encodeResponse({ status: { code: Code.DataLoss, message: "gone", details } });
    const status = encodeFrame({ streamId, type: FrameType.Response, body });
    await peer.send(Buffer.concat([dataFrame(streamId, bytes("a")), dataFrame(streamId, EMPTY), status]));
    expect(text((await replies.next()).value!)).toBe("a");
    expect((await replies.next()).value).toEqual(EMPTY);
    const error = await failure(replies.next());
    expect(error).toMatchObject({ code: Code.DataLoss, rawMessage: "gone" });
    expect(error.details).toMatchObject(details);
    expect(await replies.next()).toEqual({ value: undefined, done: true });
  });

  test.each([
    ["a frame of an unknown type", { type: 9, body: EMPTY }],
    ["a response of garbage", { type: FrameType.Response, body: new Uint8Array([0xff]) }],
    ["an end that carries data", { ...CLOSE, body: bytes("data") }],
  ])("turns %s into Internal", async (_, frame) => {
    const outcome = repliesTo((peer, streamId) => peer.send(encodeFrame({ streamId, ...frame })));
    expect((await failure(outcome)).code).toBe(Code.Internal);
  });

  test("treats data in answer to a client-streaming call as an error", async () => {
    await using raw = await rawServerOf();
    const { connection, peer } = raw;
    const call = failure(
      connection.clientStreaming(
        SERVICE,
        "Up",
        times(0, () => EMPTY),
      ),
    );
    const { streamId } = await peer.nextRequest();
    await peer.send(dataFrame(streamId, bytes("no response")));
    expect((await call).code).toBe(Code.Internal);
  });

  test("drops messages after the end of a stream and for streams that never existed", async () => {
    const replies = await repliesTo((peer, id) =>
      peer.send(
        Buffer.concat([
          dataFrame(1001, bytes("whose?")),
          dataFrame(id, bytes("a")),
          closeFrame(id),
          dataFrame(id, bytes("late")),
          closeFrame(id),
        ]),
      ),
    );
    expect(replies.map(text)).toEqual(["a"]);
  });
});

describe("our server with a client of raw frames", () => {
  test.each([
    ["without data, as Rust opens it", Flag.RemoteOpen | Flag.NoData, EMPTY, "1:a"],
    ["with an empty payload, as Go opens it", Flag.RemoteOpen, EMPTY, "1:a"],
    ["with a payload, which is the first message", Flag.RemoteOpen, bytes("first"), "2:first,a"],
  ])("accepts a stream that is opened %s", async (_, flags, payload, expected) => {
    await using raw = await rawClientOf(list);
    const { peer } = raw;
    await peer.send(openingFrame(1, flags, { method: "List", payload }));
    await peer.send(dataFrame(1, bytes("a")));
    await peer.send(closeFrame(1));
    expect(text((await peer.nextResponse()).payload)).toBe(expected);
    await expectServes(peer, 3);
  });

  test("delivers an empty first message, but not the phantom before it", async () => {
    await using raw = await rawClientOf(list);
    const { peer } = raw;
    const opening = openingFrame(1, Flag.RemoteOpen, { method: "List" });
    await peer.send(Buffer.concat([opening, dataFrame(1, EMPTY), dataFrame(1, EMPTY), closeFrame(1)]));
    expect(text((await peer.nextResponse()).payload)).toBe("2:,");
  });

  test("accepts a last message that also ends the requests", async () => {
    await using raw = await rawClientOf(list);
    const { peer } = raw;
    await peer.send(openingFrame(1, Flag.RemoteOpen | Flag.NoData, { method: "List" }));
    await peer.send(Buffer.concat([dataFrame(1, bytes("a")), dataFrame(1, bytes("b"), Flag.RemoteClosed)]));
    expect(text((await peer.nextResponse()).payload)).toBe("2:a,b");
    await expectServes(peer, 3);
  });

  test("refuses an end that carries data, and the connection continues", async () => {
    await using raw = await rawClientOf(list);
    const { peer } = raw;
    await peer.send(openingFrame(1, Flag.RemoteOpen | Flag.NoData, { method: "List" }));
    await peer.send(dataFrame(1, bytes("data"), Flag.RemoteClosed | Flag.NoData));
    expect((await peer.nextResponse()).status.code).toBe(Code.InvalidArgument);
    await expectServes(peer, 3);
  });

  test("ends a bidirectional stream with a half-close", async () => {
    await using raw = await rawClientOf(list);
    const { peer } = raw;
    await peer.send(openingFrame(1, Flag.RemoteOpen | Flag.NoData, { method: "Echo" }));
    await peer.send(dataFrame(1, EMPTY));
    expect(await peer.nextFrame()).toMatchObject({
      streamId: 1,
      type: FrameType.Data,
      flags: 0,
      body: EMPTY,
    });
    await peer.send(closeFrame(1));
    expect(await peer.nextFrame()).toMatchObject({ streamId: 1, ...CLOSE });
  });

  test("refuses messages for streams that ended or never existed, and the connection continues", async () => {
    await using raw = await rawClientOf(list);
    const { peer } = raw;
    await peer.send(dataFrame(1, bytes("whose?")));
    expect((await peer.nextResponse()).status.code).toBe(Code.InvalidArgument);
    await expectServes(peer, 3);
    await peer.send(dataFrame(3, bytes("late")));
    expect((await peer.nextResponse()).status.code).toBe(Code.InvalidArgument);
    await expectServes(peer, 5);
  });

  test("answers an unknown stream method and an unknown service with Unimplemented", async () => {
    await using raw = await rawClientOf(list);
    const { peer } = raw;
    await peer.send(openingFrame(1, Flag.RemoteOpen, { method: "Nope" }));
    expect((await peer.nextResponse()).status.code).toBe(Code.Unimplemented);
    await peer.send(openingFrame(3, Flag.RemoteOpen, { service: "no.Such", method: "List" }));
    expect((await peer.nextResponse()).status.code).toBe(Code.Unimplemented);
    await expectServes(peer, 5);
  });

  test("answers DeadlineExceeded to a timeout that had passed when it arrived", async () => {
    await using raw = await rawClientOf(list);
    const { peer } = raw;
    await peer.send(openingFrame(1, Flag.RemoteOpen, { method: "List", timeoutNano: -5n }));
    expect((await peer.nextResponse()).status.code).toBe(Code.DeadlineExceeded);
    await expectServes(peer, 3);
  });

  test("treats a unary request to a streaming method as a stream of one message", async () => {
    await using raw = await rawClientOf(list);
    const { peer } = raw;
    const body = encodeRequest({ service: SERVICE, method: "Echo", payload: bytes("one") });
    await peer.send(encodeFrame({ streamId: 1, type: FrameType.Request, body }));
    expect(await peer.nextFrame()).toMatchObject({ streamId: 1, type: FrameType.Data, body: bytes("one") });
  });
});

test("our client gets Unimplemented for a streaming method or a service that our server lacks", async () => {
  await using pair = await pairOf(list);
  const { connection } = pair;
  const source = new Source(() => EMPTY);
  const calls = [
    collect(connection.bidiStreaming(SERVICE, "Nope", source)),
    collect(connection.serverStreaming("no.Such", "List", EMPTY)),
    connection.clientStreaming(SERVICE, "Nope", new Source(() => EMPTY)),
  ];
  for (const call of calls) expect((await failure(call)).code).toBe(Code.Unimplemented);
  await source.left;
  expect(
    text(
      await connection.clientStreaming(
        SERVICE,
        "List",
        times(1, () => bytes("a")),
      ),
    ),
  ).toBe("1:a");
});
