import {
  Code,
  createClient,
  createServer,
  type RawMethod,
  type ServerInterceptor,
  TtrpcError,
} from "containerd-shim-protos";
import { type StateResponse, Task } from "containerd-shim-protos/task/v3";
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { describe, expect, test } from "vitest";
import { bytes, failure, text } from "../helpers/outcome.js";
import { pairOf, pairWith, SERVICE } from "../helpers/pair.js";
import { watchUncaught } from "../helpers/uncaught.js";

const EMPTY = new Uint8Array();
watchUncaught();

function revoked(): object {
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  return proxy;
}

const trap = () => {
  throw new Error("trap");
};

/** Values that throw when they are inspected. */
const VALUES: Readonly<Record<string, () => object>> = {
  "an object whose then throws": () => ({
    // eslint-disable-next-line unicorn/no-thenable -- This is what the test needs.
    get then() {
      return trap();
    },
  }),
  "a revoked Proxy": revoked,
  "a Proxy whose traps throw": () =>
    new Proxy({}, { get: trap, getPrototypeOf: trap, ownKeys: trap, has: trap }),
  "an error whose message throws": () => Object.defineProperty(new Error("x"), "message", { get: trap }),
  "an error whose prototype cannot be read": () => new Proxy(new Error("x"), { getPrototypeOf: trap }),
  "a function that is a revoked Proxy": () => {
    const { proxy, revoke } = Proxy.revocable(() => {}, {});
    revoke();
    return proxy;
  },
  "a promise whose constructor throws": () =>
    Object.defineProperty(Promise.resolve({}), "constructor", { get: trap }),
  "a TtrpcError whose details are not details": () => {
    const error = new TtrpcError("x", Code.NotFound);
    error.details.push({ typeUrl: 5, value: null } as never);
    return error;
  },
};

const DELIVERIES: Readonly<Record<string, (value: object) => unknown>> = {
  returned: (value) => value,
  thrown: (value) => {
    throw value;
  },
  "resolved with": async (value) => value,
  "rejected with": (value) => Promise.reject(value),
};

const traced = [false, true];
const cases = Object.keys(VALUES).flatMap((value) =>
  Object.keys(DELIVERIES).flatMap((delivery) => traced.map((trace) => [value, delivery, trace] as const)),
);

describe("what a handler returns or throws", () => {
  test.each(cases)("%s, %s, costs only its own call (traced: %s)", async (value, delivery, trace) => {
    const listener = () => {};
    if (trace) subscribe("ttrpc:server:call:end", listener);
    try {
      await using pair = await pairWith(
        createServer().add(Task, {
          state: ({ id }) =>
            id === "bad" ? (DELIVERIES[delivery]!(VALUES[value]!()) as StateResponse) : { id },
        }),
      );
      const task = createClient(Task, pair.connection);
      const good = ["1", "2", "3"];
      const calls = [
        task.state({ id: "1" }),
        task.state({ id: "bad" }),
        task.state({ id: "2" }),
        task.state({ id: "3" }),
      ];
      const outcomes = await Promise.allSettled(calls);
      const [bad] = outcomes.splice(1, 1);
      expect(outcomes.map((outcome) => outcome.status === "fulfilled" && outcome.value.id)).toEqual(good);
      // Any object without fields is a message; everything else fails with an error that crossed.
      const error = bad?.status === "rejected" ? (bad.reason as unknown) : new TtrpcError("none");
      expect(error).toBeInstanceOf(TtrpcError);
      expect((error as Error).message).not.toContain("Cannot read properties");
      expect((await task.state({ id: "later" })).id).toBe("later");
    } finally {
      if (trace) unsubscribe("ttrpc:server:call:end", listener);
    }
  });
});

/** A streaming handler with this iterator. */
function streaming(iterator: object): RawMethod {
  return { kind: "server_streaming", handle: () => ({ [Symbol.asyncIterator]: () => iterator }) as never };
}

const never = () => new Promise<never>(() => {});
const one = async () => ({ value: bytes("one"), done: false });
const wrong = async () => ({ value: "wrong", done: false });

