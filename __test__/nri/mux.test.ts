import { once } from "node:events";
import { createServer as createSocketServer, type Socket } from "node:net";
import { Duplex, PassThrough } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { Code, connect, createServer } from "containerd-shim-protos";
import { Mux } from "containerd-shim-protos/nri";
import * as fc from "fast-check";
import { describe, expect, it, onTestFinished } from "vitest";
import { temporaryPath } from "../helpers/temp.js";

const PAYLOAD_LIMIT = (4 << 20) + 10;

/** A mux over a socket, and the other end of the socket. */
async function muxAndPeer(
  options?: ConstructorParameters<typeof Mux>[1],
): Promise<{ mux: Mux; peer: Socket }> {
  const path = temporaryPath(".sock");
  const listener = createSocketServer().listen(path);
  await once(listener, "listening");
  const accepted = once(listener, "connection") as Promise<[Socket]>;
  const mux = await Mux.connect(path, options);
  const [peer] = await accepted;
  peer.on("error", () => undefined);
  onTestFinished(async () => {
    await mux.close();
    peer.destroy();
    listener.close();
  });
  return { mux, peer };
}

function frame(id: number, payload: Uint8Array): Buffer {
  const header = Buffer.alloc(8);
  header.writeUInt32BE(id, 0);
  header.writeUInt32BE(payload.length, 4);
  return Buffer.concat([header, payload]);
}

/** A ttrpc message of this many bytes after its header. */
function message(length: number): Buffer {
  const bytes = Buffer.alloc(10 + length, length % 251);
  bytes.writeUInt32BE(length, 0);
  return bytes;
}

async function read(stream: NodeJS.ReadableStream, length: number): Promise<Buffer> {
  let bytes = Buffer.alloc(0);
  while (bytes.length < length) {
    const chunk = stream.read() as Buffer | null;
    if (chunk === null) await once(stream, "readable");
    else bytes = Buffer.concat([bytes, chunk]);
  }
  return bytes;
}

