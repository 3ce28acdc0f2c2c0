import { Code, connect, createClient, createServer } from "containerd-shim-protos";
import { Task } from "containerd-shim-protos/task/v3";
import { describe, expect, test } from "vitest";
import { aborted, bytes, deferred, failure, text } from "../helpers/outcome.js";
import { LARGE, type RawConnection, rawConnect, sayAndReset, someArrived } from "../helpers/raw-peer.js";
import { temporaryAddress } from "../helpers/temp.js";
import { encodeFrame, encodeRequest, FrameType } from "../helpers/wire.js";

const EMPTY = new Uint8Array();
const ECHO = { service: "test.Echo", method: "Echo" };

/** A raw client connected to our server, which echoes. */
async function serverOfRaw() {
  const payloads: Uint8Array[] = [];
  const server = createServer().addRaw("test.Echo", {
    Echo: {
      kind: "unary",
      handle(payload) {
        payloads.push(payload);
        return payload;
      },
    },
  });
  const address = await server.listen(temporaryAddress());
  const client = await rawConnect(address);
  return {
    address,
    client,
    payloads,
    async [Symbol.asyncDispose]() {
      client[Symbol.dispose]();
      await server.close();
    },
  };
}

/** The connection must be served as if nothing had happened. */
async function expectServerGoesOn(client: RawConnection, streamId = 101): Promise<void> {
  const { status, payload } = await client.call(streamId, { ...ECHO, payload: bytes("next") });
  expect({ code: status.code, payload: text(payload) }).toEqual({ code: 0, payload: "next" });
}

/** A well-behaved client must be served. */
async function expectGoodClientServed(address: string): Promise<void> {
  await using connection = await connect(address);
  expect(text(await connection.unary("test.Echo", "Echo", bytes("good")))).toBe("good");
}

