import { once } from "node:events";
import { createServer as createSocketServer } from "node:net";
import { Code, connect, createServer } from "containerd-shim-protos";
import { describe, expect, onTestFinished, test } from "vitest";
import { aborted, bytes, failure, text } from "../helpers/outcome.js";
import { describeWithPeer, Peer } from "../helpers/peer.js";
import { rawConnect, RawServer } from "../helpers/raw-peer.js";
import { Script } from "../helpers/script.js";
import { temporaryAddress } from "../helpers/temp.js";

const EMPTY = new Uint8Array();
const FOREVER = bytes("600000");

describe("the process of a client", () => {
  test("ends by itself while a connection is open and idle", async () => {
    await using server = await RawServer.listen();
    await using script = new Script(
      `
      const connection = await product.connect(address);
      say(new TextDecoder().decode(await connection.unary("a.B", "C", new Uint8Array())));
    `,
      server.address,
    );
    const peer = await server.accept();
    const { streamId } = await peer.nextRequest();
    await peer.reply(streamId, bytes("reply"));
    expect(await script.rest()).toEqual(["reply"]);
  });

  test("ends by itself when no call was ever made", async () => {
    await using server = await RawServer.listen();
    await using script = new Script(`await product.connect(address); say("connected");`, server.address);
    expect(await script.rest()).toEqual(["connected"]);
  });

  test("keeps running while a call waits for its reply, and ends after it", async () => {
    await using server = await RawServer.listen();
    await using script = new Script(
      `
      const connection = await product.connect(address);
      connection.unary("a.B", "C", new Uint8Array()).then((reply) => say(new TextDecoder().decode(reply)));
      sayIfHeld("held");
    `,
      server.address,
    );
    const peer = await server.accept();
    const { streamId } = await peer.nextRequest();
    expect(await script.nextLine()).toBe("held");
    await peer.reply(streamId, bytes("reply"));
    expect(await script.rest()).toEqual(["reply"]);
  });

  test("keeps running while a call waits for the peer to read what came before it", async () => {
    const address = temporaryAddress();
    const server = createSocketServer({ pauseOnConnect: true }).listen(address.replace("unix://", ""));
    onTestFinished(() => void server.close());
    await once(server, "listening");
    await using script = new Script(
      `
      const connection = await product.connect(address);
      const more = new Uint8Array(2 << 20);
      for (const timeoutMs of [50, 100])
        await connection.unary("a.B", "C", more, { timeoutMs }).catch(({ code }) => say(String(code)));
    `,
      address,
    );
    // Of the second call nothing has left.
    expect(await script.rest()).toEqual(["4", "4"]);
  });

  test("ends while a call waits if the connection is unref'd", async () => {
    await using server = await RawServer.listen();
    await using script = new Script(
      `
      const connection = await product.connect(address);
      connection.unary("a.B", "C", new Uint8Array()).then(say, say);
      process.on("exit", () => say("exit"));
      connection.unref();
    `,
      server.address,
    );
    expect(await script.rest()).toEqual(["exit"]);
  });

  test("keeps running while an idle connection is ref'd, until it is closed", async () => {
    await using server = await RawServer.listen();
    await using script = new Script(
      `
      const connection = await product.connect(address);
      connection.ref().closed.then(({ reason }) => say(reason));
      sayIfHeld("held");
    `,
      server.address,
    );
    const peer = await server.accept();
    expect(await script.nextLine()).toBe("held");
    peer.end();
    expect(await script.rest()).toEqual(["remote"]);
  });

  test("keeps running until the deadline of a call that is never answered", async () => {
    await using server = await RawServer.listen();
    await using script = new Script(
      `
      const connection = await product.connect(address);
      await connection.unary("a.B", "C", new Uint8Array(), { timeoutMs: 50 }).catch(({ code }) => say(String(code)));
    `,
      server.address,
    );
    expect(await script.rest()).toEqual(["4"]);
  });

  test("ends after a blocking call", async () => {
    await using server = createServer().addRaw("a.B", { C: { kind: "unary", handle: () => bytes("reply") } });
    await using script = new Script(
      `
      const connection = product.connectSync(address);
      say(new TextDecoder().decode(connection.unary("a.B", "C", new Uint8Array())));
    `,
      await server.listen(temporaryAddress()),
    );
    expect(await script.rest()).toEqual(["reply"]);
  });

  test("may end at any moment while calls are in flight", async () => {
    await using server = createServer().addRaw("a.B", {
      Hold: { kind: "unary", handle: (_, { signal }) => aborted(signal).then(() => EMPTY) },
      C: { kind: "unary", handle: () => EMPTY },
    });
    const address = await server.listen(temporaryAddress());
    await using script = new Script(
      `
      const connection = await product.connect(address);
      const own = product.createServer().addRaw("a.B", { C: { kind: "unary", handle: () => new Uint8Array() } });
      const second = await product.connect(await own.listen(address + "2"));
      connection.unary("a.B", "Hold", new Uint8Array());
      second.unary("a.B", "C", new Uint8Array());
      await connection.unary("a.B", "C", new Uint8Array());
      process.on("exit", () => say("exit"));
      process.exit(0);
    `,
      address,
    );
    expect(await script.rest()).toEqual(["exit"]);
  });
});

