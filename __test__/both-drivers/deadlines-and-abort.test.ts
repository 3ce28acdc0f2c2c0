import { getEventListeners } from "node:events";
import { Code, connect, createServer, type HandlerContext, TtrpcError } from "containerd-shim-protos";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { aborted, bytes, deferred, failure, rejection, text, written } from "../helpers/outcome.js";
import { describeWithPeer, Peer } from "../helpers/peer.js";
import { rawConnect, RawServer } from "../helpers/raw-peer.js";
import { temporaryAddress } from "../helpers/temp.js";

const FOREVER = bytes("600000");
const EMPTY = new Uint8Array();

/** Warnings that Node emitted during a test, such as the one about too many listeners. */
const warnings: Error[] = [];
const onWarning = (warning: Error) => warnings.push(warning);
beforeEach(() => {
  warnings.length = 0;
  process.on("warning", onWarning);
});
afterEach(() => {
  process.off("warning", onWarning);
});

describeWithPeer("a deadline", () => {
  test.each([0.000001, 0.5, 1, 7.25, 30])(
    "of %s ms fails a call with DeadlineExceeded",
    async (timeoutMs) => {
      await using peer = await Peer.echo();
      await using connection = await connect(peer.address);
      const error = await failure(connection.unary("test.Echo", "Sleep", FOREVER, { timeoutMs }));
      expect(error.code).toBe(Code.DeadlineExceeded);
      expect(text(await connection.unary("test.Echo", "Echo", bytes("next")))).toBe("next");
    },
  );

  test("fails only the calls that have it, many at once", async () => {
    await using peer = await Peer.echo();
    await using connection = await connect(peer.address);
    const calls = Array.from({ length: 500 }, async (_, index) => {
      if (index % 2 === 0)
        return failure(connection.unary("test.Echo", "Sleep", FOREVER, { timeoutMs: 1 + (index % 40) }));
      const timeoutMs = index % 4 === 1 ? 60_000 : 0;
      return text(await connection.unary("test.Echo", "Echo", bytes(String(index)), { timeoutMs }));
    });
    const outcomes = await Promise.all(calls);
    const expired = expect.objectContaining({ code: Code.DeadlineExceeded }) as unknown;
    expect(outcomes).toEqual(outcomes.map((_, index) => (index % 2 === 0 ? expired : String(index))));
  });

  test("that is far away lets the reply through", async () => {
    await using peer = await Peer.echo();
    await using connection = await connect(peer.address);
    for (const timeoutMs of [0, 60_000, 2 ** 31, 2 ** 53, Number.MAX_VALUE, Infinity]) {
      const reply = await connection.unary("test.Echo", "Sleep", bytes("3"), { timeoutMs });
      expect(text(reply)).toBe("3");
    }
  });

  test.each([-1, -0.001, Number.NaN, -Infinity, "5", 5n, null])(
    "of %s is refused by name, and nothing is sent",
    async (timeoutMs) => {
      await using server = await RawServer.listen();
      await using connection = await connect(server.address);
      const peer = await server.accept();
      const call = connection.unary("a.B", "Refused", EMPTY, { timeoutMs: timeoutMs as number });
      expect(await rejection(call)).toEqual(
        new TypeError(`timeoutMs must be a number of milliseconds, 0 or more, not ${written(timeoutMs)}`),
      );

      const next = connection.unary("a.B", "Next", EMPTY);
      const { streamId, method } = await peer.nextRequest();
      expect(method).toBe("Next");
      await peer.reply(streamId, bytes("ok"));
      expect(text(await next)).toBe("ok");
    },
  );
});

describe("a reply that comes after the deadline", () => {
  test("is dropped, and the next call gets its own", async () => {
    await using server = await RawServer.listen();
    await using connection = await connect(server.address);
    const peer = await server.accept();

    const late = connection.unary("a.B", "Late", EMPTY, { timeoutMs: 20 });
    const first = await peer.nextRequest();
    expect(first.timeoutNano).toBe(20_000_000n);
    expect(await failure(late)).toMatchObject({ code: Code.DeadlineExceeded });
    await peer.reply(first.streamId, bytes("too late"));

    const next = connection.unary("a.B", "Next", EMPTY);
    const second = await peer.nextRequest();
    expect(second.streamId).toBeGreaterThan(first.streamId);
    await peer.reply(first.streamId, bytes("again too late"));
    await peer.reply(second.streamId, bytes("in time"));
    expect(text(await next)).toBe("in time");
  });
});