describe("our server with a client that misbehaves", () => {
  test.each([0, 2, 4, 2 ** 32 - 2])(
    "answers INVALID_ARGUMENT to the even id %i and runs nothing",
    async (id) => {
      await using pair = await serverOfRaw();
      const { client, payloads } = pair;
      const { status } = await client.call(id, { ...ECHO, payload: bytes("even") });
      expect(status.code).toBe(Code.InvalidArgument);
      expect(payloads).toEqual([]);
      await expectServerGoesOn(client);
    },
  );

  test.each([
    ["a field cut short", [0x0a, 100, 1]],
    ["no tag", [0xff]],
    ["a service that is not UTF-8", [0x0a, 1, 0xff]],
  ])("answers INVALID_ARGUMENT to a request of %s", async (_, garbage) => {
    await using pair = await serverOfRaw();
    const { address, client } = pair;
    await client.send(encodeFrame({ streamId: 1, type: FrameType.Request, body: new Uint8Array(garbage) }));
    const { streamId, status } = await client.nextResponse();
    expect({ streamId, code: status.code }).toEqual({ streamId: 1, code: Code.InvalidArgument });
    await expectServerGoesOn(client);
    await expectGoodClientServed(address);
  });

  test("answers UNIMPLEMENTED to a request of no bytes, which names no service", async () => {
    await using pair = await serverOfRaw();
    const { status } = await pair.client.call(1, {});
    expect(status.code).toBe(Code.Unimplemented);
    await expectServerGoesOn(pair.client);
  });

  test.each([
    [{ service: "test.Nothing", method: "Echo" }, "test.Nothing"],
    [{ service: `test.${"long".repeat(30)}`, method: "Echo" }, "longlong"],
    [{ service: "test.Echo", method: "Nothing" }, "Nothing"],
    [{ service: "test.Echo", method: "echo" }, "echo"],
    [{ service: "test.Echo", method: "constructor" }, "constructor"],
  ])("answers UNIMPLEMENTED to %o", async (request, named) => {
    await using pair = await serverOfRaw();
    const { status } = await pair.client.call(1, request);
    expect(status.code).toBe(Code.Unimplemented);
    expect(status.message).toContain(named);
    await expectServerGoesOn(pair.client);
  });

  test("answers each request once, matched by its id", async () => {
    await using pair = await serverOfRaw();
    const { client } = pair;
    const ids = Array.from({ length: 50 }, (_, index) => 2 * index + 1);
    const frames = ids.map((streamId) =>
      encodeFrame({
        streamId,
        type: FrameType.Request,
        body: encodeRequest({ ...ECHO, payload: bytes(String(streamId)) }),
      }),
    );
    await client.send(Buffer.concat(frames));
    const replies = new Map<number, string>();
    for (const _ of ids) {
      const { streamId, payload } = await client.nextResponse();
      replies.set(streamId, text(payload));
    }
    expect(replies).toEqual(new Map(ids.map((id) => [id, String(id)])));
  });

  test("assembles a request that arrives byte by byte", async () => {
    await using pair = await serverOfRaw();
    const { client } = pair;
    client.socket.setNoDelay(true);
    const body = encodeRequest({ ...ECHO, payload: bytes("slowly") });
    for (const byte of encodeFrame({ streamId: 1, type: FrameType.Request, body })) {
      await client.send(new Uint8Array([byte]));
      await new Promise((resolve) => {
        setImmediate(resolve);
      });
    }
    expect(text((await client.nextResponse()).payload)).toBe("slowly");
  });

  test("keeps metadata keys apart from an object's own, in lower case and in order", async () => {
    const seen: unknown[] = [];
    await using server = createServer().addRaw("a.B", {
      C: {
        kind: "unary",
        handle(_, { metadata }) {
          seen.push(Object.entries(metadata));
          return EMPTY;
        },
      },
    });
    using client = await rawConnect(await server.listen(temporaryAddress()));
    const metadata = [
      ["Key", "1"],
      ["__proto__", "2"],
      ["KEY", ""],
      ["toString", "3"],
      ["key", "1"],
    ] as const;
    await client.call(1, { service: "a.B", method: "C", metadata });
    expect(seen).toEqual([
      [
        ["key", ["1", "", "1"]],
        ["__proto__", ["2"]],
        ["tostring", ["3"]],
      ],
    ]);
  });

  test.each([FrameType.Response, 0, 4, 255])("ignores a frame of the type %i", async (type) => {
    await using pair = await serverOfRaw();
    const { client } = pair;
    await client.send(encodeFrame({ streamId: 1, type, body: encodeRequest(ECHO) }));
    await expectServerGoesOn(client, 3);
  });

  test("answers INVALID_ARGUMENT to data for no stream", async () => {
    await using pair = await serverOfRaw();
    const { client } = pair;
    await client.send(encodeFrame({ streamId: 7, type: FrameType.Data, body: bytes("stray") }));
    const { streamId, status } = await client.nextResponse();
    expect({ streamId, code: status.code }).toEqual({ streamId: 7, code: Code.InvalidArgument });
    await expectServerGoesOn(client);
  });

  test.each([
    ["HTTP", bytes("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")],
    ["HTTP/2", bytes("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")],
    ["a frame of 16 MiB", new Uint8Array([1, 0, 0, 0, 0, 0, 0, 1, 1, 0])],
  ])("ends the connection of a client that speaks %s, and serves the next", async (_, spoken) => {
    await using pair = await serverOfRaw();
    const { address, client } = pair;
    await client.send(spoken);
    await client.ended;
    await expectGoodClientServed(address);
  });

  test.each([
    ["at once", EMPTY],
    ["in the middle of a header", new Uint8Array([0, 0, 0])],
    [
      "in the middle of a body",
      encodeFrame({ streamId: 1, type: 1, body: encodeRequest(ECHO) }).subarray(0, -2),
    ],
  ])("survives a client that closes %s", async (_, said) => {
    await using pair = await serverOfRaw();
    const { address, client } = pair;
    if (said.length > 0) await client.send(said);
    client.end();
    await client.ended;
    await expectGoodClientServed(address);
  });

  test("aborts the handlers of a client that resets the connection in the middle of a frame", async () => {
    const gone = deferred<unknown>();
    await using server = createServer().addRaw("test.Echo", {
      Echo: { kind: "unary", handle: (payload) => payload },
      Hang: {
        kind: "unary",
        handle: async (_, { signal }) => {
          gone.resolve(await aborted(signal));
          return EMPTY;
        },
      },
    });
    const client = await rawConnect(await server.listen(temporaryAddress()));
    await client.request(1, { service: "test.Echo", method: "Hang" });
    await client.request(3, { ...ECHO, payload: LARGE });
    await someArrived(client);
    sayAndReset(client, new Uint8Array([0, 0, 0]));
    expect(await gone.promise).toMatchObject({ code: Code.Canceled });
  });

  test("tells a client nothing of what another one sent", async () => {
    await using server = createServer().add(Task, { state: ({ id }) => ({ id }) });
    const address = await server.listen(temporaryAddress());
    await using other = await connect(address);
    await using connection = await connect(address);
    await createClient(Task, other).state({ id: "secret".repeat(20) });
    // Each ends with the first byte of a tag, at another place in the memory where the other's request was.
    const requests = Array.from({ length: 80 }, (_, size) =>
      Uint8Array.from([0x0a, size, ...bytes("a".repeat(size)), 0xff]),
    );
    const faults = new Set<string>();
    for (const request of requests) {
      const { rawMessage } = await failure(connection.unary(Task.typeName, "State", request));
      faults.add(rawMessage);
    }
    expect([...faults]).toHaveLength(1);
  });
});
