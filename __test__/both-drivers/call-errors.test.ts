import { inspect } from "node:util";
import { Code, connect, type Connection, type RawMethods, TtrpcError } from "containerd-shim-protos";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { collect, several } from "../helpers/iterables.js";
import { bytes, failure } from "../helpers/outcome.js";
import { type Pair, pairOf, SERVICE } from "../helpers/pair.js";

const EMPTY = new Uint8Array();
const detail = { typeUrl: "a.Detail", value: bytes("x") };

function fail(): never {
  throw Object.assign(new TtrpcError("no entry", Code.NotFound), { details: [detail] });
}

const METHODS = {
  Unary: { kind: "unary", handle: fail },
  Down: {
    kind: "server_streaming",
    async *handle() {
      yield fail();
    },
  },
  Up: { kind: "client_streaming", handle: fail },
  Chat: {
    kind: "bidi_streaming",
    async *handle() {
      yield fail();
    },
  },
  Stuck: { kind: "unary", handle: () => new Promise<never>(() => undefined) },
  StuckUp: { kind: "client_streaming", handle: () => new Promise<never>(() => undefined) },
  StuckDown: {
    kind: "server_streaming",
    async *handle() {
      await new Promise<never>(() => undefined);
      yield EMPTY;
    },
  },
} as const satisfies RawMethods;

/** A call of each kind, made in a function whose name a stack shows. */
const CALLS: readonly (readonly [string, (connection: Connection) => Promise<unknown>])[] = [
  [
    "Unary",
    async function caller(c) {
      return await c.unary(SERVICE, "Unary", EMPTY);
    },
  ],
  [
    "Down",
    async function caller(c) {
      await collect(c.serverStreaming(SERVICE, "Down", EMPTY));
    },
  ],
  [
    "Up",
    async function caller(c) {
      return await c.clientStreaming(SERVICE, "Up", several());
    },
  ],
  [
    "Chat",
    async function caller(c) {
      await collect(c.bidiStreaming(SERVICE, "Chat", several()));
    },
  ],
];

let pair: Pair;
beforeAll(async () => {
  pair = await pairOf(METHODS);
});
afterAll(() => pair[Symbol.asyncDispose]());

