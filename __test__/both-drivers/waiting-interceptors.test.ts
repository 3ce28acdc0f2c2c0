import { setTimeout as sleep } from "node:timers/promises";
import { type CallOptions, type ClientInterceptor, Code, createClient } from "containerd-shim-protos";
import { describe, expect, test } from "vitest";
import { collect, Source, times } from "../helpers/iterables.js";
import { deferred, failure } from "../helpers/outcome.js";
import { pairWith } from "../helpers/pair.js";
import { streamServer } from "../helpers/stream-server.js";
import { Streaming } from "../helpers/streaming.js";
import { watchUncaught } from "../helpers/uncaught.js";

watchUncaught();

type Client = ReturnType<typeof createClient<typeof Streaming>>;

/** One call of each kind. */
const KINDS: Readonly<Record<string, (client: Client, options: CallOptions) => Promise<unknown>>> = {
  unary: (client, options) => client.echo({ seq: 1 }, options),
  server_streaming: (client, options) => collect(client.divideStream({ sum: 6, num: 3 }, options)),
  client_streaming: (client, options) => client.sumStream(new Source(() => ({ add: 1 })), options),
  bidi_streaming: (client, options) => collect(client.echoStream(new Source(() => ({})), options)),
};

/** A server that counts its requests, and a client with an interceptor that waits until it may call next. */
async function waiting() {
  let requests = 0;
  const pair = await pairWith(
    streamServer({
      interceptors: [
        (next) => (call) => {
          requests++;
          return next(call);
        },
      ],
    }),
  );
  const [go, gone] = [deferred(), deferred()];
  const interceptor: ClientInterceptor = (next) => async (call) => {
    await go.promise;
    try {
      return await next(call);
    } finally {
      gone.resolve();
    }
  };
  return {
    client: createClient(Streaming, pair.connection, { interceptors: [interceptor] }),
    connection: pair.connection,
    /** Lets the interceptor call next, and resolves to how many requests the server got. */
    async released() {
      go.resolve();
      await gone.promise;
      await createClient(Streaming, pair.connection).echo({});
      return requests - 1;
    },
    [Symbol.asyncDispose]: () => pair[Symbol.asyncDispose](),
  };
}

describe.each(Object.entries(KINDS))("a call of the kind %s that an interceptor keeps", (kind, call) => {
  test("ends when its signal aborts, and is never sent", async () => {
    await using world = await waiting();
    const abort = new AbortController();
    const outcome = failure(call(world.client, { signal: abort.signal }));
    abort.abort("enough");
    const error = await outcome;
    expect(error).toMatchObject({ code: Code.Canceled, cause: "enough", service: Streaming.typeName });
    expect(error.stack).toContain("waiting-interceptors.test.ts");
    expect(await world.released()).toBe(0);
  });

  test("ends at once if its signal has aborted before", async () => {
    await using world = await waiting();
    const error = await failure(call(world.client, { signal: AbortSignal.abort() }));
    expect(error.code).toBe(Code.Canceled);
    expect(await world.released()).toBe(0);
  });

  test("ends at its deadline, and is never sent", async () => {
    await using world = await waiting();
    const error = await failure(call(world.client, { timeoutMs: 20 }));
    expect(error).toMatchObject({ code: Code.DeadlineExceeded, address: world.connection.address });
    expect(await world.released()).toBe(0);
  });

  test("has the outcome that the interceptor makes of the signal, the deadline or their absence", async () => {
    await using pair = await pairWith(streamServer());
    const streams = kind.startsWith("server") || kind.startsWith("bidi");
    // Whoever hears of the failure may give something else.
    const mending: ClientInterceptor = (next) => async (call_) => {
      await next(call_).catch(() => undefined);
      return streams ? times(1, () => "mended") : "mended";
    };
    const hanging: ClientInterceptor = (next) => async (call_) => {
      if (call_.signal === undefined && call_.timeoutMs === undefined) return next(call_);
      await sleep(20);
      return next({ ...call_, signal: AbortSignal.abort() });
    };
    const client = createClient(Streaming, pair.connection, { interceptors: [mending, hanging] });
    const signal = new AbortController().signal;
    for (const options of [{ signal }, { timeoutMs: 60_000 }]) {
      expect([await call(client, options)].flat()).toEqual(["mended"]);
    }
  });
});

describe("a stream that an interceptor keeps", () => {
  test("ends when its reader leaves, also for a reader that waits, and is never sent", async () => {
    await using world = await waiting();
    const requests = new Source(() => ({}));
    const replies = world.client.echoStream(requests)[Symbol.asyncIterator]();
    const first = replies.next();
    expect(await replies.return!()).toEqual({ value: undefined, done: true });
    expect(await first).toEqual({ value: undefined, done: true });
    await requests.left;
    expect(requests.taken).toBe(0);
    expect(await world.released()).toBe(0);
  });
});

test("an iterable of a call that an interceptor refused throws once, and is done from then on", async () => {
  await using pair = await pairWith(streamServer());
  const refusing: ClientInterceptor = () => () => Promise.reject(new Error("refused"));
  const client = createClient(Streaming, pair.connection, { interceptors: [refusing] });
  const replies = client.echoStream([])[Symbol.asyncIterator]();
  await expect(replies.next()).rejects.toThrow("refused");
  expect(await replies.next()).toEqual({ value: undefined, done: true });
});

test("an interceptor hears of its call's abort before the call ends without it", async () => {
  const never = new Promise<never>(() => {});
  await using pair = await pairWith(streamServer({ interceptors: [() => () => never] }));
  const mending: ClientInterceptor = (next) => (call) => next(call).catch(() => ({ seq: 7 }));
  const client = createClient(Streaming, pair.connection, { interceptors: [mending] });
  expect(await client.echo({}, { signal: AbortSignal.timeout(20) })).toEqual({ seq: 7 });
  expect(await client.echo({}, { timeoutMs: 20 })).toEqual({ seq: 7 });
});

test("an interceptor may give a call in flight more time than its caller did", async () => {
  const slow = async () => {
    await sleep(60);
    return { seq: 5 };
  };
  await using pair = await pairWith(streamServer({ interceptors: [() => slow] }));
  const patient: ClientInterceptor = (next) => (call) => next({ ...call, timeoutMs: 60_000 });
  const client = createClient(Streaming, pair.connection, { interceptors: [patient] });
  expect(await client.echo({}, { timeoutMs: 20 })).toMatchObject({ seq: 5 });
});

test("a timeout that no timer takes does not end a call at once", async () => {
  await using pair = await pairWith(streamServer());
  const passing: ClientInterceptor = (next) => async (call) => {
    await sleep(10);
    return next(call);
  };
  const client = createClient(Streaming, pair.connection, { interceptors: [passing] });
  expect(await client.echo({ seq: 1 }, { timeoutMs: 2 ** 40 })).toMatchObject({ seq: 2 });
});
