import {
  type CallOptions,
  type ClientInterceptor,
  connect,
  type Connection,
  createClient,
  createServer,
  type RawMethod,
  type Server,
  type ServerInterceptor,
} from "containerd-shim-protos";
import { Task } from "containerd-shim-protos/task/v3";
import { describe, expect, test } from "vitest";
import { collectTexts, Source } from "../helpers/iterables.js";
import { bytes, failure, text } from "../helpers/outcome.js";
import { temporaryAddress } from "../helpers/temp.js";

const EMPTY = new Uint8Array();

/** Answers with what it was sent, and with which metadata and timeout. */
function serverOf(): Server {
  const repeat = async function* (requests: AsyncIterable<Uint8Array>) {
    yield* requests;
  };
  return createServer()
    .add(Task, { state: ({ id }) => ({ id }) })
    .addRaw("a.B", {
      Echo: { kind: "unary", handle: (payload) => payload },
      List: {
        kind: "server_streaming",
        async *handle(payload) {
          yield payload;
        },
      },
      Join: {
        kind: "client_streaming",
        async handle(requests) {
          return bytes((await collectTexts(requests)).join());
        },
      },
      Hang: { kind: "unary", handle: () => new Promise<never>(() => {}) },
      HangOn: { kind: "server_streaming", handle: () => new Source(() => new Promise<never>(() => {})) },
      Chat: { kind: "bidi_streaming", handle: repeat },
      Told: {
        kind: "unary",
        handle: (_, { metadata, timeoutMs }) =>
          bytes(JSON.stringify({ metadata, timed: timeoutMs !== undefined })),
      },
    });
}

interface Site extends AsyncDisposable {
  readonly connection: Connection;
  /** Lets the calls that were made be sent. */
  readonly open: () => Promise<void>;
}

/** A connection on which a call is sent at once, and one on which it waits until there is a server again. */
const SITES: Record<string, () => Promise<Site>> = {
  async open() {
    const server = serverOf();
    const connection = await connect(await server.listen(temporaryAddress()));
    return {
      connection,
      async open() {},
      async [Symbol.asyncDispose]() {
        await connection.close();
        await server.close({ graceMs: 0 });
      },
    };
  },
  async reconnecting() {
    const address = temporaryAddress();
    const first = serverOf();
    await first.listen(address);
    const connection = await connect(address, { reconnect: { initialDelayMs: 5, maxDelayMs: 20 } });
    await first.close();
    // The connection notices it by itself, without a call.
    await new Promise((resolve) => setTimeout(resolve, 20));
    const server = serverOf();
    return {
      connection,
      async open() {
        await server.listen(address);
      },
      async [Symbol.asyncDispose]() {
        await connection.close();
        await server.close({ graceMs: 0 });
      },
    };
  },
};

async function* of(...messages: Uint8Array[]): AsyncGenerator<Uint8Array> {
  yield* messages;
}

