import { Code, connect, createClient, createServer, type RawMethods } from "containerd-shim-protos";
import { Task } from "containerd-shim-protos/task/v3";
import { describe, expect, test } from "vitest";
import { bytes, deferred, failure, text } from "../helpers/outcome.js";
import { pairOf, pairWith, SERVICE } from "../helpers/pair.js";

const EMPTY = new Uint8Array();
/** The number of uses after which a slot's names once repeated. */
const ROUND = 2048;

/** Handlers that wait, by method name, and an echo. */
function holding() {
  const gates = { First: deferred<Uint8Array>(), Second: deferred<Uint8Array>() };
  const methods: RawMethods = {
    Echo: { kind: "unary", handle: (payload) => payload },
    First: { kind: "unary", handle: () => gates.First.promise },
    Second: { kind: "unary", handle: () => gates.Second.promise },
    List: {
      kind: "server_streaming",
      async *handle() {
        yield bytes("one");
        yield bytes("two");
      },
    },
    Chat: { kind: "bidi_streaming", async *handle() {} },
  };
  return { gates, methods };
}

describe("a refused call", () => {
  const methods = Object.fromEntries(
    ["Kill", "State", "Wait"].map((name) => [name, { kind: "unary", handle: () => bytes(name) } as const]),
  );

  test("leaves every other method in place if its name is too long", async () => {
    await using pair = await pairOf(methods);
    const { connection } = pair;
    expect(text(await connection.unary(SERVICE, "Wait", EMPTY))).toBe("Wait");
    await expect(connection.unary("x".repeat(3 << 20), "M", EMPTY)).rejects.toThrow(
      new TypeError("service has 3145728 characters, more than 4096"),
    );
    await expect(connection.unary("x", "M".repeat(4097), EMPTY)).rejects.toThrow(
      new TypeError("method has 4097 characters, more than 4096"),
    );
    for (const name of ["State", "Kill", "State"]) {
      expect(text(await connection.unary(SERVICE, name, EMPTY))).toBe(name);
    }
  });

  test("leaves every other method in place if a getter of its message throws", async () => {
    await using pair = await pairWith(
      createServer()
        .addRaw(SERVICE, methods)
        .add(Task, { state: ({ id }) => ({ id }) }),
    );
    const { connection } = pair;
    let inner: Promise<unknown> | undefined;
    const state = createClient(Task, connection).state({
      get id() {
        inner = failure(connection.unary("some.Other", "New", EMPTY));
        return "web";
      },
    });
    expect((await state).id).toBe("web");
    expect(await inner).toMatchObject({ code: Code.FailedPrecondition });
    for (const name of ["State", "Kill", "State"]) {
      expect(text(await connection.unary(SERVICE, name, EMPTY))).toBe(name);
    }
    expect(await failure(connection.unary("some.Other", "New", EMPTY))).toMatchObject({
      code: Code.Unimplemented,
    });
  });
});

describe("a stream that ended long ago", () => {
  test.each([ROUND - 1, ROUND, 2 * ROUND - 1])(
    "ends no other call when its reader leaves, %i calls later",
    async (calls) => {
      const { gates, methods } = holding();
      await using pair = await pairOf(methods);
      const { connection } = pair;
      const reader = connection.serverStreaming(SERVICE, "List", EMPTY)[Symbol.asyncIterator]();
      for (let made = 0; made < calls; made++) await connection.unary(SERVICE, "Echo", EMPTY);
      const waiting = connection.unary(SERVICE, "First", EMPTY, { timeoutMs: 10_000 });
      await connection.unary(SERVICE, "Echo", EMPTY);
      await reader.return?.();
      await connection.unary(SERVICE, "Echo", EMPTY);
      gates.First.resolve(bytes("first"));
      expect(text(await waiting)).toBe("first");
    },
  );

  test("ends no other call when its requests throw", async () => {
    const { gates, methods } = holding();
    await using pair = await pairOf(methods);
    const { connection } = pair;
    const boom = deferred();
    async function* requests() {
      await boom.promise;
      yield EMPTY;
    }
    for await (const message of connection.bidiStreaming(SERVICE, "Chat", requests()))
      expect(message).toBe("none");
    for (let made = 0; made < ROUND - 1; made++) await connection.unary(SERVICE, "Echo", EMPTY);
    const waiting = connection.unary(SERVICE, "First", EMPTY, { timeoutMs: 10_000 });
    await connection.unary(SERVICE, "Echo", EMPTY);
    boom.reject(new Error("boom"));
    await connection.unary(SERVICE, "Echo", EMPTY);
    gates.First.resolve(bytes("first"));
    expect(text(await waiting)).toBe("first");
  });

  test("keeps the messages that were not read when its requests throw", async () => {
    const boom = deferred();
    const ended = deferred();
    await using pair = await pairOf({
      Chat: {
        kind: "bidi_streaming",
        async *handle() {
          yield bytes("one");
          yield bytes("two");
        },
      },
      Echo: { kind: "unary", handle: (payload) => payload },
    });
    async function* requests() {
      await boom.promise.finally(() => ended.resolve());
      yield EMPTY;
    }
    const reader = pair.connection.bidiStreaming(SERVICE, "Chat", requests());
    await pair.connection.unary(SERVICE, "Echo", EMPTY);
    boom.reject(new Error("boom"));
    await ended.promise;
    await pair.connection.unary(SERVICE, "Echo", EMPTY);
    const seen: string[] = [];
    for await (const message of reader) seen.push(text(message));
    expect(seen).toEqual(["one", "two"]);
  });
});

describe("a handler whose caller has gone", () => {
  test.each(["an error", "a reply"])("gives %s to no other call", async (what) => {
    const { gates, methods } = holding();
    await using pair = await pairOf(methods);
    await using bob = await connect(pair.address);
    const alice = pair.connection;
    await expect(alice.unary(SERVICE, "First", EMPTY, { timeoutMs: 20 })).rejects.toMatchObject({
      code: Code.DeadlineExceeded,
    });
    for (let made = 0; made < ROUND - 1; made++) await bob.unary(SERVICE, "Echo", EMPTY);
    const waiting = bob.unary(SERVICE, "Second", EMPTY, { timeoutMs: 10_000 });
    await bob.unary(SERVICE, "Echo", EMPTY);
    if (what === "an error") gates.First.reject(new Error("alice's secret"));
    else gates.First.resolve(bytes("alice's secret"));
    await bob.unary(SERVICE, "Echo", EMPTY);
    gates.Second.resolve(bytes("bob's own"));
    expect(text(await waiting)).toBe("bob's own");
  });
});

test.each([ROUND - 1, ROUND, ROUND + 1, 2 * ROUND])(
  "a call behind %i that were aborted in the same tick gets its reply",
  async (count) => {
    await using pair = await pairOf({ Echo: { kind: "unary", handle: (payload) => payload } });
    const { connection } = pair;
    const aborted = Array.from({ length: count }, () => {
      const controller = new AbortController();
      const call = failure(connection.unary(SERVICE, "Echo", EMPTY, { signal: controller.signal }));
      controller.abort();
      return call;
    });
    const reply = connection.unary(SERVICE, "Echo", bytes("mine"), { timeoutMs: 10_000 });
    for (const error of await Promise.all(aborted)) expect(error.code).toBe(Code.Canceled);
    expect(text(await reply)).toBe("mine");
  },
);