describe("a mux", () => {
  it("carries calls in both directions over one socket", async () => {
    const { mux, peer } = await muxAndPeer();
    const far = new Mux(peer);
    const echo = { Echo: { kind: "unary", handle: (payload: Uint8Array) => payload } } as const;
    const servers = [createServer().addRaw("test.Echo", echo), createServer().addRaw("test.Echo", echo)];
    await servers[0]?.listen(mux.open(1));
    await servers[1]?.listen(far.open(2));
    const connections = [await connect(far.open(1)), await connect(mux.open(2))];
    const sizes = [0, 1, 4000, 4086, 4096, 5000, 100_000, (4 << 20) - 100];
    await Promise.all(
      connections.map(async (connection) => {
        for (const size of sizes) {
          const payload = new Uint8Array(size).fill(size % 251);
          expect(Buffer.compare(await connection.unary("test.Echo", "Echo", payload), payload)).toBe(0);
        }
      }),
    );
    await mux.close();
    expect(await mux.closed).toEqual({ reason: "local" });
    expect(await far.closed).toEqual({ reason: "remote" });
    for (const connection of connections) await connection.closed;
    for (const server of servers) await server.close();
  });

  it("sends each message in at most two frames, of which Go's buffer holds the first", async () => {
    const { mux, peer } = await muxAndPeer();
    const connection = mux.open(7);
    const lengths = [0, 1, 4085, 4086, 4087, 70_000, 4 << 20];
    const all = Buffer.concat(lengths.map(message));
    const chunks = fc.sample(fc.integer({ min: 1, max: 200_000 }), { numRuns: 2000, seed: 1 });
    for (let at = 0, index = 0; at < all.length; index++) {
      const size = chunks[index % chunks.length] ?? 1;
      connection.write(all.subarray(at, at + size));
      at += size;
    }
    const expected = lengths.flatMap((length) => {
      const size = 10 + length;
      return size > 4096 ? [4096, size - 4096] : [size];
    });
    const received = await read(peer, all.length + 8 * expected.length);
    const sizes: number[] = [];
    const payloads: Buffer[] = [];
    for (let at = 0; at < received.length;) {
      expect(received.readUInt32BE(at)).toBe(7);
      const size = received.readUInt32BE(at + 4);
      sizes.push(size);
      payloads.push(received.subarray(at + 8, at + 8 + size));
      at += 8 + size;
    }
    expect(sizes).toEqual(expected);
    expect(Buffer.compare(Buffer.concat(payloads), all)).toBe(0);
  });

  it("delivers what came in frames and chunks of any size, and drops what is not for an open connection", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.constantFrom(0, 1, 2, 9), fc.uint8Array({ maxLength: 300 })), { maxLength: 30 }),
        fc.integer({ min: 1, max: 50 }),
        async (frames, chunkSize) => {
          const trunk = new PassThrough();
          const mux = new Mux(Duplex.from({ readable: trunk, writable: new PassThrough() }));
          const received = new Map([1, 2].map((id) => [id, [] as Buffer[]]));
          for (const [id, chunks] of received) mux.open(id).on("data", (chunk: Buffer) => chunks.push(chunk));
          const bytes = Buffer.concat(frames.map(([id, payload]) => frame(id, payload)));
          for (let at = 0; at < bytes.length; at += chunkSize)
            trunk.write(bytes.subarray(at, at + chunkSize));
          trunk.end();
          expect(await mux.closed).toEqual({ reason: "remote" });
          for (const [id, chunks] of received) {
            const expected = Buffer.concat(frames.filter(([to]) => to === id).map(([, payload]) => payload));
            expect(Buffer.concat(chunks).equals(expected)).toBe(true);
          }
        },
      ),
      { numRuns: 50 },
    );
  });

  it("ends at a frame longer than a ttrpc message, and says so", async () => {
    const { mux, peer } = await muxAndPeer();
    const connection = mux.open(1).on("error", () => undefined);
    const header = Buffer.alloc(8);
    header.writeUInt32BE(1, 0);
    header.writeUInt32BE(PAYLOAD_LIMIT + 1, 4);
    peer.write(header);
    const { reason, error } = await mux.closed;
    expect(reason).toBe("protocol");
    expect(error?.message).toBe(
      `a frame of connection 1 has ${PAYLOAD_LIMIT + 1} bytes; ${PAYLOAD_LIMIT} are allowed`,
    );
    expect(connection.errored).toBe(error);
  });

  it.each([
    ["header", Buffer.alloc(5)],
    ["payload", frame(1, new Uint8Array(10)).subarray(0, 12)],
  ])("tells an end in the middle of a %s from one between frames", async (_, bytes) => {
    const { mux, peer } = await muxAndPeer();
    mux.open(1).on("error", () => undefined);
    peer.end(bytes);
    expect(await mux.closed).toMatchObject({
      reason: "error",
      error: {
        code: Code.Unavailable,
        message: expect.stringContaining("in the middle of a frame") as string,
      },
    });
  });

  it("ends the connections that nobody has taken yet, and not the process", async () => {
    const { mux, peer } = await muxAndPeer();
    const connection = mux.open(1);
    const header = Buffer.alloc(8, 0xff);
    peer.write(header);
    const { error } = await mux.closed;
    const closed = await (await connect(connection)).closed;
    expect(closed.error?.message).toContain("a frame of connection 4294967295 has");
    expect(connection.errored).toBe(error);
  });

  it("says ENOENT where nobody listens, and ECONNREFUSED where nobody listens any more", async () => {
    const path = temporaryPath(".sock");
    await expect(Mux.connect(path)).rejects.toMatchObject({
      code: Code.Unavailable,
      message: expect.stringContaining(`cannot connect to unix://${path}: ENOENT`) as string,
      cause: { code: "ENOENT" },
    });
    await expect(Mux.connect("tcp://127.0.0.1:1")).rejects.toMatchObject({ cause: { code: "ECONNREFUSED" } });
    await expect(Mux.connect("vsock://2:1")).rejects.toThrow(TypeError);
    const signal = AbortSignal.abort();
    await expect(Mux.connect(path, { signal })).rejects.toMatchObject({ code: Code.Canceled });
  });

  it("tells its connections why its socket failed", async () => {
    const trunk = new PassThrough();
    const mux = new Mux(trunk);
    const connection = await connect(mux.open(2));
    trunk.destroy(Object.assign(new Error("gone"), { code: "ECONNRESET" }));
    expect(await mux.closed).toMatchObject({ reason: "error", error: { cause: { code: "ECONNRESET" } } });
    const { reason, error } = await connection.closed;
    expect(reason).toBe("error");
    expect(error?.message).toContain("gone");
  });

  it("holds back its peer while a connection is not read, and ends if that lasts", async () => {
    const { mux, peer } = await muxAndPeer({ stallTimeoutMs: 300 });
    const unread = mux.open(1).on("error", () => undefined);
    const payload = new Uint8Array(1 << 20);
    let isDone = false;
    for (let index = 0; index < 64; index++) peer.write(frame(1, payload));
    peer.write(frame(1, payload), () => (isDone = true));
    await sleep(100);
    expect(isDone).toBe(false);
    expect(unread.readableLength).toBeLessThan(1 << 20);
    unread.resume();
    // What was held back comes when somebody reads.
    await new Promise<void>((resolve) => peer.once("drain", resolve));
    unread.pause();
    for (let index = 0; index < 64; index++) peer.write(frame(1, payload));
    expect(await mux.closed).toMatchObject({ reason: "error", error: { code: Code.ResourceExhausted } });
  });

  it("refuses numbers that are no connection's, and one that is open", async () => {
    const { mux } = await muxAndPeer();
    for (const id of [0, -1, 1.5, 2 ** 32, Number.NaN, "1" as unknown as number])
      expect(() => mux.open(id)).toThrow(/a connection's number must be an integer/);
    const connection = mux.open(3);
    expect(() => mux.open(3)).toThrow("connection 3 is open already");
    connection.destroy();
    await once(connection, "close");
    expect(() => mux.open(3)).not.toThrow();
    expect(() => new Mux({} as Duplex)).toThrow(TypeError);
    expect(() => new Mux(new PassThrough(), { stallTimeout: 1 } as object)).toThrow(
      "did you mean stallTimeoutMs?",
    );
  });
});