describe("a signal", () => {
  test("that has already aborted keeps the call from being sent", async () => {
    await using server = await RawServer.listen();
    await using connection = await connect(server.address);
    const peer = await server.accept();
    const reason = new Error("changed my mind");

    const call = connection.unary("a.B", "Aborted", EMPTY, { signal: AbortSignal.abort(reason) });
    expect(await failure(call)).toMatchObject({ code: Code.Canceled, cause: reason });

    const next = connection.unary("a.B", "Next", EMPTY);
    const { streamId, method } = await peer.nextRequest();
    expect(method).toBe("Next");
    await peer.reply(streamId, EMPTY);
    expect(await next).toEqual(EMPTY);
  });

  test("that aborts in the tick of the call fails it with Canceled", async () => {
    await using server = await RawServer.listen();
    await using connection = await connect(server.address);
    const controller = new AbortController();
    const call = connection.unary("a.B", "Aborted", EMPTY, { signal: controller.signal });
    controller.abort("a reason");
    expect(await failure(call)).toMatchObject({ code: Code.Canceled, cause: "a reason" });
  });

  test("that aborts while the peer works fails the call with Canceled, and its reply is dropped", async () => {
    await using server = await RawServer.listen();
    await using connection = await connect(server.address);
    const peer = await server.accept();
    const controller = new AbortController();

    const call = connection.unary("a.B", "Aborted", EMPTY, { signal: controller.signal, timeoutMs: 60_000 });
    const first = await peer.nextRequest();
    controller.abort();
    const error = await failure(call);
    expect(error).toMatchObject({ code: Code.Canceled, cause: controller.signal.reason as unknown });
    expect(error.cause).toMatchObject({ name: "AbortError" });

    await peer.reply(first.streamId, bytes("for nobody"));
    const next = connection.unary("a.B", "Next", EMPTY);
    const second = await peer.nextRequest();
    await peer.reply(second.streamId, bytes("mine"));
    expect(text(await next)).toBe("mine");
  });

  test("made by AbortSignal.timeout fails the call with Canceled and the signal's reason", async () => {
    await using server = await RawServer.listen();
    await using connection = await connect(server.address);
    const signal = AbortSignal.timeout(5);
    const error = await failure(connection.unary("a.B", "Aborted", EMPTY, { signal }));
    expect(error.code).toBe(Code.Canceled);
    expect(error.cause).toMatchObject({ name: "TimeoutError" });
  });

  test("loses its listeners when the call is over, however it ended", async () => {
    await using server = createServer().addRaw("test.Echo", {
      Echo: { kind: "unary", handle: (payload) => payload },
      Fail: { kind: "unary", handle: () => Promise.reject(new TtrpcError("no", Code.NotFound)) },
      Hold: { kind: "unary", handle: (_, { signal }) => aborted(signal).then(() => EMPTY) },
    });
    await using connection = await connect(await server.listen(temporaryAddress()));
    const { signal } = new AbortController();
    await connection.unary("test.Echo", "Echo", EMPTY, { signal });
    await failure(connection.unary("test.Echo", "Fail", EMPTY, { signal }));
    await failure(connection.unary("test.Echo", "Hold", EMPTY, { signal, timeoutMs: 1 }));
    expect(getEventListeners(signal, "abort")).toEqual([]);
  });

  test("ends its thousand calls at once and no others, without a warning", async () => {
    await using server = await RawServer.listen();
    await using connection = await connect(server.address);
    const peer = await server.accept();
    const controller = new AbortController();
    const calls = Array.from({ length: 1000 }, () =>
      failure(connection.unary("a.B", "Aborted", EMPTY, { signal: controller.signal })),
    );
    const other = connection.unary("a.B", "Other", EMPTY);
    let request = await peer.nextRequest();
    while (request.method !== "Other") request = await peer.nextRequest();

    controller.abort();
    const codes = (await Promise.all(calls)).map((error) => error.code);
    expect(new Set(codes)).toEqual(new Set([Code.Canceled]));
    await peer.reply(request.streamId, bytes("still here"));
    expect(text(await other)).toBe("still here");
    expect(warnings).toEqual([]);
  });

  test("ends its thousand attempts to connect, which wait for a server, without a warning", async () => {
    const controller = new AbortController();
    const { signal } = controller;
    const attempts = Array.from({ length: 1000 }, () =>
      failure(connect(temporaryAddress(), { signal, waitForReady: true })),
    );
    // Until all of them wait.
    await new Promise((resolve) => {
      setImmediate(resolve);
    });
    controller.abort();
    const codes = (await Promise.all(attempts)).map((error) => error.code);
    expect(new Set(codes)).toEqual(new Set([Code.Canceled]));
    expect(getEventListeners(signal, "abort")).toEqual([]);
    await new Promise((resolve) => {
      setImmediate(resolve);
    });
    expect(warnings).toEqual([]);
  });

  test("ends what has it even if the program's own listener keeps the event to itself", async () => {
    await using server = await RawServer.listen();
    await using connection = await connect(server.address);
    const controller = new AbortController();
    const { signal } = controller;
    signal.addEventListener("abort", (event) => event.stopImmediatePropagation());
    const outcomes = [
      failure(connection.unary("a.B", "C", EMPTY, { signal })),
      rejection(connection.serverStreaming("a.B", "C", EMPTY, { signal }).next()),
      failure(connect(temporaryAddress(), { signal, waitForReady: true })),
    ];
    controller.abort("enough");
    for (const error of await Promise.all(outcomes)) {
      expect(error).toMatchObject({ code: Code.Canceled, cause: "enough" });
    }
  });

  test.each([
    ["object", {}],
    ["string", "signal"],
    ["null", null],
    ["AbortController", new AbortController()],
  ])("that is not an AbortSignal is refused by name: %s", async (kind, signal) => {
    await using server = await RawServer.listen();
    await using connection = await connect(server.address);
    const call = connection.unary("a.B", "C", EMPTY, { signal: signal as AbortSignal });
    expect(await rejection(call)).toEqual(new TypeError(`signal must be an AbortSignal, not ${kind}`));
  });

  test("ends an attempt to connect", async () => {
    const address = temporaryAddress();
    const reason = new Error("not now");
    const error = await failure(connect(address, { signal: AbortSignal.abort(reason) }));
    expect(error).toMatchObject({ code: Code.Canceled, cause: reason });
  });
});