describe.each(Object.keys(SITES))(
  "a call on a connection that is %s sends the values at the time of the call",
  (name) => {
    test.each([10, 5_000, 100_000, 3_000_000])("whatever happens to a buffer of %i bytes", async (size) => {
      await using site = (await SITES[name]?.()) as Site;
      const buffer = new Uint8Array(size).fill(1);
      const unary = site.connection.unary("a.B", "Echo", buffer);
      const stream = site.connection.serverStreaming("a.B", "List", buffer);
      buffer.fill(2);
      await site.open();
      expect((await unary).every((byte) => byte === 1)).toBe(true);
      for await (const reply of stream) expect(reply.every((byte) => byte === 1)).toBe(true);
    });

    test("whatever happens to a message", async () => {
      await using site = (await SITES[name]?.()) as Site;
      const request = { id: "original" };
      const call = createClient(Task, site.connection).state(request);
      request.id = "changed";
      await site.open();
      expect((await call).id).toBe("original");
    });

    test("whatever happens to the options and the metadata, with interceptors and without", async () => {
      for (const interceptors of [[], [((next) => (call) => next(call)) as ClientInterceptor]]) {
        await using site = (await SITES[name]?.()) as Site;
        const metadata: Record<string, string[]> = { key: ["original"] };
        const options = { timeoutMs: 5000, metadata } as {
          -readonly [Name in keyof CallOptions]: CallOptions[Name];
        };
        const told = site.connection.unary("a.B", "Told", EMPTY, options);
        const typed = createClient(Task, site.connection, { interceptors }).state({ id: "web" }, options);
        metadata["key"]?.push("changed");
        metadata["more"] = ["changed"];
        options.timeoutMs = -1;
        options.signal = AbortSignal.abort();
        options.metadata = 5 as never;
        await site.open();
        expect(JSON.parse(text(await told))).toEqual({ metadata: { key: ["original"] }, timed: true });
        expect((await typed).id).toBe("web");
      }
    });

    test("and is aborted by the signal that it had, not by the one that the options have now", async () => {
      await using site = (await SITES[name]?.()) as Site;
      const [mine, other] = [new AbortController(), new AbortController()];
      const options = { signal: mine.signal };
      const calls = [
        failure(site.connection.unary("a.B", "Hang", EMPTY, options)),
        failure(collectTexts(site.connection.serverStreaming("a.B", "HangOn", EMPTY, options))),
      ];
      options.signal = other.signal;
      other.abort(new Error("of the other"));
      mine.abort(new Error("of mine"));
      for (const call of calls) expect((await call).cause).toEqual(new Error("of mine"));
    });

    test("and reads each option once", async () => {
      await using site = (await SITES[name]?.()) as Site;
      const asked: string[] = [];
      const options: CallOptions = {
        get timeoutMs() {
          asked.push("timeoutMs");
          return 5000;
        },
        get metadata() {
          asked.push("metadata");
          return {};
        },
        get signal() {
          asked.push("signal");
          return undefined;
        },
      };
      const calls = [
        site.connection.unary("a.B", "Echo", EMPTY, options),
        site.connection.clientStreaming("a.B", "Join", of(), options),
        createClient(Task, site.connection).state({}, options),
      ];
      expect(asked.length).toBe(9);
      await site.open();
      await Promise.all(calls);
      expect(asked.length).toBe(9);
    });

    test("and of a request iterable the values at each yield, even if it reuses one buffer", async () => {
      await using site = (await SITES[name]?.()) as Site;
      async function* reused(size: number) {
        const buffer = new Uint8Array(size);
        for (const letter of "abc") {
          buffer.fill(letter.charCodeAt(0));
          yield buffer;
          buffer.fill(120);
        }
      }
      for (const size of [1, 9000]) {
        const joined = site.connection.clientStreaming("a.B", "Join", reused(size));
        const chat = collectTexts(site.connection.bidiStreaming("a.B", "Chat", reused(size)));
        if (size === 1) await site.open();
        const expected = [..."abc"].map((letter) => letter.repeat(size));
        expect(text(await joined)).toBe(expected.join());
        expect(await chat).toEqual(expected);
      }
    });
  },
);

describe("a server", () => {
  test("sends the values at each yield of a handler's generator, even if that waits for room", async () => {
    const CHUNK = 300_000;
    const server = createServer().addRaw("a.B", {
      Many: {
        kind: "server_streaming",
        async *handle() {
          const buffer = new Uint8Array(CHUNK);
          for (let index = 0; index < 40; index++) {
            buffer.fill(index);
            const timer = setTimeout(() => buffer.fill(255), 1);
            yield buffer;
            clearTimeout(timer);
          }
        },
      },
    });
    await using connection = await connect(await server.listen(temporaryAddress()));
    let index = 0;
    for await (const reply of connection.serverStreaming("a.B", "Many", EMPTY)) {
      expect(reply.every((byte) => byte === index)).toBe(true);
      index++;
      // Slow enough to hold up the generator.
      if (index < 20) await new Promise((resolve) => setTimeout(resolve, 10));
    }
    expect(index).toBe(40);
    await server.close();
  });

  test("serves the handlers and interceptors that it was given, whatever happens to their objects", async () => {
    const method: { kind: "unary"; handle: (payload: Uint8Array) => Uint8Array } = {
      kind: "unary",
      handle: (payload) => payload,
    };
    const interceptors: ServerInterceptor[] = [(next) => (call) => next(call)];
    const methods: Record<string, RawMethod> = { Echo: method };
    const server = createServer({ interceptors }).addRaw("a.B", methods);
    method.handle = () => bytes("changed");
    interceptors[0] = undefined as never;
    delete methods["Echo"];
    await using connection = await connect(await server.listen(temporaryAddress()));
    expect(text(await connection.unary("a.B", "Echo", bytes("original")))).toBe("original");
    await server.close();
  });
});
