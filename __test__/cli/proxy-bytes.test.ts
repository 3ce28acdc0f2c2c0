import { once } from "node:events";
import { readFileSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { pathOf, temporaryAddress, temporaryPath } from "../helpers/temp.js";
import { relay } from "../../src/cli/proxy/relay.js";
import { RawServer } from "../helpers/raw-peer.js";
import { encodeFrame, FrameType } from "../helpers/wire.js";
import { Shimctl } from "./shimctl.js";

import { proxyTo, shown } from "./proxied.js";
describe("shimctl proxy", () => {
  /** Connects through a proxy. The test holds both ends. */
  async function through(...options: string[]): Promise<Ends> {
    const target = temporaryAddress();
    const accepted: Socket[] = [];
    const server: Server = createServer({ allowHalfOpen: true }, (socket) => accepted.push(socket));
    server.listen(pathOf(target));
    await once(server, "listening");
    const proxy = await proxyTo(target, ...options);
    accepted.splice(0).forEach((probe) => probe.destroy());
    const connected = once(server, "connection");
    const client = connect({ path: pathOf(proxy.address), allowHalfOpen: true });
    await Promise.all([once(client, "connect"), connected]);
    return {
      proxy,
      client,
      server: accepted.at(-1)!,
      async [Symbol.asyncDispose]() {
        for (const socket of [client, ...accepted]) socket.destroy();
        server.close();
        await proxy[Symbol.asyncDispose]();
      },
    };
  }

  interface Ends extends AsyncDisposable {
    readonly proxy: Shimctl;
    readonly client: Socket;
    readonly server: Socket;
  }

  // Leaving a `for await` would end the other direction, too.
  async function readAll(socket: Socket): Promise<Buffer> {
    const chunks: Buffer[] = [];
    socket.on("data", (chunk: Buffer) => chunks.push(chunk));
    await once(socket, "end");
    return Buffer.concat(chunks);
  }

  it("passes on exactly what it gets, in both directions, whatever it is", async () => {
    const bytes = fc.uint8Array({ maxLength: 3000 });
    const frame = fc
      .record({
        streamId: fc.nat(),
        type: fc.nat(5),
        flags: fc.nat(7),
        body: fc.uint8Array({ maxLength: 500 }),
      })
      .map((fields) => encodeFrame(fields));
    const traffic = fc.array(fc.oneof({ weight: 5, arbitrary: frame }, { weight: 1, arbitrary: bytes }));
    await fc.assert(
      fc.asyncProperty(traffic, traffic, async (up, down) => {
        await using pair = await through();
        const received = Promise.all([readAll(pair.server), readAll(pair.client)]);
        for (const chunk of up) pair.client.write(chunk);
        for (const chunk of down) pair.server.write(chunk);
        pair.client.end();
        pair.server.end();
        const [atServer, atClient] = await received;
        expect(atServer.equals(Buffer.concat(up))).toBe(true);
        expect(atClient.equals(Buffer.concat(down))).toBe(true);
      }),
      { numRuns: 10 },
    );
  });

  it("passes 64 MiB to a slow reader and stays small", async () => {
    await using ends = await through();
    const size = 64 << 20;
    const block = Buffer.alloc(1 << 20, "x");
    void (async () => {
      for (let sent = 0; sent < size; sent += block.length) {
        if (!ends.client.write(encodeFrame({ streamId: 1, type: 9, body: block }).subarray(10))) {
          await once(ends.client, "drain");
        }
      }
      ends.client.end();
    })();
    let received = 0;
    let most = 0;
    for await (const chunk of ends.server) {
      received += (chunk as Buffer).length;
      if (received % (8 << 20) < (chunk as Buffer).length) {
        await new Promise((resolve) => setTimeout(resolve, 20));
        most = Math.max(most, residentMiB(ends.proxy.pid));
      }
    }
    expect(received).toBe(size);
    expect(most).toBeLessThan(256);
  });

  it("passes on the end of one direction while the other continues", async () => {
    await using ends = await through();
    ends.client.end("question");
    expect((await readAll(ends.server)).toString()).toBe("question");
    ends.server.end("answer");
    expect((await readAll(ends.client)).toString()).toBe("answer");
  });

  it("passes on what is not ttrpc, and reports it", async () => {
    await using ends = await through("--json");
    ends.client.write("GET / HTTP/1.1\r\n\r\n");
    const [chunk] = (await once(ends.server, "data")) as [Buffer];
    expect(chunk.toString()).toContain("GET /");
    await ends.proxy.says('"event":"lost","from":"client"');
  });

  it("prints the bytes of what it cannot decode", async () => {
    await using ends = await through("--json");
    ends.client.write(encodeFrame({ streamId: 7, type: 1, body: Buffer.from("ff", "hex") }));
    ends.client.write(encodeFrame({ streamId: 9, type: 6, body: Buffer.from("abcd", "hex") }));
    await ends.proxy.says('"stream":9');
    const frames = shown(ends.proxy.stdout).filter(({ event }) => event === "frame");
    expect(frames[0]).toMatchObject({
      stream: 7,
      type: "request",
      raw: "ff",
      problem: expect.anything() as unknown,
    });
    expect(frames[1]).toMatchObject({
      stream: 9,
      type: "unknown",
      raw: "abcd",
      problem: "the type 6 does not exist",
    });
  });

  it("passes on a reset", async () => {
    const server = createServer();
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    // Not the connection by which the proxy checks that the target listens.
    const spoken = new Promise<Socket>((resolve) => {
      server.on("connection", (socket) => socket.once("data", () => resolve(socket)));
    });
    const port = (listener: { address(): unknown }) => (listener.address() as { port: number }).port;
    await using proxy = new Shimctl(["proxy", "tcp://127.0.0.1:0", `tcp://127.0.0.1:${port(server)}`]);
    await proxy.says("forwarding to");
    const client = connect(Number(/listening on tcp:\S+:(\d+)/.exec(proxy.stderr)?.[1]), "127.0.0.1");
    client.write(encodeFrame({ streamId: 1, type: 9, body: Buffer.alloc(0) }));
    const accepted = await spoken;
    client.resetAndDestroy();
    const [error] = (await once(accepted, "error")) as [NodeJS.ErrnoException];
    expect(error.code).toBe("ECONNRESET");
    await proxy.says("closed, 10 bytes →, 0 bytes ←: read ECONNRESET");
    server.close();
  });
});

/** The resident memory of a process, as the kernel counts it. */
function residentMiB(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1] ?? 0) / 1024;
}

it("shimctl proxy has passed a frame on before it looks into it", async () => {
  await using target = await RawServer.listen();
  const path = temporaryPath(".sock");
  const passedOn = new Promise<number>((resolve) => {
    const server = createServer({ allowHalfOpen: true }, (client) => {
      server.close();
      const socket = connect(pathOf(target.address));
      const dial = (ready: () => void) => socket.once("connect", ready);
      const frame = () => resolve(socket.bytesWritten);
      relay(client, dial, { frame, lost() {}, closed() {} });
    }).listen(path);
  });
  const client = connect(path);
  const frame = encodeFrame({ streamId: 1, type: FrameType.Request, flags: 0, body: Buffer.alloc(100) });
  client.write(frame);
  expect(await passedOn).toBe(frame.length);
  client.destroy();
});