describe("the error of a call", () => {
  test.each(CALLS)(
    "%s names the call, shows its code, and ends its stack in the caller",
    async (method, call) => {
      const error = await failure(call(pair.connection));
      expect(error).toMatchObject({
        code: Code.NotFound,
        message: `${SERVICE}/${method}: no entry`,
        rawMessage: "no entry",
        service: SERVICE,
        method,
        address: pair.address,
      });
      expect(inspect(error)).toContain(`TtrpcError [not_found]: ${SERVICE}/${method}: no entry\n`);
      expect(error.stack).toMatch(
        /^TtrpcError: a\.B\/\w+: no entry\n(?: {4}at .*\n)*? {4}at (?:async )?.*caller.* \(.*call-errors\.test\.ts/,
      );
      expect(error.stack).not.toContain("dist/native");
    },
  );

  test.each([
    ["deadline", "the deadline passed before the reply arrived", { timeoutMs: 20 }],
    ["signal", "the call was canceled", { signal: AbortSignal.timeout(20) }],
    ["earlier signal", "the call was canceled", { signal: AbortSignal.abort() }],
  ])("that ends by its %s says which call it was", async (_, rawMessage, options) => {
    async function caller() {
      await pair.connection.unary(SERVICE, "Stuck", EMPTY, options);
    }
    async function reader() {
      await collect(pair.connection.serverStreaming(SERVICE, "StuckDown", EMPTY, options));
    }
    const unary = await failure(caller());
    expect(unary).toMatchObject({ message: `a.B/Stuck: ${rawMessage}`, rawMessage, method: "Stuck" });
    expect(unary.stack).toContain("caller");
    const stream = await failure(reader());
    expect(stream).toMatchObject({ message: `a.B/StuckDown: ${rawMessage}`, rawMessage });
    expect(stream.stack).toContain("reader");
  });

  test("on a connection that is closed, or that ends, names the call", async () => {
    const connection = await connect(pair.address);
    const flying = failure(connection.unary(SERVICE, "Stuck", EMPTY));
    await connection.close();
    expect((await flying).message).toMatch(/^a\.B\/Stuck: the connection was closed/);
    for (const call of [
      connection.unary(SERVICE, "Stuck", EMPTY),
      connection.clientStreaming(SERVICE, "Up", several()),
    ]) {
      const late = await failure(call);
      expect(late.message).toMatch(/^a\.B\/(?:Stuck|Up): the connection to .* is closed/);
      expect(late.stack).toContain("call-errors.test.ts");
    }
  });

  test("to a method that the server lacks says that it is missing", async () => {
    const error = await failure(pair.connection.unary(SERVICE, "Missing", EMPTY));
    expect(error.code).toBe(Code.Unimplemented);
    expect(error.message).toBe(`a.B/Missing: the server does not implement it: ${error.rawMessage}`);
    expect(error.rawMessage).not.toContain("the server does not implement it");
  });

  test("that is too large to be sent names the call", async () => {
    const error = await failure(pair.connection.unary(SERVICE, "Unary", new Uint8Array(5 << 20)));
    expect(error).toMatchObject({ code: Code.ResourceExhausted, service: SERVICE, method: "Unary" });
    expect(error.stack).toContain("call-errors.test.ts");
  });

  test("is JSON with its message, and its details in base64", async () => {
    const error = await failure(pair.connection.unary(SERVICE, "Unary", EMPTY));
    expect(JSON.parse(JSON.stringify(error))).toEqual({
      name: "TtrpcError",
      code: 5,
      codeName: "NotFound",
      message: "a.B/Unary: no entry",
      service: SERVICE,
      method: "Unary",
      address: pair.address,
      details: [{ typeUrl: "a.Detail", value: "eA==" }],
    });
  });

  test("of many that fail together: each names its call, and the first have stacks", async () => {
    const connection = await connect(pair.address);
    const calls = Array.from({ length: 500 }, () => failure(connection.unary(SERVICE, "Stuck", EMPTY)));
    await connection.close();
    const errors = await Promise.all(calls);
    expect(errors.every(({ message }) => message.startsWith("a.B/Stuck: "))).toBe(true);
    const framed = errors.filter(({ stack }) => stack?.includes("\n    at "));
    expect(framed.length).toBeGreaterThanOrEqual(100);
  });

  test("that the caller's own code threw stays as it is", async () => {
    const own = new TtrpcError("mine", Code.DataLoss);
    const { stack } = own;
    const requests = (async function* (): AsyncGenerator<Uint8Array> {
      yield EMPTY;
      throw own;
    })();
    expect(await failure(pair.connection.clientStreaming(SERVICE, "StuckUp", requests))).toBe(own);
    expect(own).toMatchObject({ message: "mine", stack });
    expect(own.service).toBeUndefined();
  });
});

describe("a handler that throws a call's error on", () => {
  const unchanged = (error: unknown) => error;
  test.each([
    ["as it is", unchanged, "no entry"],
    ["as a Proxy of it", (error: unknown) => new Proxy(error as TtrpcError, {}), "no entry"],
    [
      "with another message",
      (error: unknown) => Object.assign(error as TtrpcError, { message: "gone" }),
      "gone",
    ],
  ])("%s sends code, text and details as the first peer did", async (_, change, said) => {
    await using between = await pairOf({
      Unary: { kind: "unary", handle: (payload) => pass(pair.connection.unary(SERVICE, "Unary", payload)) },
      Down: {
        kind: "server_streaming",
        async *handle(payload) {
          try {
            yield* pair.connection.serverStreaming(SERVICE, "Down", payload);
          } catch (error) {
            throw change(error);
          }
        },
      },
    });
    async function pass(reply: Promise<Uint8Array>) {
      try {
        return await reply;
      } catch (error) {
        throw change(error);
      }
    }
    for (const call of [
      between.connection.unary(SERVICE, "Unary", EMPTY),
      collect(between.connection.serverStreaming(SERVICE, "Down", EMPTY)),
    ]) {
      const error = await failure(call);
      expect(error).toMatchObject({ code: Code.NotFound, rawMessage: said, address: between.address });
      expect(error.details).toMatchObject([{ typeUrl: "a.Detail" }]);
    }
  });
});

describe("inspect of a TtrpcError", () => {
  test("shows the code of one that was made here, and of its cause", () => {
    const cause = new TtrpcError("below", Code.DeadlineExceeded);
    const shown = inspect(new TtrpcError("above", Code.Unavailable, { cause }));
    expect(shown).toMatch(/^TtrpcError \[unavailable\]: above\n/);
    expect(shown).toContain("TtrpcError [deadline_exceeded]: below\n");
    expect(inspect(new TtrpcError("odd", 99 as Code))).toMatch(/^TtrpcError \[code 99\]: odd\n/);
  });

  test("ends, whatever was done to the error", () => {
    const error = new TtrpcError("round", Code.Aborted);
    error.cause = { error };
    expect(inspect(error, { depth: Infinity })).toContain("[Circular");
    for (const name of ["stack", "code", "message", "name"]) {
      const fails = (made: Error): boolean => {
        const get = () => {
          throw new Error("trap");
        };
        try {
          inspect(Object.defineProperty(made, name, { get }));
          return false;
        } catch {
          return true;
        }
      };
      // Node's own inspect fails for an Error with some of these.
      expect(fails(new TtrpcError("bad")), name).toBe(fails(new Error("bad")));
      if (name === "code") expect(fails(new TtrpcError("bad"))).toBe(false);
    }
    expect(() => inspect(Object.create(TtrpcError.prototype))).not.toThrow();
  });
});
