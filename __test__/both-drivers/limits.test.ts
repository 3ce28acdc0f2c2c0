import { type ClientInterceptor, Code, connect, createClient, createServer } from "containerd-shim-protos";
import { Task } from "containerd-shim-protos/task/v3";
import { describe, expect, test } from "vitest";
import { bytes, deferred, failure, text } from "../helpers/outcome.js";
import { describeWithPeer, Peer } from "../helpers/peer.js";
import { rawConnect, RawServer } from "../helpers/raw-peer.js";
import { temporaryAddress } from "../helpers/temp.js";
import {
  encodeFrame,
  encodeRequest,
  FRAME_LIMIT,
  FrameType,
  requestPayload,
  responsePayload,
} from "../helpers/wire.js";

const ECHO = { service: "test.Echo", method: "Echo" };

/** Compares large payloads without printing them. */
function expectSame(actual: Uint8Array, expected: Uint8Array): void {
  expect(actual.length).toBe(expected.length);
  expect(Buffer.compare(actual, expected)).toBe(0);
}

describeWithPeer("messages between our client and the Rust server", () => {
  test("a request of exactly 4 MiB crosses, and so does its reply", async () => {
    await using peer = await Peer.echo();
    await using connection = await connect(peer.address);
    const payload = requestPayload(0, ECHO);
    expectSame(await connection.unary("test.Echo", "Echo", payload), payload);
  });

  test.each([1, 2, 1 << 20])(
    "a request that exceeds the limit by %i bytes is refused, and the connection continues",
    async (over) => {
      await using peer = await Peer.echo();
      await using connection = await connect(peer.address);
      const call = connection.unary("test.Echo", "Echo", requestPayload(over, ECHO));
      const error = await failure(call);
      expect(error.code).toBe(Code.ResourceExhausted);
      expect(error.message).toContain(String(FRAME_LIMIT));
      expect(text(await connection.unary("test.Echo", "Echo", bytes("next")))).toBe("next");
    },
  );

  test("metadata counts toward the size of a request", async () => {
    await using peer = await Peer.echo();
    await using connection = await connect(peer.address);
    const call = connection.unary("test.Echo", "Echo", requestPayload(0, ECHO), { metadata: { k: "v" } });
    expect(await failure(call)).toMatchObject({ code: Code.ResourceExhausted });
    const huge = { k: "v".repeat(8 << 20) };
    const refused = connection.unary("test.Echo", "Echo", bytes("x"), { metadata: huge });
    expect(await failure(refused)).toMatchObject({ code: Code.ResourceExhausted });
    expect(text(await connection.unary("test.Echo", "Echo", bytes("next")))).toBe("next");
  });

  test("a reply of exactly 4 MiB arrives, and one byte more is ResourceExhausted", async () => {
    await using peer = await Peer.echo();
    await using connection = await connect(peer.address);
    const size = responsePayload(0).length;
    const reply = await connection.unary("test.Echo", "Large", bytes(String(size)));
    expectSame(reply, new Uint8Array(size).fill("a".charCodeAt(0)));

    const more = connection.unary("test.Echo", "Large", bytes(String(size + 1)));
    expect(await failure(more)).toMatchObject({ code: Code.ResourceExhausted });
    expect(text(await connection.unary("test.Echo", "Echo", bytes("next")))).toBe("next");
  });

  test("many large messages at once all arrive", async () => {
    await using peer = await Peer.echo();
    await using connection = await connect(peer.address);
    const payloads = Array.from({ length: 12 }, (_, index) => new Uint8Array(3 << 20).fill(index));
    const replies = await Promise.all(
      payloads.map((payload) => connection.unary("test.Echo", "Echo", payload)),
    );
    for (const [index, reply] of replies.entries()) expectSame(reply, payloads[index]!);
  });

  test("a typed request above 4 MiB is refused, and the connection continues", async () => {
    await using peer = await Peer.task();
    await using connection = await connect(peer.address);
    const task = createClient(Task, connection);
    const call = task.create({ id: "a", bundle: "x".repeat(FRAME_LIMIT) });
    expect(await failure(call)).toMatchObject({ code: Code.ResourceExhausted });
    await expect(task.create({ id: "ab", bundle: "x".repeat(FRAME_LIMIT - 100) })).resolves.toMatchObject({
      pid: 1002,
    });
  });
});

