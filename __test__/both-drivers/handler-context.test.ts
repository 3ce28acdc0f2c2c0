import { inspect } from "node:util";
import { AsyncLocalStorage } from "node:async_hooks";
import { create } from "@bufbuild/protobuf";
import { AnySchema } from "@bufbuild/protobuf/wkt";
import {
  type CallOptions,
  Code,
  connect,
  createContextKey,
  createContextValues,
  createServer,
  type HandlerContext,
  type RawMethods,
  type ServerInterceptor,
  TtrpcError,
} from "containerd-shim-protos";
import { describe, expect, test } from "vitest";
import { bytes, deferred, failure, rejection, text } from "../helpers/outcome.js";
import { type Pair, pairOf, pairWith, SERVICE } from "../helpers/pair.js";

const EMPTY = new Uint8Array();
const tick = () => new Promise((resolve) => setImmediate(resolve));

/** The answers of a method of each kind, joined. */
const CALLS: Readonly<Record<string, (pair: Pair) => Promise<string>>> = {
  Unary: async ({ connection }) => text(await connection.unary(SERVICE, "Unary", EMPTY)),
  Down: ({ connection }) => joined(connection.serverStreaming(SERVICE, "Down", EMPTY)),
  Up: async ({ connection }) => text(await connection.clientStreaming(SERVICE, "Up", [EMPTY, EMPTY])),
  Chat: ({ connection }) => joined(connection.bidiStreaming(SERVICE, "Chat", new Set([EMPTY, bytes("x")]))),
};

async function joined(messages: AsyncIterable<Uint8Array>): Promise<string> {
  let all = "";
  for await (const message of messages) all += text(message);
  return all;
}

/** Handlers of all kinds that answer with what `read` says, at their beginning and after they waited. */
function methodsThat(read: (context: HandlerContext) => string, ended: (said: string) => void): RawMethods {
  const say = async (context: HandlerContext) => {
    const first = read(context);
    await tick();
    return bytes(first + read(context));
  };
  async function* saying(context: HandlerContext) {
    try {
      yield bytes(read(context));
      await tick();
      yield bytes(read(context));
    } finally {
      ended(read(context));
    }
  }
  return {
    Unary: { kind: "unary", handle: (_, context) => say(context) },
    Down: { kind: "server_streaming", handle: (_, context) => saying(context) },
    Up: {
      kind: "client_streaming",
      async handle(requests, context) {
        for await (const request of requests) void request;
        return say(context);
      },
    },
    Chat: {
      kind: "bidi_streaming",
      async *handle(requests, context) {
        for await (const request of requests) void request;
        yield* saying(context);
      },
    },
  };
}

describe("what an interceptor sets", () => {
  const key = createContextKey("nobody", { description: "user" });
  const storage = new AsyncLocalStorage<string>();
  const setting: ServerInterceptor = (next) => (call) => {
    call.context.values.set(key, call.method);
    return storage.run(call.method, () => next(call));
  };
  const entering: ServerInterceptor = (next) => async (call) => {
    storage.enterWith(call.method);
    return next(call);
  };

  test.each(Object.entries(CALLS))("in context.values is read by a handler: %s", async (method, call) => {
    const server = createServer({ interceptors: [setting] });
    await using pair = await pairWith(
      server.addRaw(
        SERVICE,
        methodsThat(
          ({ values }) => values.get(key),
          () => undefined,
        ),
      ),
    );
    expect(await call(pair)).toBe(method + method);
  });

  test.each(
    Object.entries(CALLS).flatMap(([method, call]) => [
      [method, "run", setting, call] as const,
      [method, "enterWith", entering, call] as const,
    ]),
  )("in an AsyncLocalStorage holds for all of a handler: %s, by %s", async (method, _, interceptor, call) => {
    const ends: string[] = [];
    const server = createServer({ interceptors: [interceptor] });
    const methods = methodsThat(
      () => storage.getStore() ?? "lost",
      (said) => ends.push(said),
    );
    await using pair = await pairWith(server.addRaw(SERVICE, methods));
    expect(await call(pair)).toBe(method + method);
    expect(ends).toEqual(method === "Down" || method === "Chat" ? [method] : []);
  });

  test("in an AsyncLocalStorage holds when a reader leaves", async () => {
    const left = deferred<string>();
    const server = createServer({ interceptors: [setting] });
    const methods = methodsThat(() => storage.getStore() ?? "lost", left.resolve);
    await using pair = await pairWith(server.addRaw(SERVICE, methods));
    for await (const message of pair.connection.bidiStreaming(SERVICE, "Chat", [])) {
      expect(text(message)).toBe("Chat");
      break;
    }
    await pair.connection.close();
    expect(await left.promise).toBe("Chat");
  });

  test("by keys: each has its default, and values of its own", () => {
    const other = createContextKey<number | undefined>(undefined);
    const values = createContextValues().set(key, "alice");
    expect([values.get(key), values.get(other), createContextValues().get(key)]).toEqual([
      "alice",
      undefined,
      "nobody",
    ]);
    expect(values.set(other, undefined).get(other)).toBeUndefined();
    expect(values.delete(key).get(key)).toBe("nobody");
    for (const wrong of [undefined, null, {}, "user"]) {
      expect(() => values.get(wrong as never)).toThrow(/^key must be one that createContextKey\(\) made/);
    }
  });
});

