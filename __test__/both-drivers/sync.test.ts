import { create, toBinary } from "@bufbuild/protobuf";
import {
  Code,
  connect,
  connectSync,
  createClient,
  createServer,
  createSyncClient,
  type SyncClient,
  type SyncConnection,
  type TtrpcError,
  unpackAny,
} from "containerd-shim-protos";
import { TaskStartSchema } from "containerd-shim-protos/events";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { bytes, failure, failureOf, hex, text } from "../helpers/outcome.js";
import { describeWithPeer, Peer } from "../helpers/peer.js";
import { RawServer, rawConnect } from "../helpers/raw-peer.js";
import { Script } from "../helpers/script.js";
import { callMethodSync, METHODS, methodOf, requestsOf, type TaskApi, VERSIONS } from "../helpers/tasks.js";
import { abstractAddress, staleSocket, temporaryAddress } from "../helpers/temp.js";
import { encodeStatus, requestPayload, responsePayload } from "../helpers/wire.js";

const ID = "container-1";
const EMPTY = new Uint8Array();
const FOREVER = bytes("600000");
/** An IPv4 address as IPv6 writes it. */
const MAPPED = "[::ffff:127.0.0.1]";
/** A call that blocks the test's thread needs its own deadline, because vitest's cannot end it. */
const BOUND = { timeoutMs: 15_000 };

describe.each(VERSIONS)("$version", ({ version, api }) => {
  describeWithPeer("a blocking Task client of the Rust server", () => {
    let peer: Peer;
    let connection: SyncConnection;
    let task: SyncClient<TaskApi["Task"]>;

    beforeAll(async () => {
      peer = await Peer.task(version);
      connection = connectSync(peer.address);
      task = createSyncClient(api.Task, connection);
    });

    afterAll(async () => {
      connection?.close();
      await peer?.kill();
    });

    test.each(METHODS)(
      "sends the request of %s byte for byte and returns the same reply as the async client",
      async (name) => {
        const method = methodOf(api, name);
        const request = requestsOf(ID)[name];
        const reply = callMethodSync(task, name, request, BOUND);
        const { stdin: arrived, bundle: payload } = task.state({ id: "last" }, BOUND);
        expect(arrived).toBe(method.name);
        expect(payload).toBe(hex(toBinary(method.input, create(method.input, request))));

        await using other = await connect(peer.address);
        const call = createClient(api.Task, other)[name] as (request: unknown) => Promise<unknown>;
        expect(reply).toEqual(await call(request));
        expect(reply.$typeName).toBe(method.output.typeName);
      },
    );

    test("returns typed fields", () => {
      expect(task.connect({ id: "abc" }, BOUND)).toMatchObject({
        shimPid: peer.pid,
        taskPid: 5003,
        version: `peer-${version}`,
      });
      expect(task.wait({ id: "abc", execId: "d" }, BOUND)).toMatchObject({
        exitStatus: 104,
        exitedAt: { seconds: 1_700_000_002n, nanos: 1 },
      });
    });

    test("is made and answered though a getter of its message aborts another call", async () => {
      await using echo = await Peer.echo();
      await using other = await connect(echo.address);
      const controller = new AbortController();
      const { signal } = controller;
      const asleep = failure(other.unary("test.Echo", "Sleep", FOREVER, { signal }));
      const request = {
        get id() {
          controller.abort();
          return "with a getter";
        },
      };
      expect(task.state(request, BOUND)).toEqual(task.state({ id: "with a getter" }, BOUND));
      expect((await asleep).code).toBe(Code.Canceled);
    });

    test("sends metadata of several values and the timeout", () => {
      const { bundle, stdin } = task.state(
        { id: "metadata" },
        { metadata: { "Key-1": ["b", "a"], "key-2": "ü€😀" }, timeoutMs: 60_000.25 },
      );
      expect(JSON.parse(bundle)).toEqual({ "key-1": ["b", "a"], "key-2": ["ü€😀"] });
      expect(stdin).toBe("60000250000");
    });

    test.each([1, 3, 5, 12, 14, 16, 99, -1])("throws the status code %i with message and details", (code) => {
      const error = failureOf(() => task.state({ id: `error:${code}` }, BOUND));
      expect(error).toMatchObject({ code, rawMessage: `asked for ${code}` });
      expect(error.details.map(({ typeUrl }) => typeUrl)).toEqual([
        "containerd.events.TaskStart",
        "example.com/unknown.Type",
      ]);
      expect(unpackAny(error.details[0]!, TaskStartSchema)).toMatchObject({ containerId: "detail", pid: 7 });
    });

    test("throws DeadlineExceeded for a handler that never answers, and the connection continues", () => {
      const error = failureOf(() => task.pids({ id: "panic" }, { timeoutMs: 50 }));
      expect(error.code).toBe(Code.DeadlineExceeded);
      expect(task.create({ id: "next" }, BOUND).pid).toBe(1004);
    });

    test("throws a TypeError that names a wrong field, and the connection continues", () => {
      expect(() => task.create({ rootfs: [{ options: [5 as unknown as string] }] })).toThrow(
        `${api.Task.typeName}/Create: rootfs[0].options[0] must be a string, not number`,
      );
      expect(() => task.create({}, { timeoutMs: -1 })).toThrow(/^timeoutMs must be a number/);
      expect(() => task.create({}, { metadata: { k: 1 as unknown as string } })).toThrow(/^metadata\["k"\]/);
      expect(task.create({ id: "next" }, BOUND).pid).toBe(1004);
    });
  });
});

