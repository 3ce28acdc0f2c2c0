/** In which async context a program's code runs. */

import { AsyncLocalStorage } from "node:async_hooks";
import { execFile } from "node:child_process";
import { once } from "node:events";
import { channel } from "node:diagnostics_channel";
import {
  type ClientInterceptor,
  Code,
  connect,
  createClient,
  createServer,
  type Connection,
} from "containerd-shim-protos";
import { describe, expect, test } from "vitest";
import { collect, times } from "../helpers/iterables.js";
import { aborted as hasAborted, deferred, failure } from "../helpers/outcome.js";
import { pairOf, pairWith, SERVICE } from "../helpers/pair.js";
import { streamServer } from "../helpers/stream-server.js";
import { Streaming } from "../helpers/streaming.js";
import { temporaryAddress } from "../helpers/temp.js";

const NOTHING = new Uint8Array(0);
const store = new AsyncLocalStorage<string>();

test("a handler begins in no caller's context, however calls of this process and of others mix", async () => {
  const seen: (string | undefined)[] = [];
  const address = temporaryAddress();
  await using behind = createServer();
  behind.addRaw("test.Context", { Next: { kind: "unary", handle: (payload) => payload } });
  const next = temporaryAddress();
  await behind.listen(next);
  await using onward = await connect(next);
  await using server = createServer();
  server.addRaw("test.Context", {
    Do: {
      kind: "unary",
      async handle(payload) {
        seen.push(store.getStore());
        return store.run("a handler's", () => onward.unary("test.Context", "Next", payload));
      },
    },
    Enter: {
      kind: "unary",
      handle(payload) {
        seen.push(store.getStore());
        store.enterWith("another handler's");
        return payload;
      },
    },
    Stream: {
      kind: "bidi_streaming",
      async *handle(messages) {
        seen.push(store.getStore());
        yield* messages;
        seen.push(store.getStore());
      },
    },
  });
  await server.listen(address);
  await using connection = await connect(address);
  for (let round = 0; round < 20; round++) {
    await Promise.all(
      Array.from({ length: 20 }, (_, index) =>
        store.run(`call ${index}`, async () => {
          await connection.unary("test.Context", index % 2 === 0 ? "Do" : "Enter", NOTHING);
          await collect(connection.bidiStreaming("test.Context", "Stream", [NOTHING, NOTHING]));
          expect(store.getStore()).toBe(`call ${index}`);
        }),
      ),
    );
  }
  expect(seen).toHaveLength(20 * 20 * 3);
  expect(new Set(seen)).toEqual(new Set([undefined]));
});

test("whoever uses the package first does not lend its context to every handler", async () => {
  const program = `
    import { AsyncLocalStorage } from "node:async_hooks";
    import { Code, connect, createServer } from ${JSON.stringify(import.meta.resolve("containerd-shim-protos"))};
    const store = new AsyncLocalStorage();
    const address = ${JSON.stringify(temporaryAddress())};
    await store.run("the first", () => connect("unix:///nowhere").catch(() => undefined));
    const server = createServer();
    let seen = "nothing";
    server.addRaw("test.Context", { Do: { kind: "unary", handle: (payload) => ((seen = store.getStore()), payload) } });
    await server.listen(address);
    const connection = await connect(address);
    await connection.unary("test.Context", "Do", new Uint8Array(0));
    console.log(String(seen));
    await connection.close();
    await server.close();`;
  const child = execFile(process.execPath, ["--input-type=module", "-e", program]);
  const [output] = (await once(child.stdout!, "data")) as [string];
  expect(output.trim()).toBe("undefined");
});

test("a handler's signal is not aborted in the context of whoever closes the server", async () => {
  const aborted = deferred<string | undefined>();
  const started = deferred<void>();
  const address = temporaryAddress();
  await using server = createServer();
  server.addRaw("test.Context", {
    Wait: {
      kind: "unary",
      async handle(payload, { signal }) {
        signal.addEventListener("abort", () => aborted.resolve(store.getStore()));
        started.resolve();
        await aborted.promise;
        return payload;
      },
    },
  });
  await server.listen(address);
  await using connection = await connect(address);
  const failed = failure(connection.unary("test.Context", "Wait", NOTHING));
  await started.promise;
  await store.run("the closer's", () => server.close({ graceMs: 0 }));
  expect(await aborted.promise).toBe(undefined);
  expect((await failed).code).toBe(Code.Unavailable);
});