describe("a reply from a server without limits", () => {
  test("of exactly 4 MiB arrives; a larger one is ResourceExhausted, and the connection continues", async () => {
    await using server = await RawServer.listen();
    await using connection = await connect(server.address);
    const peer = await server.accept();

    /** The outcome of a call whose reply exceeds the limit by `over` bytes. */
    const outcome = async (over: number) => {
      const call = connection.unary("test.Echo", "Echo", bytes("first"));
      const { streamId } = await peer.nextRequest();
      await peer.reply(streamId, responsePayload(over));
      return call;
    };
    expectSame(await outcome(0), responsePayload(0));
    expect(await failure(outcome(1))).toMatchObject({ code: Code.ResourceExhausted });
    expect(await failure(outcome(3 << 20))).toMatchObject({ code: Code.ResourceExhausted });

    const next = connection.unary("test.Echo", "Echo", bytes("second"));
    const { streamId } = await peer.nextRequest();
    await peer.reply(streamId, bytes("reply"));
    expect(text(await next)).toBe("reply");
  });
});

describe("our server", () => {
  const echo = { Echo: { kind: "unary", handle: (payload: Uint8Array) => payload } } as const;

  test("accepts a request of exactly 4 MiB and sends a reply of exactly 4 MiB", async () => {
    const payload = requestPayload(0, ECHO);
    const reply = responsePayload(0);
    await using server = createServer().addRaw("test.Echo", {
      Echo: {
        kind: "unary",
        handle(received) {
          expectSame(received, payload);
          return reply;
        },
      },
    });
    using client = await rawConnect(await server.listen(temporaryAddress()));
    const response = await client.call(1, { ...ECHO, payload });
    expect(response.status).toEqual({ code: 0, message: "", details: [] });
    expectSame(response.payload, reply);
  });

  test.each([1, 8 << 20])(
    "answers RESOURCE_EXHAUSTED to a request that exceeds the limit by %i bytes, and the connection continues",
    async (over) => {
      await using server = createServer().addRaw("test.Echo", echo);
      using client = await rawConnect(await server.listen(temporaryAddress()));
      const { status } = await client.call(1, { ...ECHO, payload: requestPayload(over, ECHO) });
      expect(status.code).toBe(Code.ResourceExhausted);
      const { payload } = await client.call(3, { ...ECHO, payload: bytes("next") });
      expect(text(payload)).toBe("next");
    },
  );

  test.each([1, 8 << 20])(
    "answers RESOURCE_EXHAUSTED instead of a reply that exceeds the limit by %i bytes, and the connection continues",
    async (over) => {
      const replies = [responsePayload(over), bytes("next")];
      await using server = createServer().addRaw("test.Echo", {
        Echo: { kind: "unary", handle: () => replies.shift()! },
      });
      using client = await rawConnect(await server.listen(temporaryAddress()));
      const { status } = await client.call(1, ECHO);
      expect(status.code).toBe(Code.ResourceExhausted);
      const { payload } = await client.call(3, ECHO);
      expect(text(payload)).toBe("next");
    },
  );

  test("answers RESOURCE_EXHAUSTED to a call above maxConcurrentCalls, and serves again when one is done", async () => {
    const [entered, release] = [deferred(), deferred()];
    let running = 0;
    await using server = createServer({ maxConcurrentCalls: 2 }).addRaw("test.Echo", {
      ...echo,
      Hold: {
        kind: "unary",
        async handle(payload) {
          if (++running === 2) entered.resolve();
          await release.promise;
          return payload;
        },
      },
    });
    const address = await server.listen(temporaryAddress());
    await using first = await connect(address);
    await using second = await connect(address);
    const held = [first, second].map((connection) => connection.unary("test.Echo", "Hold", bytes("held")));
    await entered.promise;

    for (const connection of [first, second]) {
      const call = connection.unary("test.Echo", "Echo", bytes("one too many"));
      expect(await failure(call)).toMatchObject({ code: Code.ResourceExhausted });
    }
    release.resolve();
    expect((await Promise.all(held)).map(text)).toEqual(["held", "held"]);
    expect(text(await second.unary("test.Echo", "Echo", bytes("again")))).toBe("again");
  });

  test("answers RESOURCE_EXHAUSTED to a request above maxQueuedBytes, and serves again when one is done", async () => {
    const [entered, release] = [deferred(), deferred()];
    await using server = createServer({ maxQueuedBytes: 1000 }).addRaw("test.Echo", {
      ...echo,
      Hold: {
        kind: "unary",
        async handle(payload) {
          entered.resolve();
          await release.promise;
          return payload;
        },
      },
    });
    await using connection = await connect(await server.listen(temporaryAddress()));
    const held = connection.unary("test.Echo", "Hold", new Uint8Array(600));
    await entered.promise;

    const tooMuch = connection.unary("test.Echo", "Echo", new Uint8Array(401));
    expect(await failure(tooMuch)).toMatchObject({ code: Code.ResourceExhausted });
    expect(await connection.unary("test.Echo", "Echo", new Uint8Array(400))).toHaveLength(400);
    release.resolve();
    expect(await held).toHaveLength(600);
    expect(await connection.unary("test.Echo", "Echo", new Uint8Array(1000))).toHaveLength(1000);
  });

  test("closes a connection above maxConnections, and accepts one again when another has gone", async () => {
    await using server = createServer({ maxConnections: 1 }).addRaw("test.Echo", echo);
    const address = await server.listen(temporaryAddress());
    const first = await rawConnect(address);
    expect((await first.call(1, { ...ECHO, payload: bytes("first") })).status.code).toBe(0);

    using second = await rawConnect(address);
    await second.ended;
    expect((await first.call(3, { ...ECHO, payload: bytes("still") })).status.code).toBe(0);

    first.end();
    await first.ended;
    using third = await rawConnect(address);
    expect(text((await third.call(1, { ...ECHO, payload: bytes("third") })).payload)).toBe("third");
  });

  test("tells our client that it accepts no more connections", async () => {
    await using server = createServer({ maxConnections: 1 }).addRaw("test.Echo", echo);
    const address = await server.listen(temporaryAddress());
    await using first = await connect(address);
    await first.unary("test.Echo", "Echo", bytes("first"));

    await using second = await connect(address);
    expect(await second.closed).toMatchObject({
      reason: expect.stringMatching(/^(remote|error)$/) as string,
    });
    expect(await failure(second.unary("test.Echo", "Echo", bytes("second")))).toMatchObject({
      code: Code.Unavailable,
    });
    expect(text(await first.unary("test.Echo", "Echo", bytes("still")))).toBe("still");
  });

  test.each(["maxConnections", "maxConcurrentCalls", "maxQueuedBytes"])(
    "refuses a %s that is not a whole number above 0",
    (name) => {
      for (const value of [0, -1, 1.5, Number.NaN, 2 ** 32, "1", null]) {
        expect(() => createServer({ [name]: value })).toThrow(new RegExp(`^${name} must be an integer`));
      }
    },
  );

  test("counts the bytes of a request whose frame announces more than the limit", async () => {
    await using server = createServer().addRaw("test.Echo", echo);
    using client = await rawConnect(await server.listen(temporaryAddress()));
    const body = encodeRequest({ ...ECHO, payload: bytes("short") });
    // The frame announces 4 MiB and a byte, so the bytes after its short body belong to it until it is complete.
    const frame = { streamId: 1, type: FrameType.Request, body };
    await client.send(encodeFrame(frame, FRAME_LIMIT + 1));
    await client.send(new Uint8Array(FRAME_LIMIT + 1 - body.length));
    expect((await client.nextResponse()).status.code).toBe(Code.ResourceExhausted);
    const { payload } = await client.call(3, { ...ECHO, payload: bytes("next") });
    expect(text(payload)).toBe("next");
  });
});

