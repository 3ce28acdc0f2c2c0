import { Code } from "containerd-shim-protos";
import { describe, expect, test } from "vitest";
import { aborted, bytes, deferred, text } from "../../helpers/outcome.js";
import { rawConnect } from "../../helpers/raw-peer.js";
import { encodeFrame, encodeRequest, FRAME_LIMIT, FrameType } from "../../helpers/wire.js";
import {
  data,
  ECHO,
  EMPTY,
  expectGoodClientServed,
  expectServed,
  request,
  HOLD,
  serverOfRaw,
  turn,
} from "./raw-pairs.js";

/** A server whose handler holds request 1, with the payload "held", until it is released. */
async function held() {
  const [entered, release] = [deferred(), deferred()];
  const pair = await serverOfRaw({
    Hold: {
      kind: "unary",
      async handle(payload) {
        entered.resolve();
        await release.promise;
        return payload;
      },
    },
  });
  await pair.client.send(request(1, { ...HOLD, payload: bytes("held") }));
  await entered.promise;
  return { pair, release };
}

describe("stream ids at our server", () => {
  test("that were used are INVALID_ARGUMENT, as in Go, and the request is not run", async () => {
    await using pair = await serverOfRaw();
    const { client, echoed } = pair;
    expect(text((await client.call(5, { ...ECHO, payload: bytes("first") })).payload)).toBe("first");
    const { status } = await client.call(5, { ...ECHO, payload: bytes("again") });
    expect(status).toMatchObject({
      code: Code.InvalidArgument,
      message: "StreamID cannot be re-used and must increment",
    });
    expect(echoed).toEqual(["first"]);
    await expectServed(pair, 7);
  });

  test("that were overtaken, as happens with ttrpc's Rust client under load, are served", async () => {
    await using pair = await serverOfRaw();
    const { client, echoed } = pair;
    for (const id of [5, 3, 1]) {
      expect(text((await client.call(id, { ...ECHO, payload: bytes(`${id}`) })).payload)).toBe(`${id}`);
    }
    expect((await client.call(3, ECHO)).status.code).toBe(Code.InvalidArgument);
    expect(echoed).toEqual(["5", "3", "1"]);
  });

  test("that are reused while their call runs do not disturb it", async () => {
    const { pair: made, release } = await held();
    await using pair = made;
    const { client } = pair;
    const { status } = await client.call(1, { ...ECHO, payload: bytes("again") });
    expect(status.code).toBe(Code.InvalidArgument);
    release.resolve();
    const { streamId, payload } = await client.nextResponse();
    expect({ streamId, payload: text(payload) }).toEqual({ streamId: 1, payload: "held" });
    await expectServed(pair);
  });

  test("that are even do not count as used", async () => {
    await using pair = await serverOfRaw();
    expect((await pair.client.call(100, ECHO)).status.code).toBe(Code.InvalidArgument);
    await expectServed(pair, 3);
  });

  test("may leave gaps, and end at the largest", async () => {
    await using pair = await serverOfRaw();
    for (const id of [1, 9, 2 ** 31 + 1, 2 ** 32 - 1]) {
      expect((await pair.client.call(id, ECHO)).status.code).toBe(0);
    }
    const { status } = await pair.client.call(9, ECHO);
    expect(status.code).toBe(Code.InvalidArgument);
    await expectGoodClientServed(pair.address);
  });
});

describe("flags at our server", () => {
  test.each([1, 2, 4, 6, 0x80, 0xff])("such as %i do not affect a unary request", async (flags) => {
    await using pair = await serverOfRaw();
    await pair.client.send(request(1, { ...ECHO, payload: bytes("flagged") }, flags));
    const { streamId, payload } = await pair.client.nextResponse();
    expect({ streamId, payload: text(payload) }).toEqual({ streamId: 1, payload: "flagged" });
    await expectServed(pair);
  });
});

describe("data for a running unary request at our server", () => {
  test("is INVALID_ARGUMENT on its id, and the request's own answer follows", async () => {
    const { pair: made, release } = await held();
    await using pair = made;
    const { client } = pair;
    await client.send(data(1, "nobody asked"));
    const refused = await client.nextResponse();
    expect({ id: refused.streamId, code: refused.status.code }).toEqual({
      id: 1,
      code: Code.InvalidArgument,
    });
    release.resolve();
    const served = await client.nextResponse();
    expect({ id: served.streamId, payload: text(served.payload) }).toEqual({ id: 1, payload: "held" });
    await expectServed(pair);
  });
});

