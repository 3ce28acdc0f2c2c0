/** Streams of Node and of the web as the messages of a call: they are ended when they are left, at whatever point. */

import { createReadStream } from "node:fs";
import { PassThrough, Readable } from "node:stream";
import { type ClientInterceptor, Code, connect, createClient, createServer } from "containerd-shim-protos";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { collect, collectTexts } from "../../helpers/iterables.js";
import { bytes, deferred, failure } from "../../helpers/outcome.js";
import { type Pair, pairOf, pairWith, SERVICE } from "../../helpers/pair.js";
import { streamServer } from "../../helpers/stream-server.js";
import { Streaming } from "../../helpers/streaming.js";
import { temporaryAddress } from "../../helpers/temp.js";
import { watchUncaught } from "../../helpers/uncaught.js";

const EMPTY = new Uint8Array();

watchUncaught();

/** A stream with one message, after which nothing comes. */
function stalled(): PassThrough {
  const stream = new PassThrough();
  stream.write("first");
  return stream;
}

let pair: Pair;
beforeAll(async () => {
  pair = await pairOf({
    Up: { kind: "client_streaming", handle: async () => EMPTY },
    Chat: {
      kind: "bidi_streaming",
      async *handle() {
        yield EMPTY;
      },
    },
    Join: { kind: "client_streaming", handle: async (words) => bytes((await collectTexts(words)).join()) },
  });
});
afterAll(() => pair[Symbol.asyncDispose]());

async function expectDestroyed(stream: Readable): Promise<void> {
  if (!stream.closed) {
    await new Promise<void>((resolve) => {
      stream.once("close", resolve);
    });
  }
  expect(stream.destroyed).toBe(true);
}

describe("a Node stream of requests", () => {
  test("is sent to its end", async () => {
    const reply = await pair.connection.clientStreaming(
      SERVICE,
      "Join",
      Readable.from([bytes("a"), bytes("b")]),
    );
    expect(reply).toEqual(bytes("a,b"));
  });

  test("is destroyed when the call ends while its next message is awaited", async () => {
    const [up, chat] = [stalled(), stalled()];
    await pair.connection.clientStreaming(SERVICE, "Up", up);
    await collect(pair.connection.bidiStreaming(SERVICE, "Chat", chat));
    await Promise.all([expectDestroyed(up), expectDestroyed(chat)]);
  });

  test("is destroyed if the call fails before it is asked for a message", async () => {
    const closed = await connect(pair.address);
    await closed.close();
    const canceled = { signal: AbortSignal.abort() };
    for (const call of [
      (requests: Readable) => pair.connection.clientStreaming(SERVICE, "Up", requests, canceled),
      (requests: Readable) => closed.clientStreaming(SERVICE, "Up", requests),
      (requests: Readable) => collect(closed.bidiStreaming(SERVICE, "Chat", requests)),
    ]) {
      const file = createReadStream(import.meta.filename);
      await failure(call(file));
      await expectDestroyed(file);
    }
  });

  test("is destroyed if an interceptor refuses or keeps the call", async () => {
    await using typed = await pairWith(streamServer());
    const never = new Promise<never>(() => {});
    for (const interceptor of [
      () => () => Promise.reject(new Error("no")),
      () => () => never,
    ] as ClientInterceptor[]) {
      const client = createClient(Streaming, typed.connection, { interceptors: [interceptor] });
      const requests = Readable.from([{ add: 1 }]);
      await client.sumStream(requests, { timeoutMs: 20 }).catch(() => undefined);
      await expectDestroyed(requests);
    }
  });

  test("fails its call, and not the process, if it fails before it is asked", async () => {
    const address = temporaryAddress();
    const server = createServer();
    await server.listen(address);
    const reconnect = { initialDelayMs: 3_600_000, maxDelayMs: 3_600_000 };
    await using connection = await connect(address, { reconnect });
    await server.close();
    // Until the connection has noticed, calls fail with Unavailable.
    const waits = async () => (await failure(connection.unary("a.B", "Up", EMPTY, { timeoutMs: 5 }))).code;
    await expect.poll(waits).toBe(Code.DeadlineExceeded);
    const missing = createReadStream("/nowhere/at all");
    const call = failure(connection.clientStreaming("a.B", "Up", missing, { timeoutMs: 100 }));
    await expectDestroyed(missing);
    expect((await call).code).toBe(Code.DeadlineExceeded);
  });
});

