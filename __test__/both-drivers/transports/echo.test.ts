import { once } from "node:events";
import { linkSync } from "node:fs";
import {
  type AddressInfo,
  connect as connectSocket,
  createServer as createSocketServer,
  type Socket,
} from "node:net";
import { Duplex } from "node:stream";
import * as product from "containerd-shim-protos";
import { type Address, Code, connect, type Connection, TtrpcError } from "containerd-shim-protos";
import { afterEach, describe, expect, test } from "vitest";
import { deferred, failure, text } from "../../helpers/outcome.js";
import { Script } from "../../helpers/script.js";
import { abstractAddress, pathOf, temporaryAddress, temporaryPath } from "../../helpers/temp.js";
import { echoServer, exercise, EXPECTED } from "./echo.js";

const EMPTY = new Uint8Array();

/** What to close after a test, whatever its outcome. */
const leftovers: (() => unknown)[] = [];
afterEach(async () => {
  for (const leave of leftovers.splice(0).toReversed()) await leave();
});

/** Both ends of a connection over one transport. */
interface Ends {
  readonly server: Address;
  /** The address of the client, which may depend on what listen returned. */
  readonly client: (bound: string) => Address;
  /** Whether the kernel says who the peer is. */
  readonly knowsPeer: boolean;
}

/** Two Duplexes, each of which reads what is written to the other. They have no descriptor. */
function duplexPair(): [Duplex, Duplex] {
  const ends: Duplex[] = [];
  const end = (other: number) =>
    new Duplex({
      read() {
        this.emit("room");
      },
      write(chunk, _encoding, done) {
        const peer = ends[other]!;
        // Writes wait for the other end's buffer, so there is backpressure, as on a socket.
        if (peer.push(chunk)) done();
        else peer.once("room", () => done());
      },
      final(done) {
        ends[other]!.push(null);
        done();
      },
      destroy(error, done) {
        ends[other]!.push(null);
        done(error);
      },
    });
  ends.push(end(1), end(0));
  return [ends[0]!, ends[1]!];
}

/** Two connected sockets of Node. */
async function socketPair(): Promise<[Socket, Socket]> {
  const server = createSocketServer().listen(temporaryPath(".sock"));
  await once(server, "listening");
  const client = connectSocket(server.address() as string);
  const [accepted] = (await once(server, "connection")) as [Socket];
  server.close();
  leftovers.push(() => [client, accepted].forEach((socket) => socket.destroy()));
  return [client, accepted];
}

const same = (server: Address, knowsPeer: boolean): Ends => ({ server, client: (bound) => bound, knowsPeer });

const TRANSPORTS: [name: string, open: () => Ends | Promise<Ends>][] = [
  ["a unix path", () => same(temporaryAddress(), true)],
  ["a bare path", () => same(pathOf(temporaryAddress()), true)],
  ["an abstract name", () => same(abstractAddress(), true)],
  ["tcp on IPv4", () => same("tcp://127.0.0.1:0", false)],
  ["tcp on IPv6", () => same("tcp://[::1]:0", false)],
  [
    "a pair of Duplexes",
    () => {
      const [client, server] = duplexPair();
      return { server, client: () => client, knowsPeer: false };
    },
  ],
  [
    "a pair of Node's sockets",
    async () => {
      const [client, server] = await socketPair();
      return { server, client: () => client, knowsPeer: false };
    },
  ],
];

/** Why vsock cannot loop back on this machine; undefined if it can. */
async function vsockFailure(): Promise<TtrpcError | undefined> {
  const server = product.createServer();
  try {
    await server.listen(VSOCK_SERVER);
    await (await connect(VSOCK_CLIENT, { connectTimeoutMs: 500 })).close();
    return undefined;
  } catch (error) {
    return TtrpcError.from(error);
  } finally {
    await server.close();
  }
}

const VSOCK_SERVER = "vsock://-1:52731";
/** The context id 1 is this machine itself. */
const VSOCK_CLIENT = "vsock://1:52731";
const noVsock = await vsockFailure();
if (noVsock === undefined) {
  TRANSPORTS.push(["vsock", () => ({ server: VSOCK_SERVER, client: () => VSOCK_CLIENT, knowsPeer: false })]);
}

