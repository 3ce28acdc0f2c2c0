import {
  type Client,
  Code,
  connect,
  type Connection,
  connectSync,
  createClient,
  createServer,
  createSyncClient,
} from "containerd-shim-protos";
import { createPublisher, Events } from "containerd-shim-protos/events";
import { Task } from "containerd-shim-protos/task/v3";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { bytes, failure, failureOf, rejection, text } from "../helpers/outcome.js";
import { describeWithPeer, Peer } from "../helpers/peer.js";
import { RawServer } from "../helpers/raw-peer.js";
import { temporaryAddress } from "../helpers/temp.js";

const EMPTY = new Uint8Array();

describeWithPeer("a call with wrong arguments", () => {
  let peer: Peer;
  let connection: Connection;
  let task: Client<typeof Task>;

  beforeAll(async () => {
    peer = await Peer.task();
    connection = await connect(peer.address);
    task = createClient(Task, connection);
  });

  afterAll(async () => {
    await connection?.close();
    await peer?.kill();
  });

  /** The error must name what is wrong, and the connection must continue. */
  async function expectRefused(call: () => Promise<unknown>, message: string): Promise<void> {
    const error = await rejection(call());
    expect(error).toBeInstanceOf(TypeError);
    expect((error as TypeError).message).toBe(message);
    await expect(task.create({ id: "abc" })).resolves.toMatchObject({ pid: 1003 });
  }

  test.each([
    ["text", "string"],
    [null, "null"],
    [undefined, "undefined"],
    [[1, 2], "an array"],
    [new ArrayBuffer(1), "ArrayBuffer"],
    [new Uint16Array(1), "Uint16Array"],
    [{ length: 1, 0: 1 }, "object"],
  ])("refuses the payload %j, which is not a Uint8Array", async (payload, type) => {
    await expectRefused(
      () => connection.unary("a.B", "C", payload as unknown as Uint8Array),
      `payload must be a Uint8Array, not ${type}`,
    );
  });

  test.each([
    [
      "was transferred",
      () => {
        const payload = new Uint8Array(8);
        structuredClone(payload.buffer, { transfer: [payload.buffer] });
        return payload;
      },
    ],
    [
      "shrank",
      () => {
        const buffer = new ArrayBuffer(8, { maxByteLength: 8 });
        const payload = new Uint8Array(buffer, 4, 4);
        buffer.resize(2);
        return payload;
      },
    ],
  ])("refuses a payload whose buffer %s", async (_, make) => {
    const message = "payload must not be detached or outside of its buffer";
    await expectRefused(() => connection.unary("a.B", "C", make()), message);
    const { signal } = new AbortController();
    const stream = connection.serverStreaming("a.B", "C", make(), { signal });
    await expect(stream.next()).rejects.toEqual(new TypeError(message));
  });

  test("sends a payload's own bytes, whatever its class says of its length", async () => {
    class Longer extends Uint8Array {
      override get length(): number {
        return super.length + 20;
      }
    }
    await using server = createServer().addRaw("a.B", { C: { kind: "unary", handle: (payload) => payload } });
    await using own = await connect(await server.listen(temporaryAddress()));
    for (const size of [0, 10, 100_000]) {
      const payload = new Longer(size).fill(1);
      expect(await own.unary("a.B", "C", payload)).toEqual(new Uint8Array(size).fill(1));
    }
  });

  test("accepts a Buffer as a payload", async () => {
    const reply = await connection.unary(Task.typeName, "Create", Buffer.from([0x0a, 1, 0x61]));
    expect(Buffer.from(reply)).toEqual(Buffer.from([0x08, 0xe9, 0x07]));
  });

  test.each([
    ["", "C", 'service must be a non-empty string, not ""'],
    [7, "C", "service must be a non-empty string, not 7"],
    ["a\ud800", "C", "service has a lone surrogate"],
    ["a.B", "", 'method must be a non-empty string, not ""'],
    ["a.B", undefined, "method must be a non-empty string, not undefined"],
    ["a.B", "\udfff", "method has a lone surrogate"],
  ])("refuses the service %j and method %j", async (service, method, message) => {
    await expectRefused(() => connection.unary(service as string, method as string, EMPTY), message);
  });

  test.each([
    ["text", "metadata must be an object of strings or arrays of strings, not string"],
    [["a"], "metadata must be an object of strings or arrays of strings, not an array"],
    [null, "metadata must be an object of strings or arrays of strings, not null"],
    [{ k: 1 }, 'metadata["k"] must be a string or an array of strings, not number'],
    [{ k: null }, 'metadata["k"] must be a string or an array of strings, not null'],
    [{ k: undefined }, 'metadata["k"] must be a string or an array of strings, not undefined'],
    [{ Key: ["a", 2] }, 'metadata["Key"][1] must be a string, not number'],
    [{ k: "\ud800" }, 'metadata["k"] has a lone surrogate'],
    [{ k: ["a", "b\udc00"] }, 'metadata["k"][1] has a lone surrogate'],
    [{ "": "a" }, "metadata has an empty key"],
    [{ "\ud800": "a" }, 'the metadata key "\\ud800" has a lone surrogate'],
  ])("refuses the metadata %j", async (metadata, message) => {
    await expectRefused(
      () => connection.unary("a.B", "C", EMPTY, { metadata: metadata as Record<string, string> }),
      message,
    );
  });

  const options = (value: unknown) => ({ rootfs: [{}, {}, { options: [value] }] });
  test.each<[keyof typeof Task.method, unknown, string]>([
    [
      "state",
      undefined,
      "the message must be an object with the fields of containerd.task.v3.StateRequest, not undefined",
    ],
    [
      "state",
      "id",
      "the message must be an object with the fields of containerd.task.v3.StateRequest, not string",
    ],
    [
      "state",
      [],
      "the message must be an object with the fields of containerd.task.v3.StateRequest, not an array",
    ],
    [
      "state",
      EMPTY,
      "the message must be an object with the fields of containerd.task.v3.StateRequest, not Uint8Array",
    ],
    ["state", { id: 5 }, "id must be a string, not number"],
    ["state", { id: null }, "id must be a string, not null"],
    ["state", { id: "\ud800" }, "id has a lone surrogate, which UTF-8 cannot encode"],
    ["state", { ID: "a" }, "ID is not a field of containerd.task.v3.StateRequest"],
    ["state", { exec_id: "a" }, "exec_id is not a field of containerd.task.v3.StateRequest"],
    ["create", { terminal: "yes" }, "terminal must be a boolean, not string"],
    ["create", { terminal: 1 }, "terminal must be a boolean, not number"],
    ["create", { rootfs: {} }, "rootfs must be an array, not object"],
    [
      "create",
      { rootfs: ["/"] },
      "rootfs[0] must be an object with the fields of containerd.types.Mount, not string",
    ],
    ["create", { rootfs: [{}, { kind: "bind" }] }, "rootfs[1].kind is not a field of containerd.types.Mount"],
    ["create", options(5), "rootfs[2].options[0] must be a string, not number"],
    ["create", options(undefined), "rootfs[2].options[0] must be a string, not undefined"],
    ["create", options("\udc00"), "rootfs[2].options[0] has a lone surrogate, which UTF-8 cannot encode"],
    ["create", { options: { value: "text" } }, "options.value must be a Uint8Array, not string"],
    ["create", { options: { value: [1] } }, "options.value must be a Uint8Array, not an array"],
    ["kill", { signal: -1 }, "signal must be an unsigned 32-bit integer, not -1"],
    ["kill", { signal: 2 ** 32 }, "signal must be an unsigned 32-bit integer, not 4294967296"],
    ["kill", { signal: 1.5 }, "signal must be an unsigned 32-bit integer, not 1.5"],
    ["kill", { signal: Number.NaN }, "signal must be an unsigned 32-bit integer, not NaN"],
    ["kill", { signal: "15" }, "signal must be an unsigned 32-bit integer, not string"],
    ["kill", { signal: 15n }, "signal must be an unsigned 32-bit integer, not bigint"],
    ["update", { annotations: "a=b" }, "annotations must be an object, not string"],
    ["update", { annotations: new Map([["a", "b"]]) }, "annotations must be an object, not Map"],
    ["update", { annotations: { key: 1 } }, 'annotations["key"] must be a string, not number'],
    [
      "update",
      { annotations: { "\ud800": "a" } },
      'annotations["\\ud800"] has a lone surrogate, which UTF-8 cannot encode',
    ],
  ])("refuses %s(%o) by the path of the field", async (name, request, message) => {
    const call = task[name] as (request: unknown) => Promise<unknown>;
    const { method } = Task;
    await expectRefused(() => call(request), `${Task.typeName}/${method[name].name}: ${message}`);
  });

  test.each([
    [
      { timestamp: { seconds: 1 } },
      "envelope.timestamp.seconds must be a 64-bit integer as a bigint, not number",
    ],
    [
      { timestamp: { seconds: 2n ** 63n } },
      "envelope.timestamp.seconds must be a 64-bit integer, not 9223372036854775808",
    ],
    [{ timestamp: { nanos: 2 ** 31 } }, "envelope.timestamp.nanos must be a 32-bit integer, not 2147483648"],
    [
      { timestamp: { nanos: -(2 ** 31) - 1 } },
      "envelope.timestamp.nanos must be a 32-bit integer, not -2147483649",
    ],
    [
      { timestamp: new Date() },
      "envelope.timestamp must be an object with the fields of google.protobuf.Timestamp, not Date",
    ],
    [
      { event: { $typeName: "google.protobuf.Empty" } },
      "envelope.event must be a google.protobuf.Any, not a google.protobuf.Empty",
    ],
  ])("refuses the envelope %o by the path of the field", async (envelope, message) => {
    const events = createClient(Events, connection);
    await expectRefused(
      () => events.forward({ envelope } as object),
      `${Events.typeName}/Forward: ${message}`,
    );
  });

  test("is refused by the blocking client with the same message", async () => {
    using blocking = connectSync(peer.address);
    expect(() => blocking.unary("a.B", "C", "text" as unknown as Uint8Array)).toThrow(
      new TypeError("payload must be a Uint8Array, not string"),
    );
    const reply = blocking.unary(Task.typeName, "Create", EMPTY);
    expect(reply).toEqual(new Uint8Array([0x08, 0xe8, 0x07]));
  });

  test("leaves a byte array to its owner: a change after the call is not sent", async () => {
    const payload = new Uint8Array([0x0a, 1, 0x61]);
    const call = connection.unary(Task.typeName, "Create", payload);
    payload.fill(0xff);
    expect(await call).toEqual(new Uint8Array([0x08, 0xe9, 0x07]));
  });
});

