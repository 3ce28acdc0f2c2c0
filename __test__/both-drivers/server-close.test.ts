import {
  Code,
  connect,
  createServer,
  type HandlerContext,
  type RawMethods,
  TtrpcError,
} from "containerd-shim-protos";
import { describe, expect, test } from "vitest";
import { aborted, bytes, deferred, failure, rejection, text, written } from "../helpers/outcome.js";
import { describeWithPeer, peerCalls, PeerClient } from "../helpers/peer.js";
import { rawConnect } from "../helpers/raw-peer.js";
import { handlersOf } from "../helpers/task-server.js";
import { VERSIONS } from "../helpers/tasks.js";
import { abstractAddress, temporaryAddress } from "../helpers/temp.js";

const EMPTY = new Uint8Array();
const [{ api }] = VERSIONS as [(typeof VERSIONS)[number]];

/** A method that has to be entered so many times, waits until it is released, and then replies. */
function holding(times = 1) {
  let left = times;
  const [entered, release] = [deferred<HandlerContext>(), deferred()];
  const methods: RawMethods = {
    Hold: {
      kind: "unary",
      async handle(payload, context) {
        if (--left === 0) entered.resolve(context);
        await release.promise;
        return payload;
      },
    },
    Echo: { kind: "unary", handle: (payload) => payload },
  };
  return { entered: entered.promise, release: release.resolve, methods };
}

describe("closing a server", () => {
  test("lets a handler finish, delivers its reply and accepts no new connection", async () => {
    const { entered, release, methods } = holding();
    const server = createServer().addRaw("a.B", methods);
    const address = await server.listen(temporaryAddress());
    await using connection = await connect(address);
    const reply = connection.unary("a.B", "Hold", bytes("in flight"));
    const context = await entered;

    const closing = server.close({ graceMs: 15_000 });
    expect(await failure(connect(address))).toMatchObject({ code: Code.Unavailable });
    expect(context.signal.aborted).toBe(false);
    release();
    expect(text(await reply)).toBe("in flight");
    await closing;
    expect(await connection.closed).toEqual({ reason: "remote" });
    expect(await failure(connection.unary("a.B", "Echo", EMPTY))).toMatchObject({ code: Code.Unavailable });
  });

  test("delivers a reply of 4 MiB and many small ones that wait to be sent", async () => {
    const { entered, release, methods } = holding(100);
    const server = createServer().addRaw("a.B", {
      ...methods,
      Large: { kind: "unary", handle: () => entered.then(() => new Uint8Array(4_000_000).fill(5)) },
    });
    await using connection = await connect(await server.listen(temporaryAddress()));
    const calls = [
      connection.unary("a.B", "Large", EMPTY),
      ...Array.from({ length: 100 }, (_, index) => connection.unary("a.B", "Hold", bytes(`${index}`))),
    ];
    await entered;
    const closing = server.close({ graceMs: 15_000 });
    release();
    const [large, ...small] = await Promise.all(calls);
    expect(large).toHaveLength(4_000_000);
    expect(small.map(text)).toEqual(small.map((_, index) => `${index}`));
    await closing;
  });

  test("answers UNAVAILABLE to a request that arrives meanwhile", async () => {
    const { entered, release, methods } = holding();
    const server = createServer().addRaw("a.B", methods);
    using client = await rawConnect(await server.listen(temporaryAddress()));
    await client.request(1, { service: "a.B", method: "Hold", payload: bytes("first") });
    await entered;
    const closing = server.close({ graceMs: 15_000 });
    await client.request(3, { service: "a.B", method: "Echo" });
    const refused = await client.nextResponse();
    expect({ streamId: refused.streamId, code: refused.status.code }).toEqual({
      streamId: 3,
      code: Code.Unavailable,
    });
    release();
    const served = await client.nextResponse();
    expect({ streamId: served.streamId, payload: text(served.payload) }).toEqual({
      streamId: 1,
      payload: "first",
    });
    await closing;
    await client.ended;
  });

  test("aborts handlers that still run after the grace time with Unavailable, and ends the connections", async () => {
    const { entered, release, methods } = holding();
    const server = createServer().addRaw("a.B", methods);
    await using connection = await connect(await server.listen(temporaryAddress()));
    const call = failure(connection.unary("a.B", "Hold", EMPTY));
    const { signal } = await entered;
    await server.close({ graceMs: 0 });
    expect(await call).toMatchObject({ code: Code.Unavailable });
    const reason = await aborted(signal);
    expect(reason).toBeInstanceOf(TtrpcError);
    expect(reason).toMatchObject({ code: Code.Unavailable });
    // Its reply has nowhere to go.
    release();
    expect(await connection.closed).toMatchObject({ reason: "remote" });
  });

  test("waits for all handlers if the grace time is infinite", async () => {
    const { entered, release, methods } = holding();
    const server = createServer().addRaw("a.B", methods);
    await using connection = await connect(await server.listen(temporaryAddress()));
    const reply = connection.unary("a.B", "Hold", bytes("in flight"));
    const context = await entered;
    const closing = server.close({ graceMs: Number.POSITIVE_INFINITY });
    // A timer too long for Node would fire before this one.
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(context.signal.aborted).toBe(false);
    release();
    expect(text(await reply)).toBe("in flight");
    await closing;
  });

  test("is cut short by a second call with less grace time, but not by one without", async () => {
    const { entered, release, methods } = holding();
    const server = createServer().addRaw("a.B", methods);
    await using connection = await connect(await server.listen(temporaryAddress()));
    const call = failure(connection.unary("a.B", "Hold", EMPTY));
    const context = await entered;
    const closing = server.close({ graceMs: Number.POSITIVE_INFINITY });
    void server.close();
    expect(context.signal.aborted).toBe(false);
    void server.close({ graceMs: 0 });
    expect(await aborted(context.signal)).toMatchObject({ code: Code.Unavailable });
    expect(await call).toMatchObject({ code: Code.Unavailable });
    release();
    await closing;
    // A late call starts no timer, because a timer would keep the process alive.
    await server.close({ graceMs: 60_000 });
  });

  test("may be repeated, and the server cannot listen again", async () => {
    const server = createServer().addRaw("a.B", {});
    await server.listen(temporaryAddress());
    const closing = server.close();
    expect(server.close()).toBe(closing);
    await closing;
    await server.close();
    const error = await failure(server.listen(temporaryAddress()));
    expect(error).toMatchObject({ code: Code.FailedPrecondition });
  });

  test("also closes a server that never listened", async () => {
    await expect(createServer().addRaw("a.B", {}).close()).resolves.toBeUndefined();
  });

  test.each([-1, Number.NaN, "5", null])("refuses the grace time %j", async (graceMs) => {
    await using server = createServer();
    expect(await rejection(server.close({ graceMs: graceMs as number }))).toEqual(
      new TypeError(`graceMs must be a number of milliseconds, 0 or more, not ${written(graceMs)}`),
    );
  });

  test("aborts with Canceled the request of a client that goes meanwhile", async () => {
    const { entered, release, methods } = holding();
    const server = createServer().addRaw("a.B", methods);
    const client = await rawConnect(await server.listen(temporaryAddress()));
    await client.request(1, { service: "a.B", method: "Hold" });
    const { signal } = await entered;
    const closing = server.close({ graceMs: 15_000 });
    client.end();
    expect(await aborted(signal)).toMatchObject({ code: Code.Canceled });
    release();
    await closing;
  });
});

