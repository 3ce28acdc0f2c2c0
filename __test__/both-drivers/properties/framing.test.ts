import { connect, createServer } from "containerd-shim-protos";
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { text } from "../../helpers/outcome.js";
import { type RawConnection, rawConnect, RawServer } from "../../helpers/raw-peer.js";
import { temporaryAddress } from "../../helpers/temp.js";
import { encodeFrame, encodeRequest, encodeResponse, FrameType } from "../../helpers/wire.js";

const EMPTY = new Uint8Array();

/** Payloads to cut: small ones, many of which fit a piece, and ones that take several reads. */
const payload = fc.oneof(
  { weight: 8, arbitrary: fc.uint8Array({ maxLength: 40 }) },
  {
    weight: 1,
    arbitrary: fc
      .record({ size: fc.integer({ min: 4000, max: 150_000 }), fill: fc.nat(255) })
      .map(({ size, fill }) => new Uint8Array(size).fill(fill)),
  },
);

/** Lengths of the pieces, used in turn until all is sent. Mistakes hide in those of about a header's size. */
const pieces = fc.array(fc.oneof(fc.integer({ min: 1, max: 12 }), fc.integer({ min: 1, max: 100_000 })), {
  minLength: 1,
  maxLength: 12,
});

/** Sends bytes in pieces, each of which the other side reads by itself if at all possible. */
async function sendInPieces(
  connection: RawConnection,
  bytes: Buffer,
  lengths: readonly number[],
): Promise<void> {
  connection.socket.setNoDelay(true);
  let small = 0;
  for (let at = 0, index = 0; at < bytes.length; index++) {
    // More small pieces of a large message would not show more.
    const length = small > 200 ? bytes.length - at : lengths[index % lengths.length]!;
    if (length < 1000) small++;
    await connection.send(bytes.subarray(at, at + length));
    at += length;
    await new Promise((resolve) => {
      setImmediate(resolve);
    });
  }
}

test("requests in any pieces reach our server whole, in order and once", async () => {
  const seen: Buffer[] = [];
  await using server = createServer().addRaw("test.Echo", {
    Echo: {
      kind: "unary",
      handle(request) {
        seen.push(Buffer.from(request));
        return request;
      },
    },
  });
  const address = await server.listen(temporaryAddress());
  await fc.assert(
    fc.asyncProperty(
      fc.array(payload, { minLength: 1, maxLength: 12 }),
      pieces,
      async (payloads, lengths) => {
        seen.length = 0;
        using client = await rawConnect(address);
        const frames = payloads.map((body, index) =>
          encodeFrame({
            streamId: 2 * index + 1,
            type: FrameType.Request,
            body: encodeRequest({ service: "test.Echo", method: "Echo", payload: body }),
          }),
        );
        await sendInPieces(client, Buffer.concat(frames), lengths);
        for (const [index, body] of payloads.entries()) {
          const response = await client.nextResponse();
          expect({ streamId: response.streamId, code: response.status.code }).toEqual({
            streamId: 2 * index + 1,
            code: 0,
          });
          expect(Buffer.compare(response.payload, body)).toBe(0);
        }
        expect(seen.length).toBe(payloads.length);
        for (const [index, body] of payloads.entries()) expect(Buffer.compare(seen[index]!, body)).toBe(0);
      },
    ),
    { numRuns: 60 },
  );
}, 60_000);

test("replies in any pieces and any order reach the calls that they belong to", async () => {
  await using server = await RawServer.listen();
  await using connection = await connect(server.address);
  const peer = await server.accept();
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(payload, fc.nat()), { minLength: 1, maxLength: 12 }),
      pieces,
      async (replies, lengths) => {
        const calls = replies.map(() => connection.unary("a.B", "C", EMPTY));
        const ids: number[] = [];
        for (const _ of calls) ids.push((await peer.nextRequest()).streamId);
        const frames = replies.map(([body, order], index) => ({
          order,
          frame: encodeFrame({
            streamId: ids[index]!,
            type: FrameType.Response,
            body: encodeResponse({ status: {}, payload: body }),
          }),
        }));
        frames.sort((a, b) => a.order - b.order);
        await sendInPieces(peer, Buffer.concat(frames.map(({ frame }) => frame)), lengths);
        for (const [index, reply] of (await Promise.all(calls)).entries()) {
          expect(Buffer.compare(reply, replies[index]![0])).toBe(0);
        }
      },
    ),
    { numRuns: 60 },
  );
}, 60_000);

test("whatever bytes arrive, our server answers the next good client, and the call of our client ends", async () => {
  await using server = createServer().addRaw("test.Echo", {
    Echo: { kind: "unary", handle: (request) => request },
    Chat: {
      kind: "bidi_streaming",
      async *handle(requests) {
        yield* requests;
      },
    },
  });
  const address = await server.listen(temporaryAddress());

  /** Any bytes, and any frames, because a frame gets further. */
  const junk = fc.array(
    fc.oneof(
      fc.uint8Array({ maxLength: 64 }).map((bytes) => Buffer.from(bytes)),
      fc
        .record({
          streamId: fc.oneof(fc.nat(9), fc.nat(2 ** 32 - 1)),
          type: fc.oneof(fc.integer({ min: 1, max: 3 }), fc.nat(255)),
          flags: fc.oneof(fc.nat(7), fc.nat(255)),
          body: fc.oneof(
            fc.uint8Array({ maxLength: 64 }),
            fc
              .constantFrom("Echo", "Chat", "Nope")
              .map((method) => encodeRequest({ service: "test.Echo", method, payload: EMPTY })),
            fc.integer().map((code) => encodeResponse({ status: { code }, payload: EMPTY })),
          ),
        })
        .map((frame) => encodeFrame(frame)),
    ),
    { minLength: 1, maxLength: 10 },
  );
  await fc.assert(
    fc.asyncProperty(junk, async (parts) => {
      using client = await rawConnect(address);
      await client.send(Buffer.concat(parts)).catch(() => undefined);
      await using good = await connect(address);
      expect(text(await good.unary("test.Echo", "Echo", new TextEncoder().encode("good")))).toBe("good");

      await using raw = await RawServer.listen();
      await using connection = await connect(raw.address);
      const peer = await raw.accept();
      const call = connection.unary("a.B", "C", EMPTY).then(
        () => undefined,
        () => undefined,
      );
      await peer.nextRequest();
      await peer.send(Buffer.concat(parts)).catch(() => undefined);
      peer.end();
      // Whatever arrived, the call ends.
      await call;
      await connection.closed;
    }),
    { numRuns: 80 },
  );
}, 60_000);
