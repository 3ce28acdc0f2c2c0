import { Code, type RawMethods } from "containerd-shim-protos";
import { describe, expect, test } from "vitest";
import { aborted, bytes, deferred, text } from "../../helpers/outcome.js";
import { decodeResponse, FRAME_LIMIT, FrameType } from "../../helpers/wire.js";
import {
  CHAT,
  data,
  ECHO,
  EMPTY,
  expectGoodClientServed,
  expectServed,
  Flag,
  HALF_CLOSE,
  LIST,
  OPEN_BY_GO,
  OPEN_BY_RUST,
  request,
  serverOfRaw,
  SUM,
} from "./raw-pairs.js";

/** What each stream's handler saw, in order. */
function streams() {
  const seen: string[] = [];
  const methods: RawMethods = {
    Chat: {
      kind: "bidi_streaming",
      async *handle(requests) {
        for await (const message of requests) {
          seen.push(text(message));
          yield message;
        }
        seen.push("(end)");
      },
    },
    Sum: {
      kind: "client_streaming",
      async handle(requests) {
        let sum = "";
        for await (const message of requests) sum += `[${text(message)}]`;
        return bytes(sum);
      },
    },
    List: {
      kind: "server_streaming",
      async *handle(payload) {
        yield payload;
        yield bytes("last");
      },
    },
  };
  return { seen, methods };
}

describe("how a client opens a stream of our server", () => {
  test.each([
    ["as Go does, with no empty message at the front", OPEN_BY_GO],
    ["as Rust does", OPEN_BY_RUST],
    ["as Rust does, with unknown flags", OPEN_BY_RUST | 0xf0],
  ])("%s", async (_, flags) => {
    const { methods } = streams();
    await using pair = await serverOfRaw(methods);
    const { client } = pair;
    await client.send(
      Buffer.concat([
        request(1, SUM, flags),
        data(1, "a"),
        data(1, ""),
        data(1, "b"),
        data(1, "", HALF_CLOSE),
      ]),
    );
    const { streamId, payload } = await client.nextResponse();
    expect({ streamId, payload: text(payload) }).toEqual({ streamId: 1, payload: "[a][][b]" });
    await expectServed(pair);
  });

  test("with a first message in the request, which is delivered", async () => {
    const { methods } = streams();
    await using pair = await serverOfRaw(methods);
    const { client } = pair;
    await client.send(
      Buffer.concat([
        request(1, { ...SUM, payload: bytes("first") }, Flag.RemoteOpen),
        data(1, "second"),
        data(1, "", HALF_CLOSE),
      ]),
    );
    expect(text((await client.nextResponse()).payload)).toBe("[first][second]");
    await expectServed(pair);
  });

  test("with a request that closes at once and carries its only message, even an empty one", async () => {
    const { methods } = streams();
    await using pair = await serverOfRaw(methods);
    await pair.client.send(request(1, SUM, Flag.RemoteClosed));
    expect(text((await pair.client.nextResponse()).payload)).toBe("[]");
    await expectServed(pair);
  });

  test("with a request that closes at once and has no data, which is no message at all", async () => {
    const { methods } = streams();
    await using pair = await serverOfRaw(methods);
    await pair.client.send(request(1, SUM, HALF_CLOSE));
    expect(text((await pair.client.nextResponse()).payload)).toBe("");
    await expectServed(pair);
  });

  test.each([0, Flag.RemoteClosed, OPEN_BY_GO])(
    "with the flags %i if only the server streams",
    async (flags) => {
      const { methods } = streams();
      await using pair = await serverOfRaw(methods);
      const { client } = pair;
      await client.send(request(1, { ...LIST, payload: bytes("asked") }, flags));
      const frames = [await client.nextFrame(), await client.nextFrame(), await client.nextFrame()];
      expect(frames.map(({ type, flags: its, body }) => [type, its, text(body)])).toEqual([
        [FrameType.Data, 0, "asked"],
        [FrameType.Data, 0, "last"],
        [FrameType.Data, HALF_CLOSE, ""],
      ]);
      await expectServed(pair);
    },
  );
});

describe("a data frame that does not close, at our server", () => {
  test("is a message, whether it says that it has none or not", async () => {
    const { methods } = streams();
    await using pair = await serverOfRaw(methods);
    const frames = [
      data(1, "a", Flag.NoData),
      data(1, "", Flag.NoData),
      data(1, "b"),
      data(1, "", HALF_CLOSE),
    ];
    await pair.client.send(Buffer.concat([request(1, SUM, OPEN_BY_RUST), ...frames]));
    expect(text((await pair.client.nextResponse()).payload)).toBe("[a][][b]");
    await expectServed(pair);
  });
});