describe("bytes that do not decode", () => {
  test("are Internal as a reply, and the connection continues", async () => {
    await using server = await RawServer.listen();
    await using connection = await connect(server.address);
    const peer = await server.accept();
    const task = createClient(Task, connection);

    for (const garbage of [[0x0a, 5, 1], [0xff], [0x08], [0x0b, 0x0a]]) {
      const call = failure(task.state({ id: "a" }));
      const { streamId } = await peer.nextRequest();
      await peer.reply(streamId, new Uint8Array(garbage));
      const error = await call;
      expect(error.code).toBe(Code.Internal);
      expect(error.message).toContain("containerd.task.v3.StateResponse");
    }

    const next = task.create({ id: "a" });
    const { streamId } = await peer.nextRequest();
    await peer.reply(streamId, new Uint8Array([0x08, 42]));
    expect((await next).pid).toBe(42);
  });

  test("are INTERNAL as a request, reach no handler, and the connection continues", async () => {
    const seen: string[] = [];
    await using server = createServer().add(Task, {
      state({ id }) {
        seen.push(id);
        return { id };
      },
    });
    await using connection = await connect(await server.listen(temporaryAddress()));
    for (const garbage of [[0x0a, 5, 1], [0xff], [0x0a, 1, 0xff]]) {
      const error = await failure(connection.unary(Task.typeName, "State", new Uint8Array(garbage)));
      expect(error.code).toBe(Code.Internal);
      expect(error.message).toContain("containerd.task.v3.StateRequest");
    }
    expect((await createClient(Task, connection).state({ id: "good" })).id).toBe("good");
    expect(seen).toEqual(["good"]);
  });
});