describeWithPeer("a blocking connection to the Rust server", () => {
  test.each([
    ["a unix socket", () => temporaryAddress()],
    ["an abstract name", () => abstractAddress()],
  ])("works on %s", async (_, make) => {
    await using peer = await Peer.echo(make());
    using connection = connectSync(peer.address);
    expect(connection.address).toBe(peer.address);
    expect(text(connection.unary("test.Echo", "Echo", bytes("over here"), BOUND))).toBe("over here");
    expect(connection.unary("test.Echo", "Zero", EMPTY, BOUND)).toEqual(EMPTY);
  });

  test("works on TCP", async () => {
    await using script = new Script(`
      const server = product.createServer();
      server.addRaw("a.B", { C: { kind: "unary", handle: (payload) => payload } });
      say(await server.listen("tcp://127.0.0.1:0"));
    `);
    const address = await script.nextLine();
    using connection = connectSync(address!);
    expect(text(connection.unary("a.B", "C", bytes("over TCP"), BOUND))).toBe("over TCP");
  });

  test.each([0.000001, 0.5, 7.25, 40])(
    "throws DeadlineExceeded after %s ms, and the connection continues",
    async (timeoutMs) => {
      await using peer = await Peer.echo();
      using connection = connectSync(peer.address);
      const error = failureOf(() => connection.unary("test.Echo", "Sleep", FOREVER, { timeoutMs }));
      expect(error.code).toBe(Code.DeadlineExceeded);
      expect(text(connection.unary("test.Echo", "Sleep", bytes("1"), { timeoutMs: 60_000 }))).toBe("1");
    },
  );

  test("does not mistake a late reply for the next one", async () => {
    await using peer = await Peer.echo();
    using connection = connectSync(peer.address);
    // The server answers at about the deadline, so only some rounds get the reply.
    for (let round = 0; round < 50; round++) {
      const outcome = outcomeOf(() => connection.unary("test.Echo", "Sleep", bytes("1"), { timeoutMs: 1 }));
      expect(outcome).toBeOneOf(["1", Code.DeadlineExceeded]);
      expect(text(connection.unary("test.Echo", "Echo", bytes(`mine ${round}`), BOUND))).toBe(
        `mine ${round}`,
      );
    }
  });

  test("carries exactly 4 MiB, and refuses a byte more in both directions", async () => {
    await using peer = await Peer.echo();
    using connection = connectSync(peer.address);
    const timeoutNano = BigInt(BOUND.timeoutMs) * 1_000_000n;
    const payload = requestPayload(0, { service: "test.Echo", method: "Echo", timeoutNano });
    expect(Buffer.compare(connection.unary("test.Echo", "Echo", payload, BOUND), payload)).toBe(0);
    const more = new Uint8Array(payload.length + 1);
    expect(failureOf(() => connection.unary("test.Echo", "Echo", more, BOUND))).toMatchObject({
      code: Code.ResourceExhausted,
    });
    const size = responsePayload(0).length;
    expect(connection.unary("test.Echo", "Large", bytes(String(size)), BOUND)).toHaveLength(size);
    expect(
      failureOf(() => connection.unary("test.Echo", "Large", bytes(String(size + 1)), BOUND)),
    ).toMatchObject({
      code: Code.ResourceExhausted,
    });
    expect(text(connection.unary("test.Echo", "Echo", bytes("next"), BOUND))).toBe("next");
  });

  test("throws the status that the peer sent", async () => {
    await using peer = await Peer.echo();
    using connection = connectSync(peer.address);
    const status = encodeStatus({
      code: 7,
      message: "no entry",
      details: [{ typeUrl: "a.B", value: bytes("c") }],
    });
    const error = failureOf(() => connection.unary("test.Echo", "Fail", status, BOUND));
    expect(error).toMatchObject({ code: Code.PermissionDenied, rawMessage: "no entry" });
    expect(error.details).toMatchObject([{ typeUrl: "a.B", value: bytes("c") }]);
  });

  test("leaves the calls of other connections in flight, and they end later", async () => {
    await using peer = await Peer.echo();
    await using other = await connect(peer.address);
    using first = connectSync(peer.address);
    using second = connectSync(peer.address);
    let settled = 0;
    const calls = Array.from({ length: 20 }, async (_, index) => {
      const reply = await other.unary("test.Echo", "Sleep", bytes(String(index % 5)));
      settled++;
      return text(reply);
    });
    const late = failure(other.unary("test.Echo", "Sleep", FOREVER, { timeoutMs: 5 }));

    // A call without a timeout waits for as long as it takes.
    expect(text(first.unary("test.Echo", "Sleep", bytes("30")))).toBe("30");
    expect(text(second.unary("test.Echo", "Echo", bytes("second"), BOUND))).toBe("second");
    expect(text(first.unary("test.Echo", "Echo", bytes("first"), BOUND))).toBe("first");
    // Their replies have arrived, but nothing on this thread has run.
    expect(settled).toBe(0);

    expect(await Promise.all(calls)).toEqual(calls.map((_, index) => String(index % 5)));
    expect(await late).toMatchObject({ code: Code.DeadlineExceeded });
    expect(text(await other.unary("test.Echo", "Echo", bytes("still")))).toBe("still");
  });

  test("may be used inside a handler, for a server elsewhere", async () => {
    await using peer = await Peer.echo();
    using blocking = connectSync(peer.address);
    await using server = createServer().addRaw("a.B", {
      C: { kind: "unary", handle: (payload) => blocking.unary("test.Echo", "Echo", payload, BOUND) },
    });
    await using connection = await connect(await server.listen(temporaryAddress()));
    const calls = ["a", "b", "c"].map((payload) => connection.unary("a.B", "C", bytes(payload)));
    expect((await Promise.all(calls)).map(text)).toEqual(["a", "b", "c"]);
  });

  test("throws Unavailable when the server was killed before the call, and after", async () => {
    const peer = await Peer.echo();
    using connection = connectSync(peer.address);
    expect(text(connection.unary("test.Echo", "Echo", bytes("alive"), BOUND))).toBe("alive");
    await peer.kill();
    for (let round = 0; round < 3; round++) {
      const error = failureOf(() => connection.unary("test.Echo", "Echo", bytes("dead"), BOUND));
      expect(error).toMatchObject({ code: Code.Unavailable, cause: { code: expect.any(String) as string } });
    }
  });

  test("cannot be used after close, which may be repeated", async () => {
    await using peer = await Peer.echo();
    const connection = connectSync(peer.address);
    connection.close();
    connection.close();
    const error = failureOf(() => connection.unary("test.Echo", "Echo", EMPTY, BOUND));
    expect(error).toMatchObject({ code: Code.Unavailable, cause: { code: "ERR_TTRPC_CLOSED" } });
    expect(error.message).toContain(peer.address);
  });
});