test("values are shown under the descriptions of their keys", () => {
  const user = createContextKey("nobody", { description: "user" });
  const shown = inspect(createContextValues().set(user, "alice").set(createContextKey(0), 1));
  // Later versions of Node print no brackets.
  expect(shown.replaceAll(/[[\]]/g, "")).toBe("ContextValues { Symbol(user): 'alice', Symbol(): 1 }");
});

describe("context.remainingMs", () => {
  test("counts down to 0, and is undefined without a deadline", async () => {
    const seen = deferred<(number | undefined)[]>();
    await using pair = await pairOf({
      Wait: {
        kind: "unary",
        async handle(payload, context) {
          const first = context.remainingMs();
          if (context.timeoutMs === undefined) return bytes(String(first));
          await new Promise((resolve) => context.signal.addEventListener("abort", resolve));
          await new Promise((resolve) => setTimeout(resolve, 30));
          seen.resolve([first, context.remainingMs()]);
          return payload;
        },
      },
    });
    expect(text(await pair.connection.unary(SERVICE, "Wait", EMPTY))).toBe("undefined");
    await failure(pair.connection.unary(SERVICE, "Wait", EMPTY, { timeoutMs: 50 }));
    const [first, last] = await seen.promise;
    expect(first).toBeGreaterThan(0);
    expect(first).toBeLessThanOrEqual(50);
    expect(last).toBe(0);
  });
});

test("metadata and errors keep a leading U+FEFF, which is a character of theirs", async () => {
  const values = ["\uFEFFab", "ab", "\uFEFF"];
  await using pair = await pairOf({
    Tell: {
      kind: "unary",
      handle(_, { metadata }) {
        throw new TtrpcError("\uFEFFtext", Code.Aborted, {
          details: [create(AnySchema, { typeUrl: "\uFEFFtype", value: bytes(JSON.stringify(metadata)) })],
        });
      },
    },
  });
  const call = pair.connection.unary(SERVICE, "Tell", EMPTY, { metadata: { key: values } });
  const { rawMessage, details } = await failure(call);
  expect(rawMessage).toBe("\uFEFFtext");
  expect(details.map(({ typeUrl }) => typeUrl)).toEqual(["\uFEFFtype"]);
  expect(JSON.parse(text(details[0]?.value ?? EMPTY))).toEqual({ key: values });
});