describe("the process of a server", () => {
  const SERVER = `
    const server = product.createServer();
    server.addRaw("a.B", {
      C: { kind: "unary", handle: (payload) => payload },
      Close: { kind: "unary", handle(payload) { server.close().then(() => say("closed")); return payload; } },
    });
    say(await server.listen(address));
    sayIfHeld("held");
  `;

  test("keeps running while it listens, and ends after close", async () => {
    await using script = new Script(SERVER, temporaryAddress());
    expect(await script.nextLine()).toBe(script.address);
    expect(await script.nextLine()).toBe("held");
    await using connection = await connect(script.address);
    expect(text(await connection.unary("a.B", "C", bytes("served")))).toBe("served");
    expect(text(await connection.unary("a.B", "Close", bytes("last")))).toBe("last");
    expect(await script.rest()).toEqual(["closed"]);
    expect(await connection.closed).toEqual({ reason: "remote" });
  });

  test("ends after close even if an idle client stays connected", async () => {
    await using script = new Script(SERVER, temporaryAddress());
    expect(await script.nextLine()).toBe(script.address);
    using idle = await rawConnect(script.address);
    await using connection = await connect(script.address);
    await connection.unary("a.B", "Close", EMPTY);
    expect(await script.rest()).toContain("closed");
    await idle.ended;
  });

  test("can use a connection that it inherited", async () => {
    await using server = await RawServer.listen();
    const inherited = await rawConnect(server.address);
    const peer = await server.accept();
    await using script = new Script(
      `
      const connection = await product.connect({ fd: 3 });
      say(connection.address);
      say(new TextDecoder().decode(await connection.unary("a.B", "C", new Uint8Array())));
    `,
      "",
      { stdio: [inherited.socket] },
    );
    inherited.socket.destroy();
    const { streamId } = await peer.nextRequest();
    await peer.reply(streamId, bytes("through fd 3"));
    expect(await script.rest()).toEqual(["fd:3", "through fd 3"]);
  });
});

