import { Code, codeName, connect, type Connection, createClient } from "containerd-shim-protos";
import { Task } from "containerd-shim-protos/task/v3";
import { describe, expect, test } from "vitest";
import { bytes, failure, text } from "../helpers/outcome.js";
import { LARGE, type RawConnection, RawServer, sayAndReset, someArrived } from "../helpers/raw-peer.js";
import { encodeFrame, encodeResponse, FrameType } from "../helpers/wire.js";

const EMPTY = new Uint8Array();
const HTTP = bytes("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");

/** Our client connected to a server of raw frames. */
async function clientOfRaw() {
  const server = await RawServer.listen();
  const connection = await connect(server.address);
  const peer = await server.accept();
  return {
    connection,
    peer,
    async [Symbol.asyncDispose]() {
      await connection.close();
      await server[Symbol.asyncDispose]();
    },
  };
}

/** The connection must carry calls as if nothing had happened. */
async function expectClientGoesOn(connection: Connection, peer: RawConnection): Promise<void> {
  const call = connection.unary("a.B", "Next", bytes("ping"));
  const { streamId, method, payload } = await peer.nextRequest();
  expect({ method, payload: text(payload) }).toEqual({ method: "Next", payload: "ping" });
  await peer.reply(streamId, bytes("pong"));
  expect(text(await call)).toBe("pong");
}

