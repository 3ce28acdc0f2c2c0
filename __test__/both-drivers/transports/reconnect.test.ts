import { once } from "node:events";
import { rmSync, writeFileSync } from "node:fs";
import { createServer as createSocketServer, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { Code, connect, createServer, type Server } from "containerd-shim-protos";
import { describe, expect, test } from "vitest";
import { collectTexts, several } from "../../helpers/iterables.js";
import { bytes, deferred, failure, rejection, text } from "../../helpers/outcome.js";
import { rawConnect, RawServer } from "../../helpers/raw-peer.js";
import { abstractAddress, pathOf, temporaryAddress } from "../../helpers/temp.js";

const EMPTY = new Uint8Array();

/** Delays short enough for a test. */
const SOON = { initialDelayMs: 5, maxDelayMs: 20 };

/** Delays far longer than a test: no attempt happens by itself. */
const NEVER = { initialDelayMs: 3_600_000, maxDelayMs: 3_600_000 };

function echoServer(name: string): Server {
  return createServer().addRaw("a.B", {
    Who: { kind: "unary", handle: () => bytes(name) },
    Chat: {
      kind: "bidi_streaming",
      async *handle(requests) {
        yield bytes(name);
        yield* requests;
      },
    },
    Hold: { kind: "unary", handle: () => new Promise<Uint8Array>(() => {}) },
  });
}

describe("waitForReady", () => {
  test.each([
    ["a socket file", temporaryAddress],
    ["an abstract name", abstractAddress],
  ])("connects to a server that starts later, at %s", async (_, make) => {
    const address = make();
    const connecting = connect(address, { waitForReady: true });
    // The first attempt finds nobody.
    expect(await failure(connect(address))).toMatchObject({ code: Code.Unavailable });
    await using server = echoServer("late");
    await server.listen(address);
    await using connection = await connecting;
    expect(text(await connection.unary("a.B", "Who", EMPTY))).toBe("late");
  });

  test("connects when a stale socket file is replaced", async () => {
    const address = temporaryAddress();
    writeFileSync(pathOf(address), "");
    const connecting = connect(address, { waitForReady: true });
    expect(await failure(connect(address))).toMatchObject({ cause: { code: "ECONNREFUSED" } });
    rmSync(pathOf(address));
    await using server = echoServer("late");
    await server.listen(address);
    await using connection = await connecting;
    expect(text(await connection.unary("a.B", "Who", EMPTY))).toBe("late");
  });

  test("fails with the error of the last attempt if no server starts in time", async () => {
    const error = await failure(connect(temporaryAddress(), { waitForReady: true, connectTimeoutMs: 80 }));
    expect(error).toMatchObject({ code: Code.Unavailable, cause: { code: "ENOENT" } });
  });

  test("does not wait if waiting cannot help", async () => {
    const file = temporaryAddress();
    writeFileSync(pathOf(file), "");
    // The default of ten seconds is far from over.
    const error = await failure(connect(`${file}/a.sock`, { waitForReady: true }));
    expect(error).toMatchObject({ code: Code.Unavailable, cause: { code: "ENOTDIR" } });
  });

  test("ends when its signal aborts", async () => {
    const controller = new AbortController();
    const connecting = failure(
      connect(temporaryAddress(), { waitForReady: true, signal: controller.signal }),
    );
    controller.abort();
    expect(await connecting).toMatchObject({ code: Code.Canceled });
  });
});

describe("a connection with reconnect", () => {
  test("survives a restart of its server: the call in flight fails, the next ones wait and are answered", async () => {
    const address = temporaryAddress();
    const first = echoServer("first");
    await first.listen(address);
    await using connection = await connect(address, { reconnect: SOON });
    expect(text(await connection.unary("a.B", "Who", EMPTY))).toBe("first");
    const held = failure(connection.unary("a.B", "Hold", EMPTY));
    await connection.unary("a.B", "Who", EMPTY);
    await first.close({ graceMs: 0 });
    // The server may have carried it out, so it is not sent again.
    expect(await held).toMatchObject({ code: Code.Unavailable });

    await using second = echoServer("second");
    const waiting = [
      connection.unary("a.B", "Who", EMPTY).then(text, (error: unknown) => error),
      collectTexts(connection.bidiStreaming("a.B", "Chat", several("a", "b"))).catch(
        (error: unknown) => error,
      ),
    ];
    await second.listen(address);
    // Waiting calls share the outcome of one attempt, which may have come just before the server.
    const unavailable = expect.objectContaining({ code: Code.Unavailable }) as unknown;
    const [who, chat] = await Promise.all(waiting);
    expect(["second", unavailable]).toContainEqual(who);
    expect([["second", "a", "b"], unavailable]).toContainEqual(chat);
    const answer = async (): Promise<string> =>
      connection.unary("a.B", "Who", EMPTY).then(text, () => answer());
    expect(await answer()).toBe("second");
    expect(await collectTexts(connection.bidiStreaming("a.B", "Chat", several("a")))).toEqual([
      "second",
      "a",
    ]);
  });

  test("holds calls that are made in the gap until it is back, in order", async () => {
    const address = temporaryAddress();
    const raw = await RawServer.listen(address);
    await using connection = await connect(address, { reconnect: { initialDelayMs: 50, maxDelayMs: 50 } });
    const peer = await raw.accept();
    const held = failure(connection.unary("a.B", "Held", EMPTY));
    await peer.nextRequest();
    peer.end();
    expect(await held).toMatchObject({ code: Code.Unavailable });

    // The listener is still there, but the connection comes back only after the delay.
    const calls = [1, 2, 3].map((index) => connection.unary("a.B", `Call${index}`, EMPTY));
    const again = await raw.accept();
    for (const index of [1, 2, 3]) {
      const { streamId, method } = await again.nextRequest();
      expect({ streamId, method }).toEqual({ streamId: 2 * index - 1, method: `Call${index}` });
      await again.reply(streamId, bytes(`${index}`));
    }
    expect((await Promise.all(calls)).map(text)).toEqual(["1", "2", "3"]);
    await connection.close();
    expect(await connection.closed).toEqual({ reason: "local" });
    await raw[Symbol.asyncDispose]();
  });

  /** A connection whose server has gone, and that does not try again by itself during a test. */
  async function broken(options: object = {}) {
    const raw = await RawServer.listen();
    const connection = await connect(raw.address, { reconnect: { ...NEVER, ...options } });
    const peer = await raw.accept();
    const held = failure(connection.unary("a.B", "Held", EMPTY));
    await peer.nextRequest();
    peer.end();
    await held;
    await raw[Symbol.asyncDispose]();
    return connection;
  }

  test("is closed by close() in the gap: calls that wait fail, and so do later ones", async () => {
    const connection = await broken();
    const waiting = failure(connection.unary("a.B", "C", EMPTY));
    const stream = rejection(collectTexts(connection.bidiStreaming("a.B", "C", several("a"))));
    await connection.close();
    expect(await waiting).toMatchObject({ code: Code.Unavailable, cause: { code: "ERR_TTRPC_CLOSED" } });
    expect(await stream).toMatchObject({ code: Code.Unavailable });
    expect(await connection.closed).toEqual({ reason: "local" });
    expect(await failure(connection.unary("a.B", "C", EMPTY))).toMatchObject({ code: Code.Unavailable });
  });

  test("is closed by close() even if its server has gone and it is about to hear of that", async () => {
    const raw = await RawServer.listen();
    const connection = await connect(raw.address, { reconnect: NEVER });
    const peer = await raw.accept();
    // The request and the end of the connection come in one batch.
    const stopped = deferred();
    await using own = createServer().addRaw("a.B", {
      Stop: {
        kind: "unary",
        handle() {
          void connection.close().then(stopped.resolve);
          return EMPTY;
        },
      },
    });
    using client = await rawConnect(await own.listen(temporaryAddress()));
    void client.request(1, { service: "a.B", method: "Stop" });
    peer[Symbol.dispose]();
    for (const start = performance.now(); performance.now() - start < 50;);
    await stopped.promise;
    expect((await connection.closed).reason).toMatch(/^(local|remote)$/);
    await raw[Symbol.asyncDispose]();
  });

  test("respects a call's deadline and signal while it waits", async () => {
    await using connection = await broken();
    const late = failure(connection.unary("a.B", "C", EMPTY, { timeoutMs: 10 }));
    const controller = new AbortController();
    const left = failure(connection.unary("a.B", "C", EMPTY, { signal: controller.signal }));
    const stream = rejection(
      collectTexts(connection.bidiStreaming("a.B", "C", several("a"), { signal: controller.signal })),
    );
    controller.abort();
    expect(await left).toMatchObject({ code: Code.Canceled });
    expect(await stream).toMatchObject({ code: Code.Canceled });
    expect(await late).toMatchObject({ code: Code.DeadlineExceeded });
  });

  test("lets many calls with one signal wait, without a warning of a leak", async () => {
    await using connection = await broken();
    const warnings: Error[] = [];
    const onWarning = (warning: Error) => warnings.push(warning);
    process.on("warning", onWarning);
    const controller = new AbortController();
    const calls = Array.from({ length: 50 }, () =>
      failure(connection.unary("a.B", "C", EMPTY, { signal: controller.signal })),
    );
    controller.abort();
    for (const error of await Promise.all(calls)) expect(error).toMatchObject({ code: Code.Canceled });
    // Node emits warnings in a later tick.
    await new Promise((resolve) => {
      setImmediate(resolve);
    });
    process.off("warning", onWarning);
    expect(warnings).toEqual([]);
  });

  test("refuses more calls than may wait", async () => {
    const connection = await broken({ maxWaitingCalls: 2 });
    const waiting = [1, 2].map(() => failure(connection.unary("a.B", "C", EMPTY)));
    const refused = await failure(connection.unary("a.B", "C", EMPTY));
    expect(refused).toMatchObject({ code: Code.ResourceExhausted });
    await connection.close();
    for (const error of await Promise.all(waiting)) expect(error).toMatchObject({ code: Code.Unavailable });
  });

  test("keeps no place for a stream that was left while it waited", async () => {
    const connection = await broken({ maxWaitingCalls: 2 });
    for (let round = 0; round < 3; round++) {
      const replies = connection.serverStreaming("a.B", "C", EMPTY);
      const next = replies.next();
      await replies.return?.();
      expect(await next).toEqual({ done: true, value: undefined });
    }
    const waiting = failure(connection.unary("a.B", "C", EMPTY));
    await connection.close();
    expect(await waiting).toMatchObject({ code: Code.Unavailable });
  });

  test("closes for good after maxAttempts, with the last reason", async () => {
    const connection = await broken({ ...SOON, maxAttempts: 3 });
    const why = await connection.closed;
    expect(why).toMatchObject({ reason: "error", error: { code: Code.Unavailable } });
    const error = await failure(connection.unary("a.B", "C", EMPTY));
    expect(error).toMatchObject({ code: Code.Unavailable, cause: { code: "ENOENT" } });
    expect(error.message).toContain(connection.address);
    await connection.close();
    expect(await connection.closed).toBe(why);
  });

  test.each([
    ["hangs up", (socket: Socket) => socket.destroy(), ""],
    ["speaks HTTP", (socket: Socket) => socket.end("HTTP/1.1 400\r\n"), ": the connection failed"],
  ])("closes for good, and says so, if its server %s again and again", async (_, accept, how) => {
    const address = temporaryAddress();
    const server = createSocketServer(accept).listen(pathOf(address));
    await once(server, "listening");
    // A connection that lives for less than the delay counts as an attempt that failed.
    const reconnect = { initialDelayMs: 200, maxDelayMs: 200, maxAttempts: 2 };
    const connection = await connect(address, { reconnect });
    const why = await connection.closed;
    const said = "the connection ended 2 times as soon as it was made";
    expect(why).toMatchObject({ reason: "error", error: { code: Code.Unavailable } });
    expect(why.error?.message.startsWith(said + how)).toBe(true);
    const error = await failure(connection.unary("a.B", "C", EMPTY));
    expect(error).toMatchObject({
      code: Code.Unavailable,
      cause: { code: "ERR_TTRPC_CLOSED" },
    });
    expect(error.rawMessage).toBe(`the connection to ${address} is closed: ${why.error?.message}`);
    server.close();
  });

  test("gives calls that waited for it in vain an error whose stack ends in their caller", async () => {
    await using connection = await broken(SOON);
    async function caller(call: () => Promise<unknown>) {
      await call();
    }
    for (const call of [
      () => connection.unary("a.B", "C", EMPTY),
      () => connection.clientStreaming("a.B", "C", []),
      () => connection.serverStreaming("a.B", "C", EMPTY).next(),
    ]) {
      const error = await failure(caller(call));
      expect(error.code).toBe(Code.Unavailable);
      expect(error.stack).toContain("caller");
    }
  });

  test("counts attempts since the last success", async () => {
    const address = temporaryAddress();
    const delayMs = 250;
    const reconnect = { initialDelayMs: delayMs, maxDelayMs: delayMs, maxAttempts: 6 };
    await using connection = await (async () => {
      await using server = echoServer("0");
      await server.listen(address);
      return await connect(address, { reconnect });
    })();
    // Nine attempts fail in all, and no more than a few in a row.
    for (const round of ["1", "2", "3"]) {
      for (let failed = 0; failed < 3; failed++) await failure(connection.unary("a.B", "Who", EMPTY));
      await using server = echoServer(round);
      await server.listen(address);
      const answer = () => connection.unary("a.B", "Who", EMPTY);
      expect(text(await answer().catch(answer))).toBe(round);
      // A connection counts as a success if it lives longer than the delay.
      await sleep(delayMs + 50);
    }
  });

  test.each([{ fd: 0 }])("is refused for %j, to which it cannot connect again", async (address) => {
    expect(await rejection(connect(address, { reconnect: true }))).toBeInstanceOf(TypeError);
  });
});