/** Our client connected to our server. `aborted` has the codes with which the signals of held calls aborted. */
async function pairOver(open: () => Ends | Promise<Ends>) {
  const { server: address, client, knowsPeer } = await open();
  const aborted: number[] = [];
  const heard = deferred();
  const server = echoServer(product, (code) => {
    aborted.push(code);
    heard.resolve();
  });
  const connection = await connect(client(await server.listen(address)));
  leftovers.push(
    () => server.close({ graceMs: 0 }),
    () => connection.close(),
  );
  return { address, server, connection, knowsPeer, aborted, heard: heard.promise };
}

describe.each(TRANSPORTS)("over %s", (_, open) => {
  test("calls of all kinds echo what was sent", async () => {
    const { connection, knowsPeer } = await pairOver(open);
    expect(await exercise(connection)).toEqual(EXPECTED);
    const peer = text(await connection.unary("test.Echo", "Peer", EMPTY));
    expect(peer).toBe(knowsPeer ? `uid ${process.geteuid!()}` : "unknown");
  });

  test("the client's close fails its calls and reaches the handlers", async () => {
    const { connection, aborted, heard } = await pairOver(open);
    const held = failure(connection.unary("test.Echo", "Hold", EMPTY));
    await connection.unary("test.Echo", "Echo", EMPTY);
    await connection.close();
    expect(await held).toMatchObject({ code: Code.Unavailable });
    expect(await connection.closed).toEqual({ reason: "local" });
    await heard;
    expect(aborted).toEqual([Code.Canceled]);
  });

  test("the server's close comes after its replies and reaches the client", async () => {
    const { connection, server } = await pairOver(open);
    const reply = connection.unary("test.Echo", "Echo", new TextEncoder().encode("before"));
    expect(text(await reply)).toBe("before");
    await server.close();
    expect(await connection.closed).toEqual({ reason: "remote" });
    expect(await failure(connection.unary("test.Echo", "Echo", EMPTY))).toMatchObject({
      code: Code.Unavailable,
      cause: { code: "ERR_TTRPC_CLOSED" },
    });
  });
});

// Not a skip: this tests what a machine without a loopback answers, and with one the suite above runs.
describe.each(noVsock === undefined ? [] : [VSOCK_CLIENT])(
  "over %s, which this machine cannot loop back, so that only the refusal is tested",
  (address) => {
    test("connect says why", async () => {
      const error = await failure(connect(address, { connectTimeoutMs: 500 }));
      const cause = { code: expect.stringMatching(/^E[A-Z]+$/) as string };
      expect(error).toMatchObject({ code: Code.Unavailable, cause });
      expect(error.message).toContain(address);
    });
  },
);

describe("over a Duplex", () => {
  test("calls and `closed` carry the Duplex's own error when it fails", async () => {
    const connection = await connect(connectSocket("/none.sock"));
    const call = await failure(connection.unary("a.B", "C", EMPTY));
    const { reason, error } = await connection.closed;
    const later = await failure(connection.unary("a.B", "C", EMPTY));
    expect(reason).toBe("error");
    for (const each of [call, later, error]) {
      expect(each).toMatchObject({ code: Code.Unavailable, cause: { code: "ENOENT" } });
    }
  });

  test.each([
    ["an error of its own", () => Object.assign(new Error("boom"), { code: "EBOOM" })],
    [
      "an error whose code cannot be read",
      () =>
        Object.defineProperty(new Error("x"), "code", {
          get() {
            throw new Error("trap");
          },
        }),
    ],
  ])("calls of all kinds fail when it is destroyed with %s", async (_, make) => {
    const silent = new Duplex({ read() {}, write: (_chunk, _encoding, done) => done() });
    const connection = await connect(silent);
    const error = make();
    const failures = [
      failure(connection.unary("a.B", "C", EMPTY)),
      failure(connection.serverStreaming("a.B", "C", EMPTY).next()),
      failure(connection.clientStreaming("a.B", "C", (async function* () {})())),
    ];
    setImmediate(() => silent.destroy(error));
    for (const each of await Promise.all(failures)) {
      expect(each.code).toBe(Code.Unavailable);
      expect(each.cause).toBe(error);
    }
  });

  test("both of its ends are destroyed when one side closes", async () => {
    const [client, server] = duplexPair();
    const { connection } = await pairOver(() => ({ server, client: () => client, knowsPeer: false }));
    expect(text(await connection.unary("test.Echo", "Peer", EMPTY))).toBe("unknown");
    await connection.close();
    if (!client.closed) await once(client, "close");
    if (!server.closed) await once(server, "close");
  });

  test("its error is the reason why the connection ended", async () => {
    const [client, server] = duplexPair();
    const { connection } = await pairOver(() => ({ server, client: () => client, knowsPeer: false }));
    const held = failure(connection.unary("test.Echo", "Hold", EMPTY));
    await connection.unary("test.Echo", "Echo", EMPTY);
    const cause = new Error("the cable was cut");
    client.destroy(cause);
    expect(await held).toMatchObject({ code: Code.Unavailable });
    const why = await connection.closed;
    expect(why).toMatchObject({ reason: "error", error: { code: Code.Unavailable, cause } });
  });
});