describe("our client with a server that misbehaves", () => {
  test.each([
    ["empty", 0, EMPTY],
    ["of a response's bytes", 0, encodeResponse({ status: {}, payload: bytes("not a reply") })],
    ["that ends the stream", 1, EMPTY],
    ["without data that ends the stream", 5, EMPTY],
  ])("accepts no DATA frame %s as the reply to a unary call", async (_, flags, body) => {
    await using pair = await clientOfRaw();
    const { connection, peer } = pair;
    const call = failure(connection.unary("a.B", "C", EMPTY));
    const { streamId } = await peer.nextRequest();
    await peer.send(encodeFrame({ streamId, type: FrameType.Data, flags, body }));
    expect(await call).toMatchObject({ code: Code.Internal });
    await expectClientGoesOn(connection, peer);
  });

  test.each([FrameType.Request, 0, 4, 255])("accepts no frame of the type %i as a reply", async (type) => {
    await using pair = await clientOfRaw();
    const { connection, peer } = pair;
    const call = failure(connection.unary("a.B", "C", EMPTY));
    const { streamId } = await peer.nextRequest();
    await peer.send(encodeFrame({ streamId, type, body: encodeResponse({ payload: bytes("x") }) }));
    expect(await call).toMatchObject({ code: Code.Internal });
    await expectClientGoesOn(connection, peer);
  });

  test.each([17, 99, -1, 2 ** 31 - 1, -(2 ** 31)])("treats the status code %i as an error", async (code) => {
    await using pair = await clientOfRaw();
    const { connection, peer } = pair;
    const call = failure(connection.unary("a.B", "C", EMPTY));
    const { streamId } = await peer.nextRequest();
    await peer.replyStatus(streamId, { code, message: "strange" });
    const error = await call;
    expect(error).toMatchObject({ code, rawMessage: "strange", details: [] });
    expect(codeName(error.code)).toBe(`Code ${code}`);
    await expectClientGoesOn(connection, peer);
  });

  test("treats a status code with a payload as an error", async () => {
    await using pair = await clientOfRaw();
    const { connection, peer } = pair;
    const call = failure(connection.unary("a.B", "C", EMPTY));
    const { streamId } = await peer.nextRequest();
    const body = encodeResponse({ status: { code: Code.Aborted }, payload: bytes("ignored") });
    await peer.send(encodeFrame({ streamId, type: FrameType.Response, body }));
    expect(await call).toMatchObject({ code: Code.Aborted, rawMessage: "" });
  });

  test("treats a response of no bytes, as Go sends it, as an empty reply", async () => {
    await using pair = await clientOfRaw();
    const { connection, peer } = pair;
    const raw = connection.unary("a.B", "C", EMPTY);
    const first = await peer.nextRequest();
    await peer.send(encodeFrame({ streamId: first.streamId, type: FrameType.Response, body: EMPTY }));
    expect(await raw).toEqual(EMPTY);

    const typed = createClient(Task, connection).pause({ id: "a" });
    const second = await peer.nextRequest();
    await peer.send(encodeFrame({ streamId: second.streamId, type: FrameType.Response, body: EMPTY }));
    expect(await typed).toMatchObject({ $typeName: "google.protobuf.Empty" });
  });

  test.each([
    ["a field cut short", [0x12, 100, 1]],
    ["no tag", [0xff]],
    ["a status that is garbage", [0x0a, 2, 0xff, 0xff]],
    ["a message that is not UTF-8", [0x0a, 5, 0x08, 5, 0x12, 1, 0xff]],
  ])("turns a response of %s into Internal", async (_, garbage) => {
    await using pair = await clientOfRaw();
    const { connection, peer } = pair;
    const call = failure(connection.unary("a.B", "C", EMPTY));
    const { streamId } = await peer.nextRequest();
    await peer.send(encodeFrame({ streamId, type: FrameType.Response, body: new Uint8Array(garbage) }));
    expect(await call).toMatchObject({ code: Code.Internal });
    await expectClientGoesOn(connection, peer);
  });

  test("takes the first of two replies and drops the second", async () => {
    await using pair = await clientOfRaw();
    const { connection, peer } = pair;
    const call = connection.unary("a.B", "C", EMPTY);
    const { streamId } = await peer.nextRequest();
    const frames = ["first", "second"].map((reply) =>
      encodeFrame({
        streamId,
        type: FrameType.Response,
        body: encodeResponse({ status: {}, payload: bytes(reply) }),
      }),
    );
    await peer.send(Buffer.concat(frames));
    expect(text(await call)).toBe("first");
    await expectClientGoesOn(connection, peer);
  });

  test("drops replies and data for ids that it never used", async () => {
    await using pair = await clientOfRaw();
    const { connection, peer } = pair;
    const call = connection.unary("a.B", "C", EMPTY);
    const { streamId } = await peer.nextRequest();
    for (const wrong of [0, 2, streamId + 2, 2 ** 31 + 1, 2 ** 32 - 1]) {
      await peer.reply(wrong, bytes("for nobody"));
      await peer.send(encodeFrame({ streamId: wrong, type: FrameType.Data, body: bytes("for nobody") }));
    }
    await peer.reply(streamId, bytes("mine"));
    expect(text(await call)).toBe("mine");
    await expectClientGoesOn(connection, peer);
  });

  test("assembles a reply that arrives byte by byte", async () => {
    await using pair = await clientOfRaw();
    const { connection, peer } = pair;
    peer.socket.setNoDelay(true);
    const call = connection.unary("a.B", "C", EMPTY);
    const { streamId } = await peer.nextRequest();
    const body = encodeResponse({ status: {}, payload: bytes("slowly") });
    for (const byte of encodeFrame({ streamId, type: FrameType.Response, body })) {
      await peer.send(new Uint8Array([byte]));
      // The event loop gets a turn, so that the client reads each byte by itself.
      await new Promise((resolve) => {
        setImmediate(resolve);
      });
    }
    expect(text(await call)).toBe("slowly");
    await expectClientGoesOn(connection, peer);
  });

  test("accepts replies in one packet, in another order than their calls", async () => {
    await using pair = await clientOfRaw();
    const { connection, peer } = pair;
    const calls = Array.from({ length: 20 }, (_, index) =>
      connection.unary("a.B", "C", bytes(`call ${index}`)),
    );
    const frames: Buffer[] = [];
    for (const _ of calls) {
      const { streamId, payload } = await peer.nextRequest();
      const body = encodeResponse({ status: {}, payload });
      frames.unshift(encodeFrame({ streamId, type: FrameType.Response, body }));
    }
    await peer.send(Buffer.concat(frames));
    const replies = (await Promise.all(calls)).map(text);
    expect(replies).toEqual(calls.map((_, index) => `call ${index}`));
  });

  test("gives calls odd, increasing ids", async () => {
    await using pair = await clientOfRaw();
    const { connection, peer } = pair;
    const calls = Array.from({ length: 300 }, () => connection.unary("a.B", "C", EMPTY));
    const ids: number[] = [];
    for (const _ of calls) {
      const { streamId, flags } = await peer.nextRequest();
      expect(flags).toBe(0);
      ids.push(streamId);
      await peer.reply(streamId, EMPTY);
    }
    await Promise.all(calls);
    expect(ids).toEqual(calls.map((_, index) => 2 * index + 1));
  });

  test("fails all calls with the same error when the peer closes between two messages", async () => {
    await using pair = await clientOfRaw();
    const { connection, peer } = pair;
    const calls = [1, 2, 3].map(() => failure(connection.unary("a.B", "C", EMPTY)));
    for (const _ of calls) await peer.nextRequest();
    peer.end();
    for (const error of await Promise.all(calls)) {
      expect(error).toMatchObject({ code: Code.Unavailable, cause: { code: "ERR_TTRPC_CLOSED" } });
    }
    expect(await connection.closed).toEqual({ reason: "remote" });
    expect(await failure(connection.unary("a.B", "C", EMPTY))).toMatchObject({
      code: Code.Unavailable,
      cause: { code: "ERR_TTRPC_CLOSED" },
    });
  });

  test.each([
    ["a header", (frame: Buffer) => frame.subarray(0, 4)],
    ["a body", (frame: Buffer) => frame.subarray(0, -1)],
  ])("fails with ECONNRESET when the peer closes in the middle of %s", async (_, cut) => {
    await using pair = await clientOfRaw();
    const { connection, peer } = pair;
    const call = failure(connection.unary("a.B", "C", EMPTY));
    const { streamId } = await peer.nextRequest();
    const body = encodeResponse({ status: {}, payload: bytes("never whole") });
    await peer.send(cut(encodeFrame({ streamId, type: FrameType.Response, body })));
    peer.end();
    expect(await call).toMatchObject({ code: Code.Unavailable, cause: { code: "ECONNRESET" } });
    const { reason, error } = await connection.closed;
    expect(reason).toBe("error");
    expect(error).toMatchObject({ code: Code.Unavailable, cause: { code: "ECONNRESET" } });
  });

  test("delivers a reply that comes right before the peer closes", async () => {
    await using pair = await clientOfRaw();
    const { connection, peer } = pair;
    const call = connection.unary("a.B", "C", EMPTY);
    const { streamId } = await peer.nextRequest();
    const body = encodeResponse({ status: {}, payload: bytes("last words") });
    peer.socket.end(encodeFrame({ streamId, type: FrameType.Response, body }));
    expect(text(await call)).toBe("last words");
    expect(await connection.closed).toEqual({ reason: "remote" });
  });

  test("delivers a reply that comes right before the peer resets the connection", async () => {
    await using pair = await clientOfRaw();
    const { connection, peer } = pair;
    const call = connection.unary("a.B", "C", LARGE);
    await someArrived(peer);
    const body = encodeResponse({ status: {}, payload: bytes("last words") });
    sayAndReset(peer, encodeFrame({ streamId: 1, type: FrameType.Response, body }));
    expect(text(await call)).toBe("last words");
    expect(await connection.closed).toMatchObject({
      reason: "error",
      error: { code: Code.Unavailable, cause: { code: "ECONNRESET" } },
    });
  });

  test("fails calls when the peer resets the connection in the middle of a frame", async () => {
    await using pair = await clientOfRaw();
    const { connection, peer } = pair;
    const call = failure(connection.unary("a.B", "C", LARGE));
    await someArrived(peer);
    sayAndReset(peer, new Uint8Array([0, 0, 0]));
    expect(await call).toMatchObject({ code: Code.Unavailable, cause: { code: "ECONNRESET" } });
    expect(await connection.closed).toMatchObject({ reason: "error" });
  });

  test.each([
    ["HTTP", HTTP],
    ["TLS", new Uint8Array([0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3])],
    ["a frame of 16 MiB", new Uint8Array([1, 0, 0, 0, 0, 0, 0, 1, 2, 0])],
  ])("ends a connection to a server that speaks %s", async (_, spoken) => {
    await using pair = await clientOfRaw();
    const { connection, peer } = pair;
    const call = failure(connection.unary("a.B", "C", EMPTY));
    await peer.nextRequest();
    await peer.send(spoken);
    expect(await call).toMatchObject({ code: Code.Unavailable });
    const { reason, error } = await connection.closed;
    expect(reason).toBe("protocol");
    expect(error?.message).toContain("not a ttrpc frame");
    await peer.ended;
    expect(await failure(connection.unary("a.B", "C", EMPTY))).toMatchObject({ code: Code.Unavailable });
  });

  test("delivers the replies that came before bytes that are not ttrpc", async () => {
    await using pair = await clientOfRaw();
    const { connection, peer } = pair;
    const calls = [
      connection.unary("a.B", "C", EMPTY),
      failure(connection.unary("a.B", "D", EMPTY)),
    ] as const;
    const { streamId } = await peer.nextRequest();
    await peer.nextRequest();
    const body = encodeResponse({ status: {}, payload: bytes("good") });
    await peer.send(Buffer.concat([encodeFrame({ streamId, type: FrameType.Response, body }), HTTP]));
    expect(text(await calls[0])).toBe("good");
    expect(await calls[1]).toMatchObject({ code: Code.Unavailable });
  });
});