describe("a message that also closes, at our server", () => {
  test("is delivered before the end", async () => {
    const { methods, seen } = streams();
    await using pair = await serverOfRaw(methods);
    const { client } = pair;
    await client.send(
      Buffer.concat([request(1, CHAT, OPEN_BY_RUST), data(1, "a"), data(1, "b", Flag.RemoteClosed)]),
    );
    expect(text((await client.nextFrame()).body)).toBe("a");
    expect(text((await client.nextFrame()).body)).toBe("b");
    expect(await client.nextFrame()).toMatchObject({ type: FrameType.Data, flags: HALF_CLOSE });
    expect(seen).toEqual(["a", "b", "(end)"]);
    await expectServed(pair);
  });

  test("is INVALID_ARGUMENT if it also says that it has no data", async () => {
    const { methods } = streams();
    await using pair = await serverOfRaw(methods);
    const { client } = pair;
    await client.send(Buffer.concat([request(1, CHAT, OPEN_BY_RUST), data(1, "x", HALF_CLOSE)]));
    const { streamId, status } = await client.nextResponse();
    expect({ streamId, code: status.code }).toEqual({ streamId: 1, code: Code.InvalidArgument });
    await expectServed(pair);
  });
});

describe("data after the client's half-close, at our server", () => {
  test("reaches no handler, and the stream ends as it would without it", async () => {
    const release = deferred();
    await using pair = await serverOfRaw({
      Sum: {
        kind: "client_streaming",
        async handle(requests) {
          let sum = "";
          for await (const message of requests) sum += text(message);
          await release.promise;
          return bytes(sum);
        },
      },
    });
    const { client } = pair;
    await client.send(
      Buffer.concat([
        request(1, SUM, OPEN_BY_RUST),
        data(1, "before"),
        data(1, "", HALF_CLOSE),
        data(1, "behind"),
        data(1, "", HALF_CLOSE),
      ]),
    );
    await expectServed(pair);
    release.resolve();
    expect(text((await client.nextResponse()).payload)).toBe("before");
  });

  test("does not stop the connection, however much arrives", async () => {
    const release = deferred();
    await using pair = await serverOfRaw({
      Sum: {
        kind: "client_streaming",
        async handle(requests) {
          for await (const _ of requests);
          await release.promise;
          return bytes("done");
        },
      },
    });
    const { client } = pair;
    await client.send(Buffer.concat([request(1, SUM, OPEN_BY_RUST), data(1, "", HALF_CLOSE)]));
    const late = data(1, new Uint8Array(1 << 20));
    for (let count = 0; count < 12; count++) await client.send(late);
    await expectServed(pair);
    release.resolve();
    expect(text((await client.nextResponse()).payload)).toBe("done");
  });
});

describe("data for a stream that has ended, at our server", () => {
  test("is INVALID_ARGUMENT, and the connection continues", async () => {
    const { methods } = streams();
    await using pair = await serverOfRaw(methods);
    const { client } = pair;
    await client.send(Buffer.concat([request(1, SUM, OPEN_BY_RUST), data(1, "", HALF_CLOSE)]));
    await client.nextResponse();
    await client.send(data(1, "late"));
    const { streamId, status } = await client.nextResponse();
    expect({ streamId, code: status.code }).toEqual({ streamId: 1, code: Code.InvalidArgument });
    await expectServed(pair);
  });
});

describe("an oversized message of a stream, at our server", () => {
  test.each([FRAME_LIMIT + 1, FRAME_LIMIT + (4 << 20)])(
    "of %i bytes is RESOURCE_EXHAUSTED on its id, ends the handler, and the connection continues",
    async (size) => {
      const entered = deferred<AbortSignal>();
      await using pair = await serverOfRaw({
        Sum: {
          kind: "client_streaming",
          async handle(requests, { signal }) {
            entered.resolve(signal);
            for await (const _ of requests);
            return EMPTY;
          },
        },
      });
      const { client } = pair;
      await client.send(request(1, SUM, OPEN_BY_RUST));
      const signal = await entered.promise;
      await client.send(data(1, new Uint8Array(size)));
      // Its client considers the stream ended, so nobody else would wake the handler.
      await aborted(signal);
      await client.request(3, { ...ECHO, payload: bytes("next") });
      let response = await client.nextResponse();
      // ttrpc answers the frame, and the handler the stream. A client drops what follows the first answer.
      const refusals: number[] = [];
      for (; response.streamId === 1; response = await client.nextResponse())
        refusals.push(response.status.code);
      expect(new Set(refusals)).toEqual(new Set([Code.ResourceExhausted]));
      expect(text(response.payload)).toBe("next");
      await expectGoodClientServed(pair.address);
    },
  );

  test("of the server itself is replaced by RESOURCE_EXHAUSTED", async () => {
    await using pair = await serverOfRaw({
      List: {
        kind: "server_streaming",
        async *handle() {
          yield bytes("small");
          yield new Uint8Array(FRAME_LIMIT + 1);
        },
      },
    });
    const { client } = pair;
    await client.send(request(1, LIST, Flag.RemoteClosed));
    expect(text((await client.nextFrame()).body)).toBe("small");
    const frame = await client.nextFrame();
    expect(frame.type).toBe(FrameType.Response);
    expect(decodeResponse(frame.body).status.code).toBe(Code.ResourceExhausted);
    await expectServed(pair);
  });
});