/** The number of a listener's descriptor, for a child to inherit. */
function descriptorOf(listener: ReturnType<typeof createSocketServer>): number {
  return (listener as unknown as { _handle: { fd: number } })._handle.fd;
}

const SERVER_IN_CHILD = `
  const aborted = (code) => say("aborted " + code);
  const server = (${echoServer.toString()})(product, aborted);
  say(await server.listen({ fd: 3 }));
`;

describe("over an inherited descriptor", () => {
  /** A server whose listener this process bound, and the address that it is bound to. */
  async function inheritedListener(address: { port: number; host: string } | { path: string }) {
    const listener = createSocketServer().listen(address);
    await once(listener, "listening");
    const bound = listener.address() as AddressInfo | string;
    let client: string;
    if (typeof bound === "string") {
      // Node removes the file when this process closes its copy, so the socket gets a second name.
      linkSync(bound, `${bound}.kept`);
      client = `unix://${bound}.kept`;
    } else client = `tcp://${bound.address}:${bound.port}`;
    const script = new Script(SERVER_IN_CHILD, "", { stdio: [descriptorOf(listener) as unknown as Socket] });
    leftovers.push(() => script.kill());
    // Otherwise this process would accept some of the connections.
    listener.close();
    return { script, client };
  }

  test.each([
    ["of a tcp listener", { port: 0, host: "127.0.0.1" }],
    ["of a unix listener", { path: temporaryPath(".sock") }],
  ])("%s, a server in another process serves all kinds of calls", async (_, address) => {
    const { script, client } = await inheritedListener(address);
    expect(await script.nextLine()).toBe("fd:3");
    const connection = await connect(client);
    leftovers.push(() => connection.close());
    expect(await exercise(connection)).toEqual(EXPECTED);
    const held = failure(connection.unary("test.Echo", "Hold", EMPTY));
    await connection.unary("test.Echo", "Echo", EMPTY);
    await connection.close();
    expect(await held).toMatchObject({ code: Code.Unavailable });
    expect(await script.nextLine()).toBe(`aborted ${Code.Canceled}`);
  });

  test("of a connection, a server in another process serves its only peer, and ends with it", async () => {
    const [ours, theirs] = await socketPair();
    const script = new Script(SERVER_IN_CHILD, "", { stdio: [theirs] });
    leftovers.push(() => script.kill());
    expect(await script.nextLine()).toBe("fd:3");
    theirs.destroy();
    const connection: Connection = await connect(ours);
    expect(await exercise(connection)).toEqual(EXPECTED);
    await connection.close();
    // Nothing else keeps the process alive.
    expect(await script.rest()).toEqual([]);
  });

  test("of a connection, a client in another process makes all kinds of calls", async () => {
    const [ours, theirs] = await socketPair();
    const server = echoServer(product, () => undefined);
    await server.listen(ours);
    leftovers.push(() => server.close({ graceMs: 0 }));
    const script = new Script(
      `
      const connection = await product.connect({ fd: 3 });
      for (const line of await (${exercise.toString()})(connection)) say(line);
      await connection.close();
    `,
      "",
      { stdio: [theirs] },
    );
    leftovers.push(() => script.kill());
    theirs.destroy();
    expect(await script.rest()).toEqual(EXPECTED);
  });
});