describe("a blocking call", () => {
  test("throws Unavailable when its server dies over it", async () => {
    await using script = new Script(
      `
      const server = product.createServer();
      server.addRaw("a.B", { Die: { kind: "unary", handle: () => process.kill(process.pid, "SIGKILL") } });
      await server.listen(address);
      say("ready");
    `,
      temporaryAddress(),
    );
    expect(await script.nextLine()).toBe("ready");
    using connection = connectSync(script.address);
    const error = failureOf(() => connection.unary("a.B", "Die", EMPTY, BOUND));
    expect(error).toMatchObject({ code: Code.Unavailable, cause: { code: "ERR_TTRPC_CLOSED" } });
    const next = failureOf(() => connection.unary("a.B", "Die", EMPTY, BOUND));
    expect(next).toMatchObject({ code: Code.Unavailable, cause: { code: "ERR_TTRPC_CLOSED" } });
  });

  test.each([
    ["a unix socket", () => temporaryAddress(), (bound: string) => bound],
    ["an abstract name", () => abstractAddress(), (bound: string) => bound],
    ["a TCP port", () => "tcp://127.0.0.1:0", (bound: string) => bound],
    ["any TCP address", () => "tcp://0.0.0.0:0", (bound: string) => bound.replace("0.0.0.0", "127.0.0.1")],
    ["an IPv4 address", () => "tcp://127.0.0.1:0", (bound: string) => bound.replace("127.0.0.1", MAPPED)],
    ["its mapped address", () => `tcp://${MAPPED}:0`, (bound: string) => bound.replace(MAPPED, "127.0.0.1")],
    ["any address", () => "tcp://[::]:0", (bound: string) => bound.replace("[::]", MAPPED)],
  ])(
    "to a server of its own thread on %s throws FailedPrecondition instead of hanging",
    async (_, make, dialled) => {
      await using server = createServer().addRaw("a.B", {
        C: { kind: "unary", handle: () => bytes("reply") },
      });
      const address = dialled(await server.listen(make()));
      using connection = connectSync(address);
      for (let round = 0; round < 2; round++) {
        const error = failureOf(() => connection.unary("a.B", "C", EMPTY, { timeoutMs: 5000 }));
        expect(error.code).toBe(Code.FailedPrecondition);
        expect(error.message).toContain(address);
      }
      // The server still works.
      await using other = await connect(address);
      expect(text(await other.unary("a.B", "C", EMPTY))).toBe("reply");
    },
  );

  test("to a server of its own thread at the other end of a descriptor throws FailedPrecondition", async () => {
    await using listener = await RawServer.listen();
    const inherited = await rawConnect(listener.address);
    const other = await listener.accept();
    const source = `
      const empty = new Uint8Array();
      const server = product.createServer().addRaw("a.B", { C: { kind: "unary", handle: () => empty } });
      await server.listen({ fd: 3 });
      try {
        product.connectSync({ fd: 4 }).unary("a.B", "C", empty, { timeoutMs: 5000 });
      } catch (error) {
        say(product.Code[error.code]);
      }
      process.exit();
    `;
    await using script = new Script(source, "", { stdio: [inherited.socket, other.socket] });
    // The emulator of the arm64 suite knows no sock_diag. The call waits there, as on a kernel without unix_diag.
    const isEmulated = process.env["ARM64_NODE"] !== undefined;
    expect(await script.rest()).toEqual([isEmulated ? "DeadlineExceeded" : "FailedPrecondition"]);
  });

  test("to a server that this thread has closed throws Unavailable", async () => {
    const server = createServer().addRaw("a.B", { C: { kind: "unary", handle: () => EMPTY } });
    using connection = connectSync(await server.listen(temporaryAddress()));
    await server.close();
    const error = failureOf(() => connection.unary("a.B", "C", EMPTY, { timeoutMs: 5000 }));
    expect(error.code).toBe(Code.Unavailable);
  });

  test.each([
    ["a missing socket", () => temporaryAddress(), "ENOENT"],
    ["a socket without a server", () => staleSocket(), "ECONNREFUSED"],
  ])("throws if it cannot connect to %s", (_, make, code) => {
    const address = make();
    const error = failureOf(() => connectSync(address));
    expect(error).toMatchObject({ code: Code.Unavailable, cause: { code } });
    expect(error.message).toContain(address);
  });
});

/** The text of a reply, or the code of the error. */
function outcomeOf(call: () => Uint8Array): string | Code {
  try {
    return text(call());
  } catch (error) {
    return (error as TtrpcError).code;
  }
}
