import {
  type CallMessage,
  Code,
  connect,
  createClient,
  createServer,
  type HandlerContext,
  type ServerInterceptor,
  type ServiceImpl,
  TtrpcError,
} from "containerd-shim-protos";
import { describe, expect, test } from "vitest";
import { listen } from "../helpers/channels.js";
import { collect, times } from "../helpers/iterables.js";
import { aborted, deferred, failure, rejection } from "../helpers/outcome.js";
import { pairWith } from "../helpers/pair.js";
import { Streaming } from "../helpers/streaming.js";
import { watchUncaught } from "../helpers/uncaught.js";

watchUncaught();

const HUGE = "x".repeat(5 << 20);
/** The longest text in a response that fits, with its field and its envelope. */
const LONGEST = (4 << 20) - 12;
const OK = 0;

/** Notes the outcome of each request, as an interceptor sees it. */
function noting(): { readonly seen: number[]; readonly interceptor: ServerInterceptor } {
  const seen: number[] = [];
  const interceptor: ServerInterceptor = (next) => async (call) => {
    const done = (error?: unknown) => seen.push(error === undefined ? OK : TtrpcError.from(error).code);
    try {
      const reply = await next(call);
      if (call.kind === "server_streaming" || call.kind === "bidi_streaming") {
        return watched(reply as AsyncIterable<unknown>, call.context.signal, done);
      }
      done();
      return reply;
    } catch (error) {
      done(error);
      throw error;
    }
  };
  return { seen, interceptor };
}

async function* watched(
  messages: AsyncIterable<unknown>,
  signal: AbortSignal,
  done: (error?: unknown) => void,
) {
  let outcome: unknown = new TtrpcError("left", Code.Aborted);
  try {
    yield* messages;
    outcome = undefined;
  } catch (error) {
    outcome = error;
    throw error;
  } finally {
    done(signal.aborted ? signal.reason : outcome);
  }
}

/** A deadline that a request reaches its handler before, on a slow machine too. */
const SOON = { timeoutMs: 200 };

/** An empty response, once the deadline has passed. */
async function afterDeadline({ signal }: HandlerContext) {
  await aborted(signal);
  return {};
}

type Call = (client: ReturnType<typeof createClient<typeof Streaming>>) => Promise<unknown>;

/** Handlers whose response the caller does not get, in each kind of call. */
const LOST: readonly (readonly [what: string, handlers: object, call: Call, code: Code])[] = [
  ["a wrong response", { echo: () => ({ seq: "one" }) }, (client) => client.echo({}), Code.Internal],
  ["no response", { echo: () => undefined }, (client) => client.echo({}), Code.Internal],
  [
    "too large a response",
    { echo: async () => ({ msg: HUGE }) },
    (client) => client.echo({}),
    Code.ResourceExhausted,
  ],
  [
    "a response that is a byte too large",
    { echo: async () => ({ msg: "x".repeat(LONGEST + 1) }) },
    (client) => client.echo({}),
    Code.ResourceExhausted,
  ],
  [
    "a response after the deadline",
    { echo: (_request: unknown, context: HandlerContext) => afterDeadline(context) },
    (client) => client.echo({}, SOON),
    Code.DeadlineExceeded,
  ],
  [
    "an error after the deadline",
    {
      echo: (_request: unknown, context: HandlerContext) =>
        afterDeadline(context).then(() => Promise.reject(new Error("late"))),
    },
    (client) => client.echo({}, SOON),
    Code.DeadlineExceeded,
  ],
  [
    "a wrong response to a stream",
    { sumStream: () => ({ sum: "one" }) },
    (client) => client.sumStream(times(1, () => ({}))),
    Code.Internal,
  ],
  [
    "a response to a stream after the deadline",
    { sumStream: (_requests: unknown, context: HandlerContext) => afterDeadline(context) },
    (client) =>
      client.sumStream(
        times(1, () => ({})),
        SOON,
      ),
    Code.DeadlineExceeded,
  ],
  [
    "a wrong message in a stream",
    { divideStream: () => times(1, () => ({ add: "one" })) },
    (client) => collect(client.divideStream({})),
    Code.Internal,
  ],
  [
    "too large a message in a stream",
    { echoStream: () => times(1, () => ({ msg: HUGE })) },
    (client) => collect(client.echoStream(times(1, () => ({})))),
    Code.ResourceExhausted,
  ],
  [
    "messages after the deadline",
    {
      async *divideStream(_request: unknown, context: HandlerContext) {
        yield {};
        yield afterDeadline(context);
      },
    },
    (client) => collect(client.divideStream({}, SOON)),
    Code.DeadlineExceeded,
  ],
];