/** Requests that say in which context they are left. */
function watched(item: () => unknown): {
  readonly requests: AsyncIterable<never>;
  readonly left: Promise<unknown>;
} {
  const { promise, resolve } = deferred<unknown>();
  const over = async () => {
    resolve(store.getStore());
    return { value: undefined, done: true as const };
  };
  const next = async () => ({ value: item() as never, done: false as const });
  return { requests: { [Symbol.asyncIterator]: () => ({ next, return: over }) }, left: promise };
}

describe("when a call ends, its caller's code runs in the context of the call:", () => {
  const LARGE = new Uint8Array(1 << 20);
  const ENDINGS: Readonly<Record<string, (connection: Connection, end: AbortController) => unknown>> = {
    "its signal aborts": (_, end) => end.abort(),
    "its connection is closed": (connection) => connection.close(),
    "its deadline passes": () => undefined,
  };

  test.each(Object.entries(ENDINGS))("requests that wait for room are left, and %s", async (_, finish) => {
    await using pair = await pairOf({
      Take: {
        kind: "client_streaming",
        handle: (_requests, { signal }) => hasAborted(signal) as Promise<never>,
      },
    });
    const end = new AbortController();
    const { requests, left } = watched(() => LARGE);
    const options = { signal: end.signal, timeoutMs: 100 };
    const call = store.run("the call's", () =>
      pair.connection.clientStreaming(SERVICE, "Take", requests, options),
    );
    setTimeout(() => store.run("the other's", () => finish(pair.connection, end)), 20);
    await failure(call);
    expect(await left).toBe("the call's");
  });

  test("what interceptors keep, wrap or refuse is left", async () => {
    await using pair = await pairWith(streamServer());
    const never = new Promise<never>(() => {});
    const wrapperLeft = deferred<unknown>();
    const wrapping: ClientInterceptor = (next) => async (call) => {
      const messages = ((await next(call)) as AsyncIterable<unknown>)[Symbol.asyncIterator]();
      const leave = () => {
        wrapperLeft.resolve(store.getStore());
        return messages.return!();
      };
      return { next: () => messages.next(), return: leave, [Symbol.asyncIterator]: () => messages };
    };
    const keeping: ClientInterceptor = (next) => async (call) => {
      if (call.kind === "bidi_streaming") await next(call);
      return never;
    };
    const client = createClient(Streaming, pair.connection, { interceptors: [keeping, wrapping] });
    const end = new AbortController();
    const { signal } = end;
    const { requests, left } = watched(() => ({}));
    const calls = store.run("the call's", () => [
      failure(client.sumStream(requests, { signal })),
      failure(
        collect(
          client.echoStream(
            times(1, () => ({})),
            { signal },
          ),
        ),
      ),
    ]);
    setTimeout(() => store.run("the other's", () => end.abort()), 20);
    await Promise.all(calls);
    expect([await left, await wrapperLeft.promise]).toEqual(["the call's", "the call's"]);
  });

  test("a subscriber to ttrpc:client:call:end is called, for calls of each kind", async () => {
    await using pair = await pairOf({
      Unary: { kind: "unary", handle: (payload) => payload },
      Up: { kind: "client_streaming", handle: async () => NOTHING },
      Down: { kind: "server_streaming", async *handle() {} },
      Both: { kind: "bidi_streaming", async *handle() {} },
    });
    const seen: [string, unknown][] = [];
    const listener = (message: unknown) => {
      seen.push([(message as { method: string }).method, store.getStore()]);
    };
    channel("ttrpc:client:call:end").subscribe(listener);
    const { connection } = pair;
    await store.run("the call's", async () => {
      await connection.unary(SERVICE, "Unary", NOTHING);
      await connection.clientStreaming(SERVICE, "Up", []);
      await collect(connection.serverStreaming(SERVICE, "Down", NOTHING));
      await collect(connection.bidiStreaming(SERVICE, "Both", []));
    });
    await pair[Symbol.asyncDispose]();
    channel("ttrpc:client:call:end").unsubscribe(listener);
    expect(seen).toEqual(["Unary", "Up", "Down", "Both"].map((method) => [method, "the call's"]));
  });
});
