import {
  type ClientInterceptor,
  Code,
  connect,
  createClient,
  createServer,
  type ServerInterceptor,
  TtrpcError,
} from "containerd-shim-protos";
import { describe, expect, test } from "vitest";
import { Source, standstill } from "../../helpers/iterables.js";
import { deferred, rejection } from "../../helpers/outcome.js";
import { pairWith } from "../../helpers/pair.js";
import { streaming, streamServer } from "../../helpers/stream-server.js";
import { Streaming, Streams } from "../../helpers/streaming.js";
import { watchUncaught } from "../../helpers/uncaught.js";

watchUncaught();

type Next = (call: never) => Promise<unknown>;
type Interceptor = (next: Next) => Next;

const refusal = () => new TtrpcError("over quota", Code.ResourceExhausted);

async function* passed(messages: unknown) {
  yield* messages as AsyncIterable<unknown>;
}

const wrapping: Interceptor = (next) => async (call) => passed(await next(call));

/** What interceptors, the first outermost, do with a stream that `next` gave them, instead of passing it on. */
const ORPHANING: Readonly<Record<string, readonly Interceptor[]>> = {
  "throw after next": [
    (next) => async (call) => {
      await next(call);
      throw refusal();
    },
  ],
  "throw around one that wraps the stream": [
    (next) => async (call) => {
      await next(call);
      throw refusal();
    },
    wrapping,
  ],
  "throw without waiting for next": [
    (next) => async (call) => {
      void next(call);
      throw refusal();
    },
  ],
  "throw at once, after next": [
    (next) => (call) => {
      void next(call);
      throw refusal();
    },
  ],
  "call next with a call made by Object.create, and throw": [
    (next) => async (call) => {
      await next(Object.create(call) as never);
      throw refusal();
    },
  ],
  "give nothing": [(next) => async (call) => void (await next(call))],
  "give an iterable of their own": [
    (next) => async (call) => {
      await next(call);
      return (async function* () {})();
    },
  ],
  "call next twice, and give the second": [
    (next) => async (call) => {
      await next(call);
      return next(call);
    },
  ],
  "call next twice, and give the second to one that wraps it": [
    wrapping,
    (next) => async (call) => {
      await next(call);
      return next(call);
    },
  ],
  "call next once more when the stream is read": [
    (next) => async (call) =>
      (async function* () {
        void (await next(call));
        yield* (await next(call)) as AsyncIterable<unknown>;
      })(),
  ],
  "wrap it in a generator, which is left unread": [wrapping],
};

/** Reads the first message, if there is one, and leaves. */
async function readOne(messages: AsyncIterable<unknown>): Promise<void> {
  for await (const _ of messages) break;
}

/** Leaves before the first message is asked for. */
async function leaveUnread(messages: AsyncIterable<unknown>): Promise<void> {
  await messages[Symbol.asyncIterator]().return?.();
}

describe.each(Object.entries(ORPHANING))("interceptors that %s", (name, chain) => {
  const read = name.includes("unread") ? leaveUnread : readOne;

  test("of a client keep no other call of the connection waiting", async () => {
    let given = 0;
    const server = createServer().add(Streaming, streaming);
    // More than a connection takes for streams that nobody reads.
    server.add(Streams, {
      async *count() {
        const msg = "x".repeat(100_000);
        while (given++ < 200) yield { msg };
      },
    });
    await using pair = await pairWith(server);
    const interceptors = chain as unknown as ClientInterceptor[];
    const client = createClient(Streams, pair.connection, { interceptors });
    await read(client.count({})).catch(() => undefined);
    await standstill(
      () => given,
      () => new Promise(setImmediate),
    );
    const next = createClient(Streaming, pair.connection).echo({ seq: 1 }, { timeoutMs: 5000 });
    expect((await next).seq).toBe(2);
  });

  test("of a client leave the requests of the call", async () => {
    await using pair = await pairWith(streamServer());
    const interceptors = chain as unknown as ClientInterceptor[];
    const client = createClient(Streaming, pair.connection, { interceptors });
    const requests = new Source((seq) => ({ seq, msg: "x".repeat(1000) }));
    await read(client.echoStream(requests)).catch(() => undefined);
    await expect(requests.left).resolves.toBeUndefined();
  });

  test("of a server have the handler's iterable left once", async () => {
    let [opened, left] = [0, 0];
    const interceptors = chain as unknown as ServerInterceptor[];
    const server = createServer({ interceptors }).add(Streams, {
      count() {
        opened++;
        return {
          [Symbol.asyncIterator]: () => ({
            next: async () => ({ value: { seq: 1 }, done: false }),
            return: async () => ({ value: void left++, done: true }),
          }),
        };
      },
    });
    await using pair = await pairWith(server);
    const connection = await connect(pair.address);
    await readOne(createClient(Streams, connection).count({})).catch(() => undefined);
    await connection.close();
    await expect.poll(() => [opened > 0, opened - left], { interval: 5 }).toEqual([true, 0]);
  });
});

describe("the requests of a call are left", () => {
  test("when an interceptor refuses the call before next", async () => {
    await using pair = await pairWith(streamServer());
    const refusing: ClientInterceptor = () => () => Promise.reject(refusal());
    const client = createClient(Streaming, pair.connection, { interceptors: [refusing] });
    const [up, both] = [new Source(() => ({})), new Source(() => ({}))];
    expect(await rejection(client.sumStream(up))).toMatchObject({ code: Code.ResourceExhausted });
    await rejection(client.echoStream(both)[Symbol.asyncIterator]().next());
    await Promise.all([up.left, both.left]);
    expect([up.taken, both.taken]).toEqual([0, 0]);
  });

  test("when an interceptor of a client-streaming call throws while next waits for the response", async () => {
    await using pair = await pairWith(streamServer());
    const asked = deferred();
    const refusing: ClientInterceptor = (next) => async (call) => {
      void next(call);
      await asked.promise;
      throw refusal();
    };
    const client = createClient(Streaming, pair.connection, { interceptors: [refusing] });
    const requests = new Source(async (add) => {
      if (add === 3) asked.resolve();
      await new Promise(setImmediate);
      return { add };
    });
    expect(await rejection(client.sumStream(requests))).toMatchObject({ code: Code.ResourceExhausted });
    await requests.left;
  });
});

test("an interceptor hears that one around it gave up the client-streaming call that it waits for", async () => {
  await using pair = await pairWith(streamServer());
  const heard = deferred<unknown>();
  const asked = deferred();
  const giving: ClientInterceptor = (next) => async (call) => {
    const late = asked.promise.then(() => {
      throw refusal();
    });
    return Promise.race([next(call), late]);
  };
  // One that lets a few calls through at once, for example, must not count this one for good.
  const counting: ClientInterceptor = (next) => async (call) => {
    try {
      return await next(call);
    } catch (error) {
      heard.resolve(error);
      throw error;
    }
  };
  const client = createClient(Streaming, pair.connection, { interceptors: [giving, counting] });
  const requests = new Source(async (add) => {
    if (add === 3) asked.resolve();
    await new Promise(setImmediate);
    return { add };
  });
  expect(await rejection(client.sumStream(requests))).toMatchObject({ code: Code.ResourceExhausted });
  expect(await heard.promise).toMatchObject({ code: Code.Canceled, method: "SumStream" });
  await requests.left;
});