describe("a server on several addresses", () => {
  test("serves each, knows the peer on unix sockets only, and closes all", async () => {
    const seen: HandlerContext[] = [];
    const server = createServer().addRaw("a.B", {
      C: {
        kind: "unary",
        handle(payload, context) {
          seen.push(context);
          return payload;
        },
      },
    });
    const addresses = [
      await server.listen(temporaryAddress()),
      await server.listen(abstractAddress()),
      await server.listen("tcp://127.0.0.1:0"),
    ];
    expect(addresses[2]).toMatch(/^tcp:\/\/127\.0\.0\.1:[1-9]\d*$/);
    const connections = await Promise.all(addresses.map((address) => connect(address)));
    for (const [index, connection] of connections.entries()) {
      expect(connection.address).toBe(addresses[index]);
      expect(text(await connection.unary("a.B", "C", bytes(`call ${index}`)))).toBe(`call ${index}`);
    }
    const self = { pid: process.pid, uid: process.getuid!(), gid: process.getgid!() };
    expect(seen.map(({ peer }) => peer)).toEqual([self, self, undefined]);
    expect(new Set(seen.map(({ connection }) => connection)).size).toBe(3);

    await server.close();
    for (const { address, closed } of connections) {
      expect({ address, ...(await closed) }).toEqual({ address, reason: "remote" });
      expect(await failure(connect(address))).toMatchObject({ code: Code.Unavailable });
    }
  });

  test("serves IPv6, and calls that are made while the connection is still being established", async () => {
    await using server = createServer().addRaw("a.B", { C: { kind: "unary", handle: (payload) => payload } });
    const address = await server.listen("tcp://[::1]:0");
    expect(address).toMatch(/^tcp:\/\/\[::1\]:[1-9]\d*$/);
    const connections = await Promise.all(Array.from({ length: 20 }, () => connect(address)));
    const calls = connections.map((connection, index) => connection.unary("a.B", "C", bytes(`${index}`)));
    expect((await Promise.all(calls)).map(text)).toEqual(calls.map((_, index) => `${index}`));
    await Promise.all(connections.map((connection) => connection.close()));
  });
});

describeWithPeer("closing a server of a Rust client", () => {
  test("delivers the reply in flight", async () => {
    const entered = deferred();
    const release = deferred();
    const handlers = {
      ...handlersOf([]),
      async wait() {
        entered.resolve();
        await release.promise;
        return { exitStatus: 42 };
      },
    };
    const server = createServer().add(api.Task, handlers);
    const address = await server.listen(temporaryAddress());
    await using client = new PeerClient(address, { only: "Wait", timeoutMs: 0 });
    await entered.promise;
    const closing = server.close({ graceMs: 15_000 });
    release.resolve();
    expect(await client.calls()).toMatchObject([{ method: "Wait", response: "082a" }]);
    await closing;
    await expect(peerCalls(address, { only: "Wait" })).rejects.toThrow(/the client failed/);
  });
});
