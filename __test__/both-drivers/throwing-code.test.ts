import {
  type ClientInterceptor,
  Code,
  createClient,
  createServer,
  type ServerInterceptor,
  TtrpcError,
} from "containerd-shim-protos";
import { Task } from "containerd-shim-protos/task/v3";
import { describe, expect, test } from "vitest";
import { failure } from "../helpers/outcome.js";
import { pairOf, pairWith, SERVICE } from "../helpers/pair.js";
import { watchUncaught } from "../helpers/uncaught.js";

const EMPTY = new Uint8Array();
const uncaught = watchUncaught();

const trap = () => {
  throw new Error("trap");
};

/** Interceptors that misbehave, and the error text of the call of each; undefined if it succeeds. */
type Next = (call: never) => Promise<unknown>;
const MISBEHAVING: Readonly<Record<string, readonly [make: (next: Next) => Next, text: string | undefined]>> =
  {
    "throws at once": [() => trap, "trap"],
    "rejects with a value that cannot be inspected": [
      () => () => Promise.reject(new Proxy({}, { get: trap, getPrototypeOf: trap })),
      "",
    ],
    "returns a thenable whose then throws": [
      () => () =>
        ({
          // eslint-disable-next-line unicorn/no-thenable -- This is what the test needs.
          get then() {
            return trap();
          },
        }) as never,
      "trap",
    ],
    "passes on something that is not a call": [(next) => () => next(5 as never), "call must be"],
    "calls next twice": [
      (next) => async (call) => {
        await next(call);
        return next(call);
      },
      undefined,
    ],
    "calls next and throws": [
      (next) => async (call) => {
        await next(call);
        return trap();
      },
      "trap",
    ],
  };

const task = { state: () => ({ pid: 7 }), connect: () => ({ shimPid: 1 }) };

describe.each(Object.entries(MISBEHAVING))("an interceptor that %s", (_, [make, expected]) => {
  const only = (wanted: string): ((next: Next) => Next) => {
    return (next) => {
      const around = make(next);
      return (call) => {
        const { method } = call as { readonly method: string };
        return method === wanted ? around(call) : next(call);
      };
    };
  };

  test("of a client costs only its own call", async () => {
    await using pair = await pairWith(createServer().add(Task, task));
    const interceptors = [only("State") as unknown as ClientInterceptor];
    const client = createClient(Task, pair.connection, { interceptors });
    const [bad, good] = await Promise.allSettled([client.state({ id: "a" }), client.connect({ id: "a" })]);
    expect(good).toMatchObject({ status: "fulfilled", value: { shimPid: 1 } });
    if (expected === undefined) expect(bad).toMatchObject({ status: "fulfilled", value: { pid: 7 } });
    else {
      expect(bad.status).toBe("rejected");
      // A value that cannot be inspected reaches the caller as it is.
      if (expected !== "") expect(String((bad as PromiseRejectedResult).reason)).toContain(expected);
    }
    expect(await createClient(Task, pair.connection).state({ id: "a" })).toMatchObject({ pid: 7 });
  });

  test("of a server costs only its own request", async () => {
    const interceptors = [only("State") as unknown as ServerInterceptor];
    await using pair = await pairWith(createServer({ interceptors }).add(Task, task));
    const client = createClient(Task, pair.connection);
    const [bad, good] = await Promise.allSettled([client.state({ id: "a" }), client.connect({ id: "a" })]);
    expect(good).toMatchObject({ status: "fulfilled", value: { shimPid: 1 } });
    if (expected === undefined) expect(bad).toMatchObject({ status: "fulfilled", value: { pid: 7 } });
    else {
      const { reason } = bad as PromiseRejectedResult;
      expect(reason).toBeInstanceOf(TtrpcError);
      expect(reason).toMatchObject({ code: Code.Unknown, message: expect.stringContaining(expected) });
    }
  });
});

test("a call that a server's interceptor never answers ends by its deadline", async () => {
  const never: ServerInterceptor = () => () => new Promise(() => {});
  await using pair = await pairWith(createServer({ interceptors: [never] }).add(Task, task));
  const client = createClient(Task, pair.connection);
  expect(await failure(client.state({ id: "a" }, { timeoutMs: 50 }))).toMatchObject({
    code: Code.DeadlineExceeded,
  });
});

describe("a signal that many calls share", () => {
  test("ends them all, even if reading its reason throws", async () => {
    await using pair = await pairOf({ Wait: { kind: "unary", handle: () => new Promise(() => {}) } });
    const abort = new AbortController();
    Object.defineProperty(abort.signal, "reason", { get: trap });
    const calls = Array.from({ length: 5 }, () =>
      failure(pair.connection.unary(SERVICE, "Wait", EMPTY, { signal: abort.signal })),
    );
    const stream = pair.connection.bidiStreaming(SERVICE, "None", (async function* () {})(), {
      signal: abort.signal,
    });
    const next = failure(stream.next());
    setImmediate(() => abort.abort());
    for (const error of await Promise.all(calls)) expect(error).toMatchObject({ code: Code.Canceled });
    expect([Code.Canceled, Code.Unimplemented]).toContain((await next).code);
    const late = await failure(pair.connection.unary(SERVICE, "Wait", EMPTY, { signal: abort.signal }));
    expect(late.code).toBe(Code.Canceled);
  });

  test("ends them all, even if another of its listeners throws", async () => {
    await using pair = await pairOf({ Wait: { kind: "unary", handle: () => new Promise(() => {}) } });
    const abort = new AbortController();
    const seen: unknown[] = [];
    abort.signal.addEventListener("abort", trap);
    const calls = Array.from({ length: 3 }, () =>
      failure(pair.connection.unary(SERVICE, "Wait", EMPTY, { signal: abort.signal })),
    );
    setImmediate(() => abort.abort());
    for (const error of await Promise.all(calls)) seen.push(error.code);
    expect(seen).toEqual([Code.Canceled, Code.Canceled, Code.Canceled]);
    // An EventTarget reports what its listeners throw.
    expect(uncaught.splice(0)).toMatchObject([{ message: "trap" }]);
  });
});