describe.each(LOST)("a handler that gives %s", (_, handlers, call, code) => {
  test("has failed for its caller, for interceptors and for diagnostics channels alike", async () => {
    const { seen, interceptor } = noting();
    for (const interceptors of [[interceptor], []]) {
      await using pair = await pairWith(
        createServer({ interceptors }).add(Streaming, handlers as ServiceImpl<typeof Streaming>),
      );
      using told = listen<CallMessage>("ttrpc:server:call:end");
      expect(await failure(call(createClient(Streaming, pair.connection)))).toMatchObject({ code });
      await expect.poll(() => told.seen.map(([, { error }]) => error?.code), { interval: 2 }).toEqual([code]);
    }
    await expect.poll(() => seen, { interval: 2 }).toEqual([code]);
  });
});

test("the longest response that fits is a success for interceptors, too", async () => {
  const { seen, interceptor } = noting();
  const server = createServer({ interceptors: [interceptor] });
  server.add(Streaming, { echo: () => ({ msg: "x".repeat(LONGEST) }) });
  await using pair = await pairWith(server);
  const { msg } = await createClient(Streaming, pair.connection).echo({});
  expect([msg.length, seen]).toEqual([LONGEST, [OK]]);
});

test("a handler whose caller has gone has failed with Canceled for interceptors", async () => {
  const { seen, interceptor } = noting();
  const [begun, end] = [deferred(), deferred()];
  const server = createServer({ interceptors: [interceptor] }).add(Streaming, {
    async echo(request) {
      begun.resolve();
      await end.promise;
      return request;
    },
  });
  await using pair = await pairWith(server);
  const leaving = await connect(pair.address);
  using told = listen<CallMessage>("ttrpc:server:call:end");
  const outcome = rejection(createClient(Streaming, leaving).echo({}));
  await begun.promise;
  await leaving.close();
  await outcome;
  // The channel has the end when the answer is no longer wanted, and interceptors when the handler has ended.
  await expect.poll(() => told.seen.map(([, { error }]) => error?.code)).toEqual([Code.Canceled]);
  expect(seen).toEqual([]);
  end.resolve();
  await expect.poll(() => seen).toEqual([Code.Canceled]);
  expect(told.seen).toHaveLength(1);
});

describe("a request that does not decode", () => {
  const BROKEN = Uint8Array.of(255, 255);
  const { typeName } = Streaming;

  test("is a failed call of each kind, for interceptors and diagnostics channels alike", async () => {
    const { seen, interceptor } = noting();
    let handled = 0;
    const inner: ServerInterceptor = (next) => (call) => next(call);
    const drain = async (requests: AsyncIterable<unknown>) => {
      for await (const _ of requests) handled++;
      return {};
    };
    const handlers = {
      echo: () => ({ seq: handled++ }),
      divideStream: () => times(1, () => ({ add: handled++ })),
      sumStream: drain,
      async *echoStream(requests: AsyncIterable<unknown>) {
        await drain(requests);
        yield {};
      },
    };
    for (const interceptors of [[interceptor, inner], []]) {
      await using pair = await pairWith(createServer({ interceptors }).add(Streaming, handlers));
      const { connection } = pair;
      using told = listen<CallMessage>("ttrpc:server:call:start", "ttrpc:server:call:end");
      const outcomes = [
        connection.unary(typeName, "Echo", BROKEN),
        connection.serverStreaming(typeName, "DivideStream", BROKEN).next(),
        connection.clientStreaming(typeName, "SumStream", [BROKEN]),
        connection.bidiStreaming(typeName, "EchoStream", [BROKEN]).next(),
      ];
      const codes = (await Promise.all(outcomes.map((each) => failure(each)))).map(({ code }) => code);
      expect(new Set(codes)).toEqual(new Set([Code.Internal]));
      await expect.poll(() => told.seen.length).toBe(8);
      const ends = told.seen.filter(([name]) => name.endsWith("end"));
      expect(ends.map(([, { error }]) => error?.code)).toEqual(codes);
    }
    await expect.poll(() => seen).toEqual(Array.from({ length: 4 }, () => Code.Internal));
    expect(handled).toBe(0);
  });

  test("is refused by an interceptor that does not read it, and fails one that does", async () => {
    const refusing: ServerInterceptor = (next) => async (call) => {
      if (call.context.metadata["token"] === undefined) throw new TtrpcError("who?", Code.Unauthenticated);
      return next({ ...call });
    };
    await using served = await pairWith(
      createServer({ interceptors: [refusing] }).add(Streaming, { echo: (request) => request }),
    );
    const call = (metadata: Record<string, string>) =>
      failure(served.connection.unary(typeName, "Echo", BROKEN, { metadata }));
    expect((await call({})).code).toBe(Code.Unauthenticated);
    expect((await call({ token: "x" })).code).toBe(Code.Internal);
  });
});

