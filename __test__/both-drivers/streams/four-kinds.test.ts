import { type Client, connect, type Connection, createClient } from "containerd-shim-protos";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { collect, times } from "../../helpers/iterables.js";
import { describeWithPeers, streamCalls, StreamPeer } from "../../helpers/stream-peer.js";
import { streamServer } from "../../helpers/stream-server.js";
import { NULL_TEXT, Streaming, Streams } from "../../helpers/streaming.js";
import { temporaryAddress } from "../../helpers/temp.js";

const MINUTE = 60_000;

/** Each makes a call of `count` messages, and returns what is out of order. */
const kinds: Record<string, (client: Client<typeof Streaming>, count: number) => Promise<void>> = {
  async unary(client, count) {
    const replies = await Promise.all(Array.from({ length: count }, (_, seq) => client.echo({ seq })));
    expect(replies.every((reply, index) => reply.seq === index + 1)).toBe(true);
  },
  async "bidirectional streaming"(client, count) {
    const replies = await collect(client.echoStream(times(count, (seq) => ({ seq, msg: `${seq}` }))));
    expect(replies).toHaveLength(count);
    expect(replies.every(({ seq, msg }, index) => seq === index + 1 && msg === `${index}`)).toBe(true);
  },
  async "client streaming"(client, count) {
    const sum = await client.sumStream(times(count, (add) => ({ add })));
    expect(sum).toMatchObject({ num: count, sum: (count * (count - 1)) / 2 });
  },
  async "server streaming"(client, count) {
    const parts = await collect(client.divideStream({ sum: 7, num: count }));
    expect(parts).toHaveLength(count);
    expect(parts.slice(0, -1).every(({ add }, index) => add === index)).toBe(true);
    expect(parts.reduce((sum, { add }) => sum + add, 0)).toBe(7);
  },
  async "client streaming with an empty response"(client, count) {
    const response = await client.echoNull(times(count, (seq) => ({ seq, msg: NULL_TEXT })));
    expect(response.$typeName).toBe("google.protobuf.Empty");
  },
  async "bidirectional streaming with empty messages back"(client, count) {
    const messages = times(count, (seq) => ({ seq, msg: NULL_TEXT }));
    expect(await collect(client.echoNullStream(messages))).toHaveLength(10 * count);
  },
  async "server streaming with an empty request"(client) {
    expect((await collect(client.emptyPayloadStream({}))).map(({ seq }) => seq)).toEqual([1, 2]);
  },
};

function kindTests(client: () => Client<typeof Streaming>): void {
  describe.each(Object.entries(kinds))("%s", (_, expectExact) => {
    test(
      "keeps the order and count of 100 messages, 100 times",
      async () => {
        for (let repetition = 0; repetition < 100; repetition++) await expectExact(client(), 100);
      },
      MINUTE,
    );

    test("keeps the order and count of 10 000 messages", () => expectExact(client(), 10_000), MINUTE);

    test("keeps the order and count of messages with 50 calls at once", async () => {
      await Promise.all(Array.from({ length: 50 }, () => expectExact(client(), 20)));
    });

    test("works with a single message", () => expectExact(client(), 1));
  });
}

describeWithPeers("our client with the server in $peer:", (language) => {
  let peer: StreamPeer;
  let connection: Connection;
  beforeAll(async () => {
    peer = await StreamPeer.serve(language);
    connection = await connect(peer.address);
  });
  afterAll(async () => {
    await connection?.close();
    await peer?.[Symbol.asyncDispose]();
  });

  kindTests(() => createClient(Streaming, connection));

  test("sends one message and reads its answer before the next, 1000 times", async () => {
    let seq = 0;
    let answered = (): void => undefined;
    const requests = (async function* () {
      for (; seq < 1000; seq++) {
        const answer = new Promise<void>((resolve) => {
          answered = resolve;
        });
        yield { seq };
        await answer;
      }
    })();
    const replies: number[] = [];
    for await (const reply of createClient(Streaming, connection).echoStream(requests)) {
      replies.push(reply.seq);
      answered();
    }
    expect(replies).toEqual(Array.from({ length: 1000 }, (_, index) => index + 1));
  });

  test("carries metadata and a timeout on a stream", async () => {
    const options = { metadata: { "Key-1": ["b", "a"], key2: "x" }, timeoutMs: 5000 };
    const [reply] = await collect(createClient(Streams, connection).describeStream({}, options));
    const { metadata, timeoutMs } = JSON.parse(reply!.msg) as Record<string, never>;
    expect(metadata).toEqual({ "key-1": ["b", "a"], key2: ["x"] });
    expect(timeoutMs).toBeGreaterThan(0);
    expect(timeoutMs).toBeLessThanOrEqual(5000);
  });
});

describe("our client with our server:", () => {
  const server = streamServer();
  let connection: Connection;
  beforeAll(async () => {
    connection = await connect(await server.listen(temporaryAddress()));
  });
  afterAll(async () => {
    await connection?.close();
    await server.close();
  });

  kindTests(() => createClient(Streaming, connection));
});

describeWithPeers("the client in $peer with our server:", (language) => {
  const server = streamServer();
  let address: string;
  beforeAll(async () => {
    address = await server.listen(temporaryAddress());
  });
  afterAll(() => server.close());

  const received: Record<string, (count: number) => number> = {
    Echo: (count) => count,
    EchoStream: (count) => count,
    SumStream: (count) => count,
    DivideStream: (count) => count,
    EchoNull: () => 1,
    EchoNullStream: (count) => 10 * count,
    EmptyPayloadStream: () => 2,
    Count: (count) => count,
  };
  describe.each(Object.entries(received))("%s", (method, expected) => {
    test(
      "keeps the order and count of 100 messages, 100 times",
      async () => {
        const results = await streamCalls(language, address, method, { count: 100, repeat: 100 });
        expect(results).toHaveLength(100);
        for (const result of results) expect(result).toMatchObject({ method, received: expected(100) });
        expect(results.filter(({ error }) => error !== undefined)).toEqual([]);
      },
      MINUTE,
    );

    test(
      "keeps the order and count of 10 000 messages",
      async () => {
        const results = await streamCalls(language, address, method, { count: 10_000 });
        expect(results).toMatchObject([{ method, received: expected(10_000) }]);
        expect(results[0]?.error).toBeUndefined();
      },
      MINUTE,
    );
  });

  test("sends metadata and a deadline with a unary call", async () => {
    const options = { metadata: ["key-1=b", "key-1=a", "key2=x"], timeoutMs: 5000 };
    const [result] = await streamCalls(language, address, "Describe", options);
    const { metadata, timeoutMs } = JSON.parse(result!.text!) as Record<string, never>;
    expect(metadata).toEqual({ "key-1": ["b", "a"], key2: ["x"] });
    expect(timeoutMs).toBeGreaterThan(0);
    expect(timeoutMs).toBeLessThanOrEqual(5000);
  });

  test("gets a stream's status with code, message and details after the messages", async () => {
    const [result] = await streamCalls(language, address, "Fail", { code: 9, text: "not now: ü€😀" });
    expect(result).toMatchObject({
      received: 1,
      error: { kind: "status", code: 9, message: "not now: ü€😀" },
    });
    const [detail] = result!.error!.details;
    expect(detail!.type_url).toMatch(/ttrpc\.integration\.streaming\.EchoPayload$/);
    expect(Buffer.from(detail!.value, "hex").toString()).toContain("not now: ü€😀");
  });
});