describe("the option parent", () => {
  /** A server whose handler calls another one, and what that one saw. */
  async function between(options: (context: HandlerContext) => CallOptions) {
    const inner = await pairOf({
      Tell: {
        kind: "unary",
        handle: (_, { metadata, timeoutMs }) => bytes(JSON.stringify({ metadata, timeoutMs })),
      },
      Stuck: { kind: "unary", handle: () => new Promise<never>(() => undefined) },
    });
    const outcome = deferred<unknown>();
    const started = deferred();
    const pass = (method: string) => async (payload: Uint8Array, context: HandlerContext) => {
      const reply = inner.connection.unary(SERVICE, method, payload, options(context));
      reply.then(outcome.resolve, outcome.resolve);
      started.resolve();
      return reply;
    };
    const outer = await pairOf({
      Tell: { kind: "unary", handle: pass("Tell") },
      Stuck: { kind: "unary", handle: pass("Stuck") },
    });
    return {
      connection: outer.connection,
      outcome: outcome.promise,
      started: started.promise,
      async [Symbol.asyncDispose]() {
        await outer[Symbol.asyncDispose]();
        await inner[Symbol.asyncDispose]();
      },
    };
  }
  type Told = { metadata: Record<string, string[]>; timeoutMs?: number };
  const told = (reply: Uint8Array) => JSON.parse(text(reply)) as Told;

  test("hands on the deadline and the metadata, of which the call's own keys win", async () => {
    await using chain = await between((parent) => ({ parent, metadata: { B: "own" } }));
    const metadata = { a: ["1", "2"], b: "theirs", ["__proto__"]: "p" };
    const { metadata: got, timeoutMs } = told(
      await chain.connection.unary(SERVICE, "Tell", EMPTY, { metadata, timeoutMs: 5000 }),
    );
    expect(Object.entries(got).toSorted()).toEqual(
      [
        ["__proto__", ["p"]],
        ["a", ["1", "2"]],
        ["b", ["own"]],
      ].toSorted(),
    );
    expect(timeoutMs).toBeGreaterThan(0);
    expect(timeoutMs).toBeLessThan(5000);
  });

  test("hands on no deadline where there is none, and the shorter of two", async () => {
    await using none = await between((parent) => ({ parent }));
    expect(told(await none.connection.unary(SERVICE, "Tell", EMPTY)).timeoutMs).toBeUndefined();
    await using shorter = await between((parent) => ({ parent, timeoutMs: 100 }));
    const reply = await shorter.connection.unary(SERVICE, "Tell", EMPTY, { timeoutMs: 60_000 });
    expect(told(reply).timeoutMs).toBeLessThanOrEqual(100);
  });

  test("ends the call at the deadline of the caller, even if that has passed", async () => {
    await using chain = await between((parent) => ({ parent }));
    await failure(chain.connection.unary(SERVICE, "Stuck", EMPTY, { timeoutMs: 30 }));
    const error = (await chain.outcome) as { code: Code };
    expect([Code.DeadlineExceeded, Code.Canceled]).toContain(error.code);
  });

  test("aborts the call when the caller goes, unless it has a signal of its own", async () => {
    await using chain = await between((parent) => ({ parent }));
    const call = failure(chain.connection.unary(SERVICE, "Stuck", EMPTY));
    await chain.started;
    await chain.connection.close();
    await call;
    expect(await chain.outcome).toMatchObject({ code: Code.Canceled, method: "Stuck" });

    await using own = await between((parent) => ({ parent, signal: AbortSignal.abort(new Error("own")) }));
    await failure(own.connection.unary(SERVICE, "Stuck", EMPTY));
    expect(await own.outcome).toMatchObject({ code: Code.Canceled, cause: { message: "own" } });
  });

  test("and contextValues of another kind are TypeErrors", async () => {
    await using pair = await pairOf({ Echo: { kind: "unary", handle: (payload) => payload } });
    const connection = await connect(pair.address);
    for (const name of ["parent", "contextValues"]) {
      for (const value of [null, {}, "x", new Map(), new Proxy({}, {})]) {
        const error = await rejection(connection.unary(SERVICE, "Echo", EMPTY, { [name]: value }));
        expect(error).toBeInstanceOf(TypeError);
        expect((error as Error).message).toMatch(new RegExp(`^${name} must be `));
      }
    }
    await connection.close();
  });
});