describeWithPeer("a connection whose peer is killed", () => {
  test("fails all its calls with the same error, then each later one at once, and reports its end once", async () => {
    await using peer = await Peer.echo();
    await using connection = await connect(peer.address);
    const calls = Array.from({ length: 200 }, () =>
      failure(connection.unary("test.Echo", "Sleep", FOREVER, { timeoutMs: 300_000 })),
    );
    // Once the peer answers this one, it has read them all.
    await connection.unary("test.Echo", "Echo", EMPTY);
    await peer.kill();

    const errors = await Promise.all(calls);
    const kinds = errors.map(({ code, cause, message }) => JSON.stringify([code, cause, message]));
    expect(new Set(kinds).size).toBe(1);
    expect(errors[0]).toMatchObject({ code: Code.Unavailable, cause: { code: "ERR_TTRPC_CLOSED" } });

    const why = await connection.closed;
    expect(why).toEqual({ reason: "remote" });
    expect(await connection.closed).toBe(why);
    const later = await failure(connection.unary("test.Echo", "Echo", EMPTY));
    expect(later).toMatchObject({ code: Code.Unavailable, cause: { code: "ERR_TTRPC_CLOSED" } });
    expect(later.message).toContain(peer.address);
    await connection.close();
    expect(await connection.closed).toBe(why);
  });

  test("leaves other connections alone", async () => {
    await using doomed = await Peer.echo();
    await using other = await Peer.echo();
    await using connection = await connect(doomed.address);
    await using living = await connect(other.address);
    const lost = failure(connection.unary("test.Echo", "Sleep", FOREVER));
    const kept = living.unary("test.Echo", "Sleep", bytes("20"));
    await connection.unary("test.Echo", "Echo", EMPTY);
    await doomed.kill();
    expect(await lost).toMatchObject({ code: Code.Unavailable });
    expect(text(await kept)).toBe("20");
  });

  test("notices it while it is idle, and a new server can be connected to", async () => {
    const peer = await Peer.echo();
    await using connection = await connect(peer.address);
    // A connection that was not accepted yet would be reset.
    await connection.unary("test.Echo", "Echo", EMPTY);
    await peer.kill();
    expect(await connection.closed).toEqual({ reason: "remote" });

    await using next = await Peer.echo(peer.address);
    await using again = await connect(next.address);
    expect(text(await again.unary("test.Echo", "Echo", bytes("again")))).toBe("again");
  });
});

describe("closing a connection", () => {
  test("fails the calls in flight, and may be repeated", async () => {
    await using server = await RawServer.listen();
    const connection = await connect(server.address);
    const peer = await server.accept();
    const calls = [1, 2].map(() => failure(connection.unary("a.B", "C", EMPTY)));
    await peer.nextRequest();
    await peer.nextRequest();
    const { stackTraceLimit } = Error;

    const closing = [connection.close(), connection.close()];
    for (const error of await Promise.all(calls)) {
      expect(error).toMatchObject({ code: Code.Unavailable, cause: { code: "ERR_TTRPC_CLOSED" } });
    }
    // Frames of this package would say nothing; those of who waits for the call do.
    expect((await calls[0])?.stack).toContain("lifecycle.test.ts");
    expect((await calls[0])?.stack).not.toMatch(/(?<!node_modules.*)\/dist\//);
    expect(Error.stackTraceLimit).toBe(stackTraceLimit);
    await Promise.all(closing);
    await connection.close();
    expect(await connection.closed).toEqual({ reason: "local" });
    await peer.ended;
    const later = await failure(connection.unary("a.B", "C", EMPTY));
    expect(later).toMatchObject({ code: Code.Unavailable, cause: { code: "ERR_TTRPC_CLOSED" } });
    expect(later.message).toContain(server.address);
  });

  test("in the tick of a call fails the call", async () => {
    await using server = await RawServer.listen();
    const connection = await connect(server.address);
    const call = failure(connection.unary("a.B", "C", EMPTY));
    await connection.close();
    expect(await call).toMatchObject({ code: Code.Unavailable });
  });

  test("happens at the end of an await using block", async () => {
    await using server = await RawServer.listen();
    let closed;
    {
      await using connection = await connect(server.address);
      ({ closed } = connection);
    }
    expect(await closed).toEqual({ reason: "local" });
    await (
      await server.accept()
    ).ended;
  });

  test("leaves ref and unref without effect and without error", async () => {
    await using server = await RawServer.listen();
    const connection = await connect(server.address);
    await connection.close();
    expect(connection.ref().unref()).toBe(connection);
  });
});