describe("an iterator that a handler returns", () => {
  test.each<[string, object, RegExp]>([
    ["throws in next and never settles its return", { next: async () => trap(), return: never }, /^trap$/],
    ["throws in next and throws in return", { next: async () => trap(), return: trap }, /^trap$/],
    ["throws in next at once", { next: trap, return: never }, /^trap$/],
    [
      "yields a wrong message and never settles its return",
      { next: wrong, return: never },
      /returned a wrong response/,
    ],
    [
      "yields a wrong message and throws in return",
      { next: wrong, return: trap },
      /returned a wrong response/,
    ],
    ["returns no result", { next: async () => undefined }, /gave undefined, which is not an iterator result/],
    [
      "returns a result that throws",
      { next: async () => Object.defineProperty({}, "value", { get: trap }) },
      /^trap$/,
    ],
    ["has no next", {}, /must be an AsyncIterable/],
  ])("%s: the call fails with its error, and the server can close", async (_, iterator, message) => {
    const passing: ServerInterceptor = (next) => (call) => next(call);
    for (const interceptors of [[], [passing]]) {
      const server = createServer({ interceptors }).addRaw(SERVICE, { Bad: streaming(iterator) });
      await using pair = await pairWith(server);
      const read = async () => {
        for await (const response of pair.connection.serverStreaming(SERVICE, "Bad", EMPTY)) void response;
      };
      // What it throws is the handler's own error. What it gives by mistake is a fault of the server.
      const code = message.source === "^trap$" ? Code.Unknown : Code.Internal;
      expect(await failure(read())).toMatchObject({ code, rawMessage: expect.stringMatching(message) });
    }
  });

  test.each([
    [undefined, "undefined"],
    [5, "number"],
    ["text", "string"],
  ])("is %j: the call fails with Internal", async (responses, kind) => {
    const Bad: RawMethod = { kind: "server_streaming", handle: () => responses as never };
    for (const interceptors of [[], [((next) => (call) => next(call)) as ServerInterceptor]]) {
      await using pair = await pairWith(createServer({ interceptors }).addRaw(SERVICE, { Bad }));
      const { code, rawMessage } = await failure(
        pair.connection.serverStreaming(SERVICE, "Bad", EMPTY).next(),
      );
      expect([code, rawMessage]).toEqual([
        Code.Internal,
        `what the handler of a.B/Bad returns must be an AsyncIterable, not ${kind}`,
      ]);
    }
  });

  test("has its return called when it is left at a message, not after it threw", async () => {
    const told: string[] = [];
    const iterator = (name: string, next: () => unknown) => ({
      next,
      return: async () => void told.push(name),
    });
    let given = 0;
    await using pair = await pairOf({
      Threw: streaming(iterator("threw", trap)),
      Ended: streaming(iterator("ended", async () => ({ value: undefined, done: true }))),
      Wrong: streaming(iterator("wrong", () => (given++ === 0 ? one() : wrong()))),
    });
    for (const method of ["Threw", "Ended", "Wrong"]) {
      const all = async () => {
        for await (const response of pair.connection.serverStreaming(SERVICE, method, EMPTY)) void response;
      };
      await all().catch(() => undefined);
    }
    expect(told).toEqual(["wrong"]);
  });
});

describe("an iterator of requests", () => {
  const upload: RawMethod = {
    kind: "client_streaming",
    async handle(requests) {
      for await (const request of requests) void request;
      return bytes("all");
    },
  };

  test.each<[string, object, RegExp]>([
    ["throws in next and never settles its return", { next: async () => trap(), return: never }, /trap/],
    [
      "yields a wrong message and never settles its return",
      { next: wrong, return: never },
      /must be a Uint8Array/,
    ],
    ["yields a wrong message and throws in return", { next: wrong, return: trap }, /must be a Uint8Array/],
    ["returns no result", { next: async () => null }, /the iterator of requests gave null/],
  ])("%s: the call fails with its error", async (_, iterator, message) => {
    await using pair = await pairOf({ Upload: upload });
    const requests = { [Symbol.asyncIterator]: () => iterator } as AsyncIterable<Uint8Array>;
    await expect(pair.connection.clientStreaming(SERVICE, "Upload", requests)).rejects.toThrow(message);
  });

  test("has its return called when it is left at a message, not after it threw or ended", async () => {
    const told: string[] = [];
    await using pair = await pairOf({ Upload: upload });
    const call = (name: string, next: () => unknown) => {
      const iterator = { next, return: async () => void told.push(name) };
      const requests = { [Symbol.asyncIterator]: () => iterator } as never;
      return pair.connection.clientStreaming(SERVICE, "Upload", requests).catch(() => undefined);
    };
    await call("threw", trap);
    await call("ended", async () => ({ value: undefined, done: true }));
    await call("wrong", wrong);
    expect(told).toEqual(["wrong"]);
  });
});

describe("a getter of a message", () => {
  const waiting = () =>
    createServer()
      .add(Task, { state: ({ id }) => ({ id }), connect: () => new Promise<never>(() => {}) })
      .addRaw(SERVICE, { Echo: { kind: "unary", handle: (payload) => payload } });

  test("may abort another call, which fails with Canceled while its own continues", async () => {
    await using pair = await pairWith(waiting());
    const task = createClient(Task, pair.connection);
    const controller = new AbortController();
    const aborted = failure(task.connect({ id: "x" }, { signal: controller.signal }));
    await task.state({ id: "there" });
    const state = await task.state({
      get id() {
        controller.abort();
        return "web";
      },
    });
    expect(state.id).toBe("web");
    expect((await aborted).code).toBe(Code.Canceled);
    expect(text(await pair.connection.unary(SERVICE, "Echo", bytes("on")))).toBe("on");
  });

  test("may abort its own call", async () => {
    await using pair = await pairWith(waiting());
    const task = createClient(Task, pair.connection);
    const controller = new AbortController();
    const { signal } = controller;
    const request = {
      get id() {
        controller.abort();
        return "web";
      },
    };
    expect((await failure(task.connect(request, { signal }))).code).toBe(Code.Canceled);
    expect((await task.state({ id: "there" })).id).toBe("there");
  });

  test("may close the connection", async () => {
    await using pair = await pairWith(waiting());
    const task = createClient(Task, pair.connection);
    let closed: Promise<void> | undefined;
    const request = {
      get id() {
        closed = pair.connection.close();
        return "web";
      },
    };
    expect((await failure(task.state(request))).code).toBe(Code.Unavailable);
    await closed;
  });

  test("may throw after it aborted another call", async () => {
    await using pair = await pairWith(waiting());
    const task = createClient(Task, pair.connection);
    const controller = new AbortController();
    const aborted = failure(task.connect({ id: "x" }, { signal: controller.signal }));
    const request = {
      get id(): string {
        controller.abort();
        throw new RangeError("no id");
      },
    };
    await expect(task.state(request)).rejects.toThrow("no id");
    expect((await aborted).code).toBe(Code.Canceled);
    expect((await task.state({ id: "there" })).id).toBe("there");
  });
});
