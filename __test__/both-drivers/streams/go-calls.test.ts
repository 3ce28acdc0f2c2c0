import { Code, connect, type Connection, createClient, createServer } from "containerd-shim-protos";
import { afterAll, beforeAll, expect, test } from "vitest";
import { collect, Source, times } from "../../helpers/iterables.js";
import { failure } from "../../helpers/outcome.js";
import { describeWithGo } from "../../helpers/go-peer.js";
import { goBlast, streamCalls, StreamPeer } from "../../helpers/stream-peer.js";
import { streaming, streamServer } from "../../helpers/stream-server.js";
import { Streaming, Streams } from "../../helpers/streaming.js";
import { temporaryAddress } from "../../helpers/temp.js";

const MIB = 1 << 20;

describeWithGo("our client with the Go server", () => {
  let peer: StreamPeer;
  let connection: Connection;
  beforeAll(async () => {
    peer = await StreamPeer.serve("Go");
    connection = await connect(peer.address);
  });
  afterAll(async () => {
    await connection?.close();
    await peer?.[Symbol.asyncDispose]();
  });

  test("makes 64 times 10 000 calls on one connection, 64 at a time, and none is refused", async () => {
    const client = createClient(Streaming, connection);
    let right = 0;
    await Promise.all(
      Array.from({ length: 64 }, async (_, worker) => {
        for (let call = 0; call < 10_000; call++) {
          const seq = worker * 10_000 + call;
          if ((await client.echo({ seq })).seq === seq + 1) right++;
        }
      }),
    );
    expect(right).toBe(640_000);
  }, 120_000);

  test("opens streams and calls all at once, in any mixture, and none is refused", async () => {
    const client = createClient(Streaming, connection);
    const calls = Array.from({ length: 1000 }, (_, seq) =>
      Promise.all([
        client.echo({ seq }),
        collect(client.echoStream(times(2, () => ({ seq })))),
        client.sumStream(times(2, () => ({ add: seq }))),
        collect(client.divideStream({ sum: seq, num: 2 })),
      ]),
    );
    for (const [seq, [unary, both, up, down]] of (await Promise.all(calls)).entries()) {
      expect(unary.seq).toBe(seq + 1);
      expect(both.map((reply) => reply.seq)).toEqual([seq + 1, seq + 1]);
      expect(up).toMatchObject({ sum: 2 * seq, num: 2 });
      expect(down.map(({ add }) => add)).toEqual([0, seq]);
    }
  });

  test("fails a message above the limit with ResourceExhausted, and the connection continues", async () => {
    const client = createClient(Streaming, connection);
    const msg = "x".repeat(4 * MIB);
    expect((await failure(client.echo({ msg }))).code).toBe(Code.ResourceExhausted);
    const requests = new Source((seq) => ({ seq, msg: seq === 0 ? "" : msg }));
    expect((await failure(collect(client.echoStream(requests)))).code).toBe(Code.ResourceExhausted);
    await requests.left;
    expect((await client.echo({ seq: 1 })).seq).toBe(2);
  });

  test("carries messages up to the limit both ways", async () => {
    // A frame's body is 4 MiB at most: here a message of field 1 (2 bytes) and field 2 with its header (5 bytes).
    const msg = "x".repeat(4 * MIB - 7);
    const replies = await collect(
      createClient(Streaming, connection).echoStream(times(3, (seq) => ({ seq: seq + 1, msg }))),
    );
    expect(replies.map((reply) => [reply.seq, reply.msg.length])).toEqual(
      [2, 3, 4].map((seq) => [seq, msg.length]),
    );
  });

  test("sends metadata and a deadline with a unary call", async () => {
    const options = { metadata: { "Key-1": ["b", "a"] }, timeoutMs: 5000 };
    const reply = await createClient(Streams, connection).describe({}, options);
    const { metadata, timeoutMs } = JSON.parse(reply.msg) as Record<string, never>;
    expect(metadata).toEqual({ "key-1": ["b", "a"] });
    expect(timeoutMs).toBeGreaterThan(0);
    expect(timeoutMs).toBeLessThanOrEqual(5000);
  });

  test("gets Unavailable when Go ends the connection because of its own oversized response", async () => {
    await using other = await connect(peer.address);
    const error = await failure(createClient(Streams, other).large({ sum: 5 * MIB }));
    expect(error.code).toBe(Code.Unavailable);
    await other.closed;
    expect((await createClient(Streaming, connection).echo({ seq: 1 })).seq).toBe(2);
  });
});