async function* noMessages(): AsyncGenerator<Uint8Array> {}

describe("metadata", () => {
  const values = (count: number) => ({ many: Array.from({ length: count - 1 }, () => "v"), one: "v" });

  test("of 1 024 values arrives; one more is a TypeError at the caller, and nothing is sent", async () => {
    let requests = 0;
    const came = (context: { metadata: Record<string, string[]> }) => {
      requests++;
      return bytes(String((context.metadata["many"]?.length ?? 0) + 1));
    };
    await using server = createServer().addRaw("a.B", {
      Unary: { kind: "unary", handle: (_, context) => came(context) },
      Stream: {
        kind: "bidi_streaming",
        async *handle(_, context) {
          yield came(context);
        },
      },
    });
    await using connection = await connect(await server.listen(temporaryAddress()));
    const adds: ClientInterceptor = (next) => (call) => {
      call.metadata["more"] = ["v"];
      return next(call);
    };
    const [client, more] = [[], [adds]].map((interceptors) =>
      createClient(Task, connection, { interceptors }),
    );
    const stream = async (count: number) => {
      const messages = connection.bidiStreaming("a.B", "Stream", noMessages(), { metadata: values(count) });
      for await (const message of messages) return message;
      throw new Error("nothing came");
    };
    const unary = async (count: number) => {
      return connection.unary("a.B", "Unary", new Uint8Array(), { metadata: values(count) });
    };
    const told = new TypeError("metadata has 1025 values, more than 1024");
    for (const call of [unary, stream]) {
      expect(text(await call(1024))).toBe("1024");
      await expect(call(1025)).rejects.toThrow(told);
    }
    expect(requests).toBe(2);
    await expect(client!.connect({}, { metadata: values(1025) })).rejects.toThrow(told);
    await expect(more!.connect({}, { metadata: values(1024) })).rejects.toThrow(told);
    // The server does not know the service, so the call has reached it.
    expect(await failure(more!.connect({}, { metadata: values(1023) }))).toMatchObject({
      code: Code.Unimplemented,
    });
    expect(text(await unary(1))).toBe("1");
  });
});
