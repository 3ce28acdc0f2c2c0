import { createContext, runInContext } from "node:vm";
import { Code, connect, connectSync, createClient, createServer, TtrpcError } from "containerd-shim-protos";
import { Events } from "containerd-shim-protos/events";
import { describe, expect, test } from "vitest";
import { Script } from "../helpers/script.js";
import { failure, hex, rejection } from "../helpers/outcome.js";
import { temporaryAddress } from "../helpers/temp.js";

const context = createContext({});

/** A Uint8Array of `length` bytes that another realm made. */
function foreign(length: number): Uint8Array {
  const made = runInContext(`new Uint8Array(${length}).fill(7)`, context) as Uint8Array;
  expect(made).not.toBeInstanceOf(Uint8Array);
  return made;
}

const ours = (length: number) => new Uint8Array(length).fill(7);

async function* one(message: Uint8Array): AsyncIterable<Uint8Array> {
  yield message;
}

/** The length of a payload inside a batch, and of one that crosses by itself. */
const LENGTHS = [3, 100_000];

describe.each(LENGTHS)("a Uint8Array of %i bytes of another realm", (length) => {
  test("can be a payload of requests, replies and streams, in both directions", async () => {
    const received: Uint8Array[] = [];
    await using server = createServer().addRaw("a.B", {
      Echo: { kind: "unary", handle: (request) => (received.push(request), foreign(length)) },
      Chat: {
        kind: "bidi_streaming",
        async *handle(requests) {
          for await (const request of requests) {
            received.push(request);
            yield foreign(length);
          }
        },
      },
    });
    await using connection = await connect(await server.listen(temporaryAddress()));
    received.push(await connection.unary("a.B", "Echo", foreign(length)));
    for await (const message of connection.bidiStreaming("a.B", "Chat", one(foreign(length))))
      received.push(message);
    expect(received.map(hex)).toEqual(Array(4).fill(hex(ours(length))));
  });

  test("can be a field of a message, and a detail of an error", async () => {
    const any = { typeUrl: "a.Type", value: foreign(length) };
    await using server = createServer().add(Events, {
      async forward({ envelope }) {
        expect(hex(envelope?.event?.value ?? ours(0))).toBe(hex(ours(length)));
        throw new TtrpcError("with a detail", Code.Aborted, {
          details: [{ ...any, $typeName: "google.protobuf.Any" }],
        });
      },
    });
    await using connection = await connect(await server.listen(temporaryAddress()));
    const { code, details } = await failure(
      createClient(Events, connection).forward({ envelope: { event: any } }),
    );
    expect(code).toBe(Code.Aborted);
    expect(details.map(({ value }) => hex(value))).toEqual([hex(ours(length))]);
  });
});

test("an object that only has the prototype of a Uint8Array is refused, and the connection continues", async () => {
  await using server = createServer().addRaw("a.B", {
    Echo: { kind: "unary", handle: (request) => request },
  });
  await using connection = await connect(await server.listen(temporaryAddress()));
  const fake = Object.create(Uint8Array.prototype) as Uint8Array;
  expect(await rejection(connection.unary("a.B", "Echo", fake))).toEqual(
    new TypeError("payload must be a Uint8Array, not object"),
  );
  expect(await connection.unary("a.B", "Echo", ours(3))).toEqual(ours(3));
});

test("a blocking call accepts a Uint8Array of another realm, and so does the codec where code generation is disallowed", async () => {
  await using server = new Script(
    `
    const server = product.createServer();
    server.addRaw("a.B", { Echo: { kind: "unary", handle: (request) => request } });
    await server.listen(address);
    say("listening");
  `,
    temporaryAddress(),
  );
  await server.nextLine();
  using blocking = connectSync(server.address);
  expect(blocking.unary("a.B", "Echo", foreign(3))).toEqual(ours(3));
  await using fallback = new Script(
    `
    import { createContext, runInContext } from "node:vm";
    import { setFlagsFromString } from "node:v8";
    import { Events } from "containerd-shim-protos/events";
    const value = runInContext("new Uint8Array(3).fill(7)", createContext({}));
    setFlagsFromString("--disallow-code-generation-from-strings");
    const server = product.createServer().add(Events, {
      async forward({ envelope }) {
        say(Buffer.from(envelope.event.value).toString("hex"));
        return {};
      },
    });
    const connection = await product.connect(await server.listen(address));
    await product.createClient(Events, connection).forward({ envelope: { event: { typeUrl: "a.Type", value } } });
    await connection.close();
    await server.close();
  `,
    temporaryAddress(),
  );
  expect(await fallback.rest()).toEqual(["070707"]);
});

test("what another copy of the package made is refused as such", async () => {
  /** An object of a class with this name, as two copies of the package have. */
  const of = (name: string): never => {
    const constructor = Object.defineProperty(() => undefined, "name", { value: name });
    return Object.create({ constructor }) as never;
  };
  const copy = "not one of another copy of this package";
  await using server = createServer();
  await using connection = await connect(await server.listen(temporaryAddress()));
  const events = createClient(Events, connection);
  expect(() => createClient(Events, of("Connection"))).toThrow(copy);
  await expect(events.forward({}, { parent: of("HandlerContext") })).rejects.toThrow(copy);
  await expect(events.forward({}, { contextValues: of("ContextValues") })).rejects.toThrow(copy);
});

test("an AbortSignal of another realm, or of a library, aborts a call and an attempt to connect", async () => {
  class Foreign extends EventTarget {
    aborted = false;
    reason = "enough";
    abort() {
      this.aborted = true;
      this.dispatchEvent(new Event("abort"));
    }
  }
  const foreignSignal = () => new Foreign() as Foreign & AbortSignal;
  await using server = createServer().addRaw("a.B", {
    Wait: { kind: "unary", handle: () => new Promise<never>(() => {}) },
  });
  await using connection = await connect(await server.listen(temporaryAddress()));
  const [signal, other] = [foreignSignal(), foreignSignal()];
  const call = failure(connection.unary("a.B", "Wait", ours(1), { signal }));
  const attempt = failure(connect(temporaryAddress(), { signal: other, waitForReady: true }));
  signal.abort();
  other.abort();
  expect(await call).toMatchObject({ code: Code.Canceled, cause: "enough" });
  expect(await attempt).toMatchObject({ code: Code.Canceled, cause: "enough" });
  await server.close({ graceMs: 0 });
});