describe("a handler that returns something that cannot be sent", () => {
  test.each([
    [undefined, "must be an object"],
    ["text", "must be an object"],
    [{ pid: -1 }, "pid must be an unsigned 32-bit integer, not -1"],
    [{ PID: 1 }, "PID is not a field"],
    [{ exitedAt: { nanos: 0.5 } }, "exitedAt.nanos must be a 32-bit integer, not 0.5"],
  ])(
    "such as %j answers INTERNAL, which names the field, and the connection continues",
    async (reply, message) => {
      await using server = createServer().add(Task, {
        state: () => reply as object,
        create: () => ({ pid: 1 }),
      });
      await using connection = await connect(await server.listen(temporaryAddress()));
      const task = createClient(Task, connection);
      const error = await failure(task.state({ id: "a" }));
      expect(error.code).toBe(Code.Internal);
      expect(error.message).toContain("containerd.task.v3.Task/State");
      expect(error.message).toContain(message);
      expect((await task.create({ id: "a" })).pid).toBe(1);
    },
  );

  test.each([undefined, null, "text", [1], {}])("such as %j for bytes answers INTERNAL", async (reply) => {
    await using server = createServer().addRaw("a.B", {
      Wrong: { kind: "unary", handle: () => reply as unknown as Uint8Array },
      Right: { kind: "unary", handle: (payload) => payload },
    });
    await using connection = await connect(await server.listen(temporaryAddress()));
    const error = await failure(connection.unary("a.B", "Wrong", EMPTY));
    expect(error).toMatchObject({ code: Code.Internal });
    expect(error.message).toContain("a.B/Wrong");
    expect(text(await connection.unary("a.B", "Right", bytes("next")))).toBe("next");
  });
});