describeWithGo("the Go client with our server", () => {
  test("makes 64 times 2 000 calls on one connection, 64 at a time, and none is refused", async () => {
    await using server = streamServer();
    const address = await server.listen(temporaryAddress());
    expect(await goBlast(address, 64, 128_000)).toEqual({ calls: 128_000, errors: 0, first: null });
  }, 60_000);

  test("gets no phantom: a stream that it opens has exactly the messages that it sends", async () => {
    const seen: (readonly [string, number])[] = [];
    await using server = createServer().add(Streaming, {
      ...streaming,
      async *echoStream(requests) {
        let count = 0;
        for await (const { seq, msg } of requests) {
          count++;
          yield { seq: seq + 1, msg };
        }
        seen.push(["EchoStream", count]);
      },
      async sumStream(requests) {
        const parts = await collect(requests);
        seen.push(["SumStream", parts.length]);
        return { num: parts.length, sum: parts.reduce((sum, { add }) => sum + add, 0) };
      },
      async *emptyPayloadStream() {
        seen.push(["EmptyPayloadStream", 1]);
        yield { seq: 1 };
        yield { seq: 2 };
      },
    });
    const address = await server.listen(temporaryAddress());
    for (const count of [0, 1, 5]) {
      for (const method of ["EchoStream", "SumStream"]) {
        const [result] = await streamCalls("Go", address, method, { count });
        expect(result).toEqual({ method, received: count });
        expect(seen.pop()).toEqual([method, count]);
      }
    }
    // A server-streaming call whose request has no bytes still has one message.
    const [result] = await streamCalls("Go", address, "EmptyPayloadStream");
    expect(result).toMatchObject({ received: 2 });
    expect(seen.pop()).toEqual(["EmptyPayloadStream", 1]);
  });

  test("gets DeadlineExceeded when a deadline passes in our handler", async () => {
    await using server = createServer().add(Streams, {
      describe: (_, { signal }) =>
        new Promise((_resolve, reject) => {
          signal.addEventListener("abort", () => reject(signal.reason as Error));
        }),
    });
    const address = await server.listen(temporaryAddress());
    const [result] = await streamCalls("Go", address, "Describe", { timeoutMs: 50 });
    expect(result?.error).toMatchObject({
      // Go's own, or the server's answer, which may overtake it.
      message: expect.stringMatching(/deadline|timeout/) as string,
    });
  });

  test("gets Unimplemented for a service and for methods that our server lacks", async () => {
    await using server = createServer().addRaw("test.Streams", {});
    const address = await server.listen(temporaryAddress());
    for (const method of ["Echo", "EchoStream", "SumStream", "DivideStream", "Describe", "Count", "Fail"]) {
      const [result] = await streamCalls("Go", address, method);
      expect(result?.error).toMatchObject({ kind: "status", code: Code.Unimplemented });
    }
  });

  test("gets ResourceExhausted for a message of ours above the limit, after those that fit", async () => {
    await using server = createServer().add(Streams, {
      async *count() {
        yield { seq: 0 };
        yield { seq: 1, msg: "x".repeat(4 * MIB) };
      },
    });
    const address = await server.listen(temporaryAddress());
    const [result] = await streamCalls("Go", address, "Count", { count: 2 });
    expect(result).toMatchObject({ received: 1, error: { kind: "status", code: Code.ResourceExhausted } });
  });
});
