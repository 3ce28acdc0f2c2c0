import { once } from "node:events";
import { Duplex, PassThrough } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { Code, connect, createServer, type HandlerContext } from "containerd-shim-protos";
import { Mux } from "containerd-shim-protos/nri";
import { afterEach, describe, expect, test, vi } from "vitest";
import { decodeFrame, encodeFrame, encodeRequest, encodeResponse, FrameType } from "../../helpers/wire.js";

const EMPTY = new Uint8Array();

afterEach(() => {
  vi.useRealTimers();
});

/** A request for a.B/C. */
function request(streamId: number): Buffer {
  const body = encodeRequest({ service: "a.B", method: "C" });
  return encodeFrame({ streamId, type: FrameType.Request, body });
}

/** A Duplex that takes nothing of what is written to it. `called` resolves with the first write. */
function stuck() {
  const duplex = new Duplex({
    read() {},
    write() {
      this.emit("stuck");
    },
  });
  return { duplex, called: once(duplex, "stuck") };
}

function framesIn(bytes: Buffer): number {
  const frame = decodeFrame(bytes);
  return frame === undefined ? 0 : 1 + framesIn(frame.rest);
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}

describe("a Duplex that is in use", () => {
  const users: [string, (duplex: Duplex) => Promise<AsyncDisposable>][] = [
    ["a connection", (duplex) => connect(duplex)],
    [
      "a server",
      (duplex) =>
        createServer()
          .listen(duplex)
          .then(() => new PassThrough()),
    ],
    ["a mux", (duplex) => Mux.connect(duplex)],
  ];
  const pairs = users.flatMap((first) => users.map((second) => ({ first, second })));

  test.each(pairs)("by $first.0 is refused to $second.0", async ({ first, second }) => {
    const duplex = new Duplex({ read() {}, write: (_chunk, _encoding, done) => done() });
    await using _owner = await first[1](duplex);
    await expect(second[1](duplex)).rejects.toMatchObject({
      code: Code.FailedPrecondition,
      message: expect.stringMatching(/over a Duplex cannot be made: this package uses it already$/),
    });
    expect(duplex.destroyed).toBe(false);
    duplex.destroy();
  });
});

describe("a Duplex whose writing side somebody else ends", () => {
  const ended = { code: Code.Unavailable, message: expect.stringMatching(/its writing side ended$/) };

  test("before it has finished ends the connection that is made over it", async () => {
    const duplex = new Duplex({ read() {}, write: (_chunk, _encoding, done) => done() });
    duplex.end();
    await using connection = await connect(duplex);
    await expect(connection.unary("a.B", "C", EMPTY)).rejects.toMatchObject(ended);
  });

  test("ends the connection and its calls", async () => {
    const duplex = new Duplex({ read() {}, write: (_chunk, _encoding, done) => done() });
    await using connection = await connect(duplex);
    const call = connection.unary("a.B", "C", EMPTY);
    duplex.end();
    await expect(call).rejects.toMatchObject(ended);
    expect(await connection.closed).toMatchObject({ reason: "error" });
  });
});

describe("a Duplex of a server", () => {
  test("that is destroyed has nothing to pass on, and holds up no close()", async () => {
    const duplex = new Duplex({ read() {}, write: (_chunk, _encoding, done) => done() });
    const server = createServer().addRaw("a.B", {});
    await server.listen(duplex);
    duplex.destroy();
    const closed = server.close().then(() => "closed");
    expect(await Promise.race([closed, sleep(4000, "late", { ref: false })])).toBe("closed");
  });

  test("has passed on all replies when close() resolves, however slow it is", async () => {
    const left: Buffer[] = [];
    const slow = new Duplex({
      read() {},
      write(chunk: Buffer, _encoding, done) {
        setTimeout(() => {
          left.push(chunk);
          done();
        }, 20);
      },
    });
    const handled: HandlerContext[] = [];
    const server = createServer().addRaw("a.B", {
      C: {
        kind: "unary",
        handle(_, context) {
          handled.push(context);
          return EMPTY;
        },
      },
    });
    await server.listen(slow);
    for (const streamId of [1, 3, 5, 7]) slow.push(request(streamId));
    while (handled.length < 4) await nextTurn();
    await server.close();
    expect(framesIn(Buffer.concat(left))).toBe(4);
    expect(slow.destroyed).toBe(true);
  });

  test("keeps close() no longer than the grace time if it takes nothing", async () => {
    const { duplex, called } = stuck();
    const server = createServer().addRaw("a.B", { C: { kind: "unary", handle: () => EMPTY } });
    await server.listen(duplex);
    duplex.push(request(1));
    await called;
    await server.close({ graceMs: 10 });
    expect(duplex.destroyed).toBe(false);
    duplex.destroy();
  });
});

describe("a Duplex of a client", () => {
  test.each([
    ["alone", () => undefined],
    ["and that of its writing side, as if the peer had closed both", (peer: Duplex) => peer.end()],
  ])("delivers a reply that comes right before its end %s, of any size", async (_what, close) => {
    for (let size = 90_000; size < 240_000; size += 10_000) {
      const body = encodeResponse({ payload: new Uint8Array(size) });
      const reply = encodeFrame({ streamId: 1, type: FrameType.Response, body });
      const peer = new Duplex({
        allowHalfOpen: false,
        read() {},
        write(_chunk, _encoding, done) {
          for (let at = 0; at < reply.length; at += 4096) this.push(reply.subarray(at, at + 4096));
          this.push(null);
          close(this);
          done();
        },
      });
      await using connection = await connect(peer);
      expect((await connection.unary("a.B", "C", EMPTY)).length).toBe(size);
      expect(await connection.closed).toMatchObject({ reason: "remote" });
    }
  });

  test("is destroyed in the end if it takes nothing", async () => {
    const { duplex, called } = stuck();
    const connection = await connect(duplex);
    connection.unary("a.B", "C", EMPTY).catch(() => undefined);
    await called;
    await connection.close();
    expect(duplex.destroyed).toBe(false);
    // It has five seconds.
    await vi.waitUntil(() => duplex.destroyed, 15_000);
  });

  test("may emit more than one error", async () => {
    const duplex = new Duplex({
      read() {},
      write(_chunk, _encoding, done) {
        this.emit("error", new Error("first"));
        this.emit("error", new Error("second"));
        done();
      },
    });
    const connection = await connect(duplex);
    connection.unary("a.B", "C", EMPTY).catch(() => undefined);
    expect(await connection.closed).toMatchObject({ error: { cause: { message: "first" } } });
  });
});