describe("our server", () => {
  test("answers DEADLINE_EXCEEDED at the deadline, and the handler's signal aborts with it", async () => {
    const context = deferred<HandlerContext>();
    const release = deferred();
    await using server = createServer().addRaw("a.B", {
      Hold: {
        kind: "unary",
        async handle(_, its) {
          context.resolve(its);
          await release.promise;
          return bytes("too late");
        },
      },
      Next: { kind: "unary", handle: () => bytes("next") },
    });
    using client = await rawConnect(await server.listen(temporaryAddress()));
    const { status } = await client.call(1, { service: "a.B", method: "Hold", timeoutNano: 20_000_000n });
    expect(status.code).toBe(Code.DeadlineExceeded);

    const { signal, timeoutMs, deadline } = await context.promise;
    expect(timeoutMs).toBe(20);
    expect(Math.abs(deadline!.getTime() - Date.now())).toBeLessThan(5000);
    const reason = await aborted(signal);
    expect(reason).toBeInstanceOf(TtrpcError);
    expect(reason).toMatchObject({ code: Code.DeadlineExceeded });

    // What the handler returns now must not answer another request.
    release.resolve();
    const { payload } = await client.call(3, { service: "a.B", method: "Next" });
    expect(text(payload)).toBe("next");
  });

  test("gives a handler a timeout of a fraction of a millisecond", async () => {
    await using server = createServer().addRaw("a.B", {
      Timeout: { kind: "unary", handle: (_, { timeoutMs }) => bytes(String(timeoutMs)) },
    });
    using client = await rawConnect(await server.listen(temporaryAddress()));
    const { payload } = await client.call(1, {
      service: "a.B",
      method: "Timeout",
      timeoutNano: 60_000_250_000n,
    });
    expect(text(payload)).toBe("60000.25");
  });

  test("accepts the longest timeout that fits the wire", async () => {
    const context = deferred<HandlerContext>();
    await using server = createServer().addRaw("a.B", {
      Hold: {
        kind: "unary",
        handle(_, its) {
          context.resolve(its);
          return bytes("done");
        },
      },
    });
    using client = await rawConnect(await server.listen(temporaryAddress()));
    const { payload } = await client.call(1, { service: "a.B", method: "Hold", timeoutNano: 2n ** 63n - 1n });
    expect(text(payload)).toBe("done");
    expect((await context.promise).deadline?.getTime()).toBeGreaterThan(Date.now() + 8e12);
  });

  test("treats a negative timeout as a deadline that has passed, and calls no handler", async () => {
    let called = false;
    await using server = createServer().addRaw("a.B", {
      Hold: {
        kind: "unary",
        handle() {
          called = true;
          return EMPTY;
        },
      },
    });
    using client = await rawConnect(await server.listen(temporaryAddress()));
    const { status } = await client.call(1, { service: "a.B", method: "Hold", timeoutNano: -1n });
    expect(status.code).toBe(Code.DeadlineExceeded);
    expect(called).toBe(false);
  });

  test("keeps a handler running when its caller aborts, since no frame could tell it", async () => {
    const [entered, release, finished] = [deferred<HandlerContext>(), deferred(), deferred<boolean>()];
    await using server = createServer().addRaw("a.B", {
      Hold: {
        kind: "unary",
        async handle(_, context) {
          entered.resolve(context);
          await release.promise;
          finished.resolve(context.signal.aborted);
          return EMPTY;
        },
      },
      Next: { kind: "unary", handle: () => bytes("next") },
    });
    await using connection = await connect(await server.listen(temporaryAddress()));
    const controller = new AbortController();
    const call = connection.unary("a.B", "Hold", EMPTY, { signal: controller.signal });
    await entered.promise;
    controller.abort();
    expect(await failure(call)).toMatchObject({ code: Code.Canceled });
    release.resolve();
    expect(await finished.promise).toBe(false);
    expect(text(await connection.unary("a.B", "Next", EMPTY))).toBe("next");
  });
});