describe("createServer", () => {
  test("refuses handlers that do not fit the service", () => {
    const server = createServer().addRaw("a.B", {});
    expect(() => server.add(Task, { start2() {} } as object)).toThrow(
      new TypeError("containerd.task.v3.Task has no method start2; did you mean start?"),
    );
    expect(() => server.add(Task, { state: 5 } as object)).toThrow(
      new TypeError("containerd.task.v3.Task/State must be a function, not number"),
    );
    expect(() => server.add({} as typeof Task, {})).toThrow(/^service must be a service descriptor/);
    expect(() => server.addRaw("a.B", {})).toThrow(new TypeError("a.B is added twice"));
    expect(() => server.addRaw("", {})).toThrow(new TypeError('service must be a non-empty string, not ""'));
    expect(() => server.addRaw("a.C", { D: {} } as never)).toThrow(
      new TypeError("a.C/D must have a function handle, not undefined"),
    );
    expect(() => server.addRaw("a.C", { D: { kind: "binary", handle() {} } } as never)).toThrow(/"?binary"?/);
  });

  test("refuses another service once it listens", async () => {
    await using server = createServer().addRaw("a.B", {});
    await server.listen(temporaryAddress());
    expect(failureOf(() => server.addRaw("a.C", {}))).toMatchObject({ code: Code.FailedPrecondition });
  });
});

describe("a client", () => {
  test.each([
    ["a Promise", () => connect("/nobody/there")],
    ["undefined", () => undefined],
    ["null", () => null],
    ["object", () => ({})],
    ["a service, which comes first", () => Task],
  ])("cannot be made from %s instead of a connection", (what, give) => {
    const given = give();
    if (given instanceof Promise) given.catch(() => undefined);
    expect(() => createClient(Task, given as Connection)).toThrow(
      new TypeError(`connection must be the Connection that connect() resolves to, not ${what}`),
    );
    expect(() => createSyncClient(Task, given as never)).toThrow(
      new TypeError(`connection must be the SyncConnection that connectSync() returns, not ${what}`),
    );
  });
});

describe("options", () => {
  test("that are undefined count as left out", async () => {
    expect(() => createServer({ maxConnections: undefined, maxQueuedBytes: undefined })).not.toThrow();
    const reconnect = { maxDelayMs: undefined, maxAttempts: undefined };
    expect(await failure(connect("/nobody/there", { reconnect }))).toMatchObject({ code: Code.Unavailable });
    const never = connect("/nobody/there", { reconnect: false });
    expect(await failure(never)).toMatchObject({ code: Code.Unavailable });
    const publisher = createPublisher("/nobody/there", { namespace: "default", timeoutMs: undefined });
    await publisher.close();
  });

  test.each([
    [{ signal: 5 }, "signal must be an AbortSignal, not number"],
    [{ signal: {} }, "signal must be an AbortSignal, not object"],
    [{ waitForReady: "yes" }, "waitForReady must be a boolean, not yes"],
  ])("of connect are refused: %j", async (options, message) => {
    expect(await rejection(connect(temporaryAddress(), options as never))).toEqual(new TypeError(message));
  });

  test("that end an attempt to connect are named in the error", async () => {
    const address = temporaryAddress();
    expect(await failure(connect(address, { signal: AbortSignal.abort() }))).toMatchObject({
      code: Code.Canceled,
      message: `the attempt to connect to ${address} was canceled`,
    });
  });
});