describe("a handler that still runs when an interceptor answers", () => {
  async function world(implementation: ServiceImpl<typeof Streaming>, started: Promise<unknown>) {
    const late = started.then(() => {
      throw new TtrpcError("it takes too long", Code.Aborted);
    });
    const impatient: ServerInterceptor = (next) => (call) => Promise.race([next(call), late]);
    const pair = await pairWith(createServer({ interceptors: [impatient] }).add(Streaming, implementation));
    const { [Symbol.asyncDispose]: dispose } = pair;
    return { client: createClient(Streaming, pair.connection), [Symbol.asyncDispose]: dispose };
  }

  test("learns by its signal that nobody waits for its answer", async () => {
    const started = deferred();
    const reason = deferred<unknown>();
    await using served = await world(
      {
        async echo(_, { signal }) {
          started.resolve();
          reason.resolve(await aborted(signal));
          return {};
        },
      },
      started.promise,
    );
    expect(await failure(served.client.echo({}))).toMatchObject({ code: Code.Aborted });
    expect(await reason.promise).toMatchObject({ code: Code.Canceled });
  });

  test("does not take the requests that it has got for all", async () => {
    const started = deferred();
    const outcome = deferred<unknown>();
    await using served = await world(
      {
        async sumStream(requests) {
          try {
            for await (const _ of requests) started.resolve();
            outcome.resolve("complete");
          } catch (error) {
            outcome.resolve(error);
          }
          return {};
        },
      },
      started.promise,
    );
    async function* unending() {
      yield { add: 1 };
      await new Promise(() => {});
    }
    expect(await failure(served.client.sumStream(unending()))).toMatchObject({ code: Code.Aborted });
    expect(await outcome.promise).toMatchObject({ code: Code.Canceled });
  });

  test("learns it in an iterable that an interceptor drops, too", async () => {
    const reason = deferred<unknown>();
    const dropping: ServerInterceptor = (next) => async (call) => {
      const replies = (await next(call)) as AsyncGenerator<unknown>;
      void replies.next();
      throw new TtrpcError("refused", Code.PermissionDenied);
    };
    const server = createServer({ interceptors: [dropping] }).add(Streaming, {
      async *divideStream(_, { signal }) {
        reason.resolve(await aborted(signal));
        yield {};
      },
    });
    await using pair = await pairWith(server);
    const replies = createClient(Streaming, pair.connection).divideStream({});
    expect(await failure(collect(replies))).toMatchObject({ code: Code.PermissionDenied });
    expect(await reason.promise).toMatchObject({ code: Code.Canceled });
  });

  test("has a signal that does not abort when it ends, or all of its messages were taken", async () => {
    const signals: AbortSignal[] = [];
    const { interceptor } = noting();
    const server = createServer({ interceptors: [interceptor] }).add(Streaming, {
      async echo(_, { signal }) {
        signals.push(signal);
        return {};
      },
      async *divideStream(_, { signal }) {
        signals.push(signal);
        yield {};
      },
    });
    await using pair = await pairWith(server);
    const client = createClient(Streaming, pair.connection);
    await client.echo({});
    await collect(client.divideStream({}));
    expect(signals.map((signal) => signal.aborted)).toEqual([false, false]);
  });
});