describe("a frame that announces more than it has, at our server", () => {
  test("of 4 GiB ends the connection at its first bytes", async () => {
    await using pair = await serverOfRaw();
    await pair.client.send(encodeFrame({ streamId: 1, type: FrameType.Request, body: EMPTY }, 2 ** 32 - 1));
    await pair.client.ended;
    await expectGoodClientServed(pair.address);
  });

  test("of a byte below 16 MiB, from fifty clients at once, takes no memory", async () => {
    await using pair = await serverOfRaw();
    const before = process.memoryUsage.rss();
    const clients = await Promise.all(Array.from({ length: 50 }, () => rawConnect(pair.address)));
    const header = encodeFrame({ streamId: 1, type: FrameType.Request, body: EMPTY }, (1 << 24) - 1);
    for (const client of clients) await client.send(header);
    await expectServed(pair);
    // A buffer for each would be 800 MiB.
    expect(process.memoryUsage.rss() - before).toBeLessThan(100 << 20);
    for (const client of clients) client[Symbol.dispose]();
    await expectGoodClientServed(pair.address);
  });

  test("of 4 MiB and no body, from fifty clients at once, takes no more than a huge page for each", async () => {
    await using pair = await serverOfRaw();
    const before = process.memoryUsage.rss();
    const clients = await Promise.all(Array.from({ length: 50 }, () => rawConnect(pair.address)));
    const header = encodeFrame({ streamId: 1, type: FrameType.Request, body: EMPTY }, FRAME_LIMIT);
    for (const client of clients) await client.send(header);
    await expectServed(pair);
    // The kernel gives 2 MiB at the first touch; all 4 MiB of each would be 200 MiB.
    expect(process.memoryUsage.rss() - before).toBeLessThan(128 << 20);
    for (const client of clients) client[Symbol.dispose]();
  });

  test("is dropped when its client closes in the middle of it", async () => {
    await using pair = await serverOfRaw();
    const { client } = pair;
    await client.send(encodeFrame({ streamId: 1, type: FrameType.Request, body: bytes("half") }, 1000));
    client.end();
    await client.ended;
    await expectGoodClientServed(pair.address);
  });
});

describe("a client that is slow or stops", () => {
  test("is answered when it sends a frame in pieces smaller than a header, and others are served meanwhile", async () => {
    await using pair = await serverOfRaw();
    const { client } = pair;
    client.socket.setNoDelay(true);
    const frame = request(1, { ...ECHO, payload: bytes("in pieces") });
    for (const [from, to] of [
      [0, 5],
      [5, 9],
      [9, 10],
      [10, 12],
      [12, frame.length],
    ] as const) {
      await client.send(frame.subarray(from, to));
      await turn();
      // A client that sends so little keeps nobody waiting.
      await expectGoodClientServed(pair.address);
    }
    expect(text((await client.nextResponse()).payload)).toBe("in pieces");
  });

  test("is answered frame by frame, while others are served in between", async () => {
    await using pair = await serverOfRaw();
    const { client, address } = pair;
    for (let id = 1; id < 20; id += 2) {
      const { payload } = await client.call(id, { ...ECHO, payload: bytes(`${id}`) });
      expect(text(payload)).toBe(`${id}`);
      await expectGoodClientServed(address);
    }
  });

  test("has its request aborted when it ends its side of the socket, as in Go", async () => {
    const entered = deferred<AbortSignal>();
    await using pair = await serverOfRaw({
      Hold: {
        kind: "unary",
        async handle(_, { signal }) {
          entered.resolve(signal);
          await aborted(signal);
          return EMPTY;
        },
      },
    });
    const { client } = pair;
    await client.send(request(1, HOLD));
    const signal = await entered.promise;
    client.end();
    expect(await aborted(signal)).toMatchObject({ code: Code.Canceled });
    await client.ended;
    await expectGoodClientServed(pair.address);
  });
});

describe("timeouts at our server", () => {
  test("of 1 ns end a handler that does not answer at once", async () => {
    await using pair = await serverOfRaw({
      Hold: { kind: "unary", handle: (_, { signal }) => aborted(signal).then(() => EMPTY) },
    });
    const { status } = await pair.client.call(1, { ...HOLD, timeoutNano: 1n });
    expect(status.code).toBe(Code.DeadlineExceeded);
    await expectServed(pair);
  });

  test.each([-1n, -(2n ** 63n)])("of %s ns have passed already, and no handler runs", async (timeoutNano) => {
    await using pair = await serverOfRaw();
    const { status } = await pair.client.call(1, { ...ECHO, timeoutNano });
    expect(status.code).toBe(Code.DeadlineExceeded);
    expect(pair.echoed).toEqual([]);
    await expectServed(pair);
  });
});

describe("a garbage request at our server", () => {
  test.each([
    ["a wrong wire type for the service", [0x08, 1]],
    ["a group that does not end", [0x0b]],
    ["a length beyond the frame in the metadata", [0x2a, 0xff, 0x01, 0]],
    ["a metadata key that is not UTF-8", [0x2a, 3, 0x0a, 1, 0xff]],
  ])("of %s is an error on its id", async (_, body) => {
    await using pair = await serverOfRaw();
    const { client } = pair;
    await client.send(encodeFrame({ streamId: 1, type: FrameType.Request, body: new Uint8Array(body) }));
    const { streamId, status } = await client.nextResponse();
    expect(streamId).toBe(1);
    expect([Code.InvalidArgument, Code.Unimplemented]).toContain(status.code);
    await expectServed(pair);
  });

  test("with an unknown field is served", async () => {
    await using pair = await serverOfRaw();
    const body = Buffer.concat([
      encodeRequest({ ...ECHO, payload: bytes("and more") }),
      Buffer.from([0x78, 1]),
    ]);
    await pair.client.send(encodeFrame({ streamId: 1, type: FrameType.Request, body }));
    expect(text((await pair.client.nextResponse()).payload)).toBe("and more");
    await expectServed(pair);
  });
});