/** A web stream with one message, after which nothing comes. */
function stalledWeb(): { readonly stream: ReadableStream<Uint8Array>; readonly canceled: Promise<unknown> } {
  const { promise, resolve } = deferred<unknown>();
  const start = (controller: ReadableStreamDefaultController<Uint8Array>) => controller.enqueue(EMPTY);
  return { stream: new ReadableStream({ start, cancel: () => resolve("canceled") }), canceled: promise };
}

describe("a web stream", () => {
  test("is canceled when its call ends while its next message is awaited, of requests and of a handler", async () => {
    const up = stalledWeb();
    await pair.connection.clientStreaming(SERVICE, "Up", up.stream);
    expect(await up.canceled).toBe("canceled");
    const down = stalledWeb();
    await using served = await pairOf({ Down: { kind: "server_streaming", handle: () => down.stream } });
    const replies = served.connection.serverStreaming(SERVICE, "Down", EMPTY, { timeoutMs: 30 });
    expect((await failure(collect(replies))).code).toBe(Code.DeadlineExceeded);
    expect(await down.canceled).toBe("canceled");
  });

  test("is sent to its end or its error, and then no longer locked", async () => {
    const words = new ReadableStream<Uint8Array>({
      start(controller) {
        for (const word of ["a", "b"]) controller.enqueue(bytes(word));
        controller.close();
      },
    });
    expect(await pair.connection.clientStreaming(SERVICE, "Join", words)).toEqual(bytes("a,b"));
    const broken = new ReadableStream<Uint8Array>({
      pull: (controller) => controller.error(new Error("broken")),
    });
    const error = await failure(pair.connection.clientStreaming(SERVICE, "Join", broken));
    expect(error.rawMessage).toContain("broken");
    expect([words.locked, broken.locked]).toEqual([false, false]);
  });
});

test("an iterable that refuses to be asked whether it is a stream is sent and left", async () => {
  const left = deferred<string>();
  const iterator = {
    [Symbol.asyncIterator]: () => iterator,
    next: async () => ({ value: EMPTY, done: false }),
    async return() {
      left.resolve("left");
      return { value: undefined, done: true };
    },
  } as unknown as AsyncIterableIterator<Uint8Array>;
  const strict = new Proxy(iterator, {
    get(target, name) {
      if (name in target) return Reflect.get(target, name) as unknown;
      throw new Error(`no ${String(name)}`);
    },
  });
  Object.assign(iterator, { [Symbol.asyncIterator]: () => strict });
  await pair.connection.clientStreaming(SERVICE, "Up", strict);
  expect(await left.promise).toBe("left");
});

test("a handler's Node stream is destroyed at the deadline, and its request counts no longer", async () => {
  const made = deferred<Readable>();
  const server = createServer({ maxConcurrentCalls: 1 }).addRaw(SERVICE, {
    Down: {
      kind: "server_streaming",
      handle() {
        const stream = stalled();
        made.resolve(stream);
        return stream;
      },
    },
    Next: { kind: "unary", handle: (payload) => payload },
  });
  await using served = await pairWith(server);
  const replies = served.connection.serverStreaming(SERVICE, "Down", EMPTY, { timeoutMs: 30 });
  expect((await failure(collect(replies))).code).toBe(Code.DeadlineExceeded);
  await expectDestroyed(await made.promise);
  await expect
    .poll(() => served.connection.unary(SERVICE, "Next", EMPTY).catch(() => undefined))
    .toEqual(EMPTY);
});