describe("a stream's deadline at our server", () => {
  test("that a raw client sends is kept, and aborts the handler's signal", async () => {
    const entered = deferred<AbortSignal>();
    await using pair = await serverOfRaw({
      Chat: {
        kind: "bidi_streaming",
        async *handle(requests, { signal }) {
          entered.resolve(signal);
          yield* requests;
        },
      },
    });
    const { client } = pair;
    await client.send(request(1, { ...CHAT, timeoutNano: 20_000_000n }, OPEN_BY_RUST));
    const { streamId, status } = await client.nextResponse();
    expect({ streamId, code: status.code }).toEqual({ streamId: 1, code: Code.DeadlineExceeded });
    expect(await aborted(await entered.promise)).toMatchObject({ code: Code.DeadlineExceeded });
    await expectServed(pair);
  });

  test.each([-1n, -(2n ** 63n)])("of %s ns has passed already, and no handler runs", async (timeoutNano) => {
    const { methods, seen } = streams();
    await using pair = await serverOfRaw(methods);
    await pair.client.send(request(1, { ...CHAT, timeoutNano }, OPEN_BY_RUST));
    expect((await pair.client.nextResponse()).status.code).toBe(Code.DeadlineExceeded);
    expect(seen).toEqual([]);
    await expectServed(pair);
  });

  test("of the longest time that fits the wire never passes", async () => {
    const { methods } = streams();
    await using pair = await serverOfRaw(methods);
    await pair.client.send(
      Buffer.concat([
        request(1, { ...SUM, timeoutNano: 2n ** 63n - 1n }, OPEN_BY_RUST),
        data(1, "a", Flag.RemoteClosed),
      ]),
    );
    expect(text((await pair.client.nextResponse()).payload)).toBe("[a]");
    await expectServed(pair);
  });
});

describe("a stream's metadata at our server", () => {
  /** The metadata that a handler gets from these pairs. */
  async function received(metadata: readonly (readonly [string, string])[]) {
    const seen: Record<string, string[]>[] = [];
    await using pair = await serverOfRaw({
      Sum: {
        kind: "client_streaming",
        async handle(_, context) {
          seen.push(context.metadata);
          return EMPTY;
        },
      },
    });
    await pair.client.send(request(1, { ...SUM, metadata }, Flag.RemoteClosed));
    await pair.client.nextResponse();
    await expectServed(pair);
    return seen[0]!;
  }

  const values = Array.from({ length: 12 }, (_, index) => `${index}`);

  test("has keys in lower case, and every value of a key in the order of sending", async () => {
    const pairs = values.flatMap((value) => [["Key", value] as const, ["other", value] as const]);
    expect(await received(pairs)).toEqual({ key: values, other: values });
  });

  test("has the values of keys that differ by case under one key, those of each spelling in order", async () => {
    const spellings = ["Key", "KEY", "key"];
    const of = (spelling: number) => values.filter((_, index) => index % 3 === spelling);
    const metadata = await received(values.map((value, index) => [spellings[index % 3]!, value] as const));
    expect(Object.keys(metadata)).toEqual(["key"]);
    // ttrpc hands over a stream's metadata as a map, so the order of the spellings is random.
    expect(metadata["key"]?.toSorted()).toEqual(values.toSorted());
    for (const spelling of [0, 1, 2]) {
      expect(metadata["key"]?.filter((value) => of(spelling).includes(value))).toEqual(of(spelling));
    }
  });
});

test("requests that a handler did not read before its peer went end with an error, not as if complete", async () => {
  const [begun, outcome] = [deferred(), deferred<unknown>()];
  await using pair = await serverOfRaw({
    Sum: {
      kind: "client_streaming",
      async handle(requests, { signal }) {
        try {
          for await (const _ of requests) {
            begun.resolve();
            await aborted(signal);
          }
          outcome.resolve("the end");
        } catch (error) {
          outcome.resolve(error);
        }
        return EMPTY;
      },
    },
  });
  const messages = [data(1, "a"), data(1, "b"), data(1, EMPTY, HALF_CLOSE)];
  await pair.client.send(Buffer.concat([request(1, SUM, OPEN_BY_RUST), ...messages]));
  await begun.promise;
  // Once this is answered, the requests behind the first have arrived.
  await expectServed(pair, 3);
  pair.client[Symbol.dispose]();
  expect(await outcome.promise).toMatchObject({ code: Code.Canceled });
});
