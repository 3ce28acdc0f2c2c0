import { once } from "node:events";
import { cpuUsage } from "node:process";
import { Worker } from "node:worker_threads";
import { Code, connect, type Connection, connectSync, createServer } from "containerd-shim-protos";
import { expect, test } from "vitest";
import { bytes, failure, text } from "../helpers/outcome.js";
import { describeWithPeer, Peer } from "../helpers/peer.js";
import { PACKAGE } from "../helpers/package.js";
import { RawServer } from "../helpers/raw-peer.js";
import { Script } from "../helpers/script.js";
import { temporaryAddress } from "../helpers/temp.js";

const LOOKS = { busyPollMs: 0.2 };

/** How a call sleeps at the Rust peer, in milliseconds. */
const sleepFor = (ms: number) => bytes(String(ms));

/** Microseconds of a processor since then. */
function spentUs(before: NodeJS.CpuUsage): number {
  const { user, system } = cpuUsage(before);
  return user + system;
}

describeWithPeer("a connection that looks for answers before it sleeps", () => {
  test("gives each of many calls its own answer, one by one and together", async () => {
    await using peer = await Peer.echo();
    await using connection = await connect(peer.address, LOOKS);
    const call = async (payload: string) => text(await connection.unary("test.Echo", "Echo", bytes(payload)));
    for (let i = 0; i < 500; i++) expect(await call(`${i}`)).toBe(`${i}`);
    const together = Array.from({ length: 500 }, (_, i) => `${i}`);
    expect(await Promise.all(together.map(call))).toEqual(together);
  });

  test("hears answers that come long after the look", async () => {
    await using peer = await Peer.echo();
    await using connection = await connect(peer.address, LOOKS);
    for (const ms of [0, 1, 20, 100]) {
      expect(text(await connection.unary("test.Echo", "Sleep", sleepFor(ms)))).toBe(`${ms}`);
    }
  });

  test("keeps deadlines, and lets timers and other connections have their turn", async () => {
    await using peer = await Peer.echo();
    await using connection = await connect(peer.address, { busyPollMs: 10 });
    await using other = await connect(peer.address);
    const held = failure(connection.unary("test.Echo", "Sleep", sleepFor(60_000), { timeoutMs: 300 }));
    let calls = 0;
    let callsBefore: number | undefined;
    setTimeout(() => (callsBefore = calls), 1);
    // Each call begins a new look.
    for (; calls < 1000; calls++) {
      await Promise.all([connection, other].map((one) => one.unary("test.Echo", "Echo", bytes("x"))));
    }
    expect(callsBefore).toBeLessThan(1000);
    expect(await held).toMatchObject({ code: Code.DeadlineExceeded });
  });

  test.each([
    ["other connections", (other: Connection) => other.unary("test.Echo", "Echo", bytes("x"))],
    ["immediates", () => new Promise((resolve) => setImmediate(resolve))],
    ["timers", () => new Promise((resolve) => setTimeout(resolve, 1))],
  ])("gives way to %s", async (_, turn) => {
    await using peer = await Peer.echo();
    await using connection = await connect(peer.address, { busyPollMs: 10 });
    await using other = await connect(peer.address, { busyPollMs: 0 });
    let turns = 0;
    const over = new AbortController();
    const work = (async () => {
      for (; !over.signal.aborted; turns++) await turn(other);
    })();
    for (let i = 0; i < 20; i++) await connection.unary("test.Echo", "Sleep", sleepFor(8));
    over.abort();
    await work;
    // An event loop that waited for the end of each look would have had two turns for each.
    expect(turns).toBeGreaterThan(60);
  });

  test("gives way to immediates of which one is always pending", async () => {
    await using peer = await Peer.echo();
    await using connection = await connect(peer.address, { busyPollMs: 10 });
    let turns = 0;
    const over = new AbortController();
    const work = [1, 2, 3].map(async () => {
      for (; !over.signal.aborted; turns++) await new Promise((resolve) => setImmediate(resolve));
    });
    const during: number[] = [];
    for (let i = 0; i < 21; i++) {
      const before = turns;
      await connection.unary("test.Echo", "Sleep", sleepFor(8));
      during.push(turns - before);
    }
    over.abort();
    await Promise.all(work);
    // An event loop that looked nevertheless would have had a few before the look, and none in the next 8 ms.
    expect(during.toSorted((a, b) => a - b)[10]).toBeGreaterThan(30);
  });

  test("looks for a held call once, whatever other connections do", async () => {
    await using peer = await Peer.echo();
    await using connection = await connect(peer.address, { busyPollMs: 10 });
    await using other = await connect(peer.address);
    const controller = new AbortController();
    const { signal } = controller;
    const costUs = async () => {
      const before = cpuUsage();
      for (let i = 0; i < 100; i++) await other.unary("test.Echo", "Echo", bytes("x"));
      return spentUs(before);
    };
    const alone = await costUs();
    const held = failure(connection.unary("test.Echo", "Sleep", sleepFor(60_000), { signal }));
    // Had each call looked for the held one too, that would be a second more.
    expect(await costUs()).toBeLessThan(alone + 500_000);
    controller.abort();
    expect(await held).toMatchObject({ code: Code.Canceled });
  });

  test("does not look while the socket takes no more of a request", async () => {
    await using peer = await Peer.echo();
    await using connection = await connect(peer.address, { busyPollMs: 10 });
    await using plain = await connect(peer.address);
    const payload = new Uint8Array(1 << 20).fill(7);
    const costUs = async (one: Connection) => {
      const before = cpuUsage();
      for (let i = 0; i < 50; i++)
        expect(await one.unary("test.Echo", "Echo", payload)).toHaveLength(1 << 20);
      return spentUs(before);
    };
    // Had each call looked before it wrote on, that would be half a second more.
    expect(await costUs(connection)).toBeLessThan((await costUs(plain)) * 1.5 + 250_000);
  });

  test("does not look for the answers of its own process, which could not come", async () => {
    await using server = createServer();
    server.addRaw("a.B", { C: { kind: "unary", handle: (payload) => payload } });
    const address = await server.listen(temporaryAddress());
    await using plain = await connect(address);
    await using connection = await connect(address, { busyPollMs: 10 });
    const costUs = async (one: Connection) => {
      const before = cpuUsage();
      for (let i = 0; i < 100; i++) expect(text(await one.unary("a.B", "C", bytes("x")))).toBe("x");
      return spentUs(before);
    };
    const cost = await costUs(plain);
    // Had each call looked, that would be a second more.
    expect(await costUs(connection)).toBeLessThan(cost + 500_000);
  });

  test("ends with its worker, and with close() between calls", async () => {
    await using peer = await Peer.echo();
    const source = `
      import("${PACKAGE}").then(async ({ connect }) => {
        const { parentPort, workerData } = require("node:worker_threads");
        for (;;) {
          const connection = await connect(workerData, { busyPollMs: 10 });
          for (let i = 0; i < 20; i++) await connection.unary("test.Echo", "Echo", new Uint8Array(1));
          parentPort.postMessage("called");
          connection.unary("test.Echo", "Sleep", Buffer.from("1000")).catch(() => {});
          await connection.close();
        }
      });
    `;
    const workers = Array.from(
      { length: 4 },
      () => new Worker(source, { eval: true, execArgv: [], workerData: peer.address }),
    );
    for (const worker of workers) expect(await once(worker, "message")).toEqual(["called"]);
    expect(await Promise.all(workers.map((worker) => worker.terminate()))).toEqual([1, 1, 1, 1]);
  });

  test("reconnects as one that looks, and fails its calls when the peer is gone", async () => {
    await using server = await RawServer.listen();
    await using connection = await connect(server.address, { ...LOOKS, reconnect: { initialDelayMs: 1 } });
    for (let round = 0; round < 3; round++) {
      const call = failure(connection.unary("a.B", "C", bytes("x")));
      const accepted = await server.accept();
      accepted[Symbol.dispose]();
      expect(await call).toMatchObject({ code: Code.Unavailable });
    }
  });

  test.each([10, undefined])("sleeps while a call is held, after one look (busyPollMs: %s)", async (ms) => {
    await using peer = await Peer.echo();
    await using connection = await connect(peer.address, { busyPollMs: ms });
    const before = cpuUsage();
    await connection.unary("test.Echo", "Sleep", sleepFor(1500));
    // A thread that looked all the time would take all of it.
    expect(spentUs(before)).toBeLessThan(1_000_000);
  });

  test.each([0, 0.2, 10, undefined])("blocks for each answer of its own (busyPollMs: %s)", async (ms) => {
    await using peer = await Peer.echo();
    using connection = connectSync(peer.address, { busyPollMs: ms });
    for (let i = 0; i < 300; i++) {
      expect(text(connection.unary("test.Echo", "Echo", bytes(`${i}`)))).toBe(`${i}`);
    }
    const large = new Uint8Array(1 << 20).fill(7);
    expect(Buffer.compare(connection.unary("test.Echo", "Echo", large), large)).toBe(0);
    const before = cpuUsage();
    expect(text(connection.unary("test.Echo", "Sleep", sleepFor(1500)))).toBe("1500");
    expect(spentUs(before)).toBeLessThan(1_000_000);
    const late = () => connection.unary("test.Echo", "Sleep", sleepFor(60_000), { timeoutMs: 20 });
    expect(late).toThrow(expect.objectContaining({ code: Code.DeadlineExceeded }));
  });

  test("does not keep the process alive between calls", async () => {
    await using peer = await Peer.echo();
    await using script = new Script(
      `
      const connection = await product.connect(address, { busyPollMs: 10 });
      await connection.unary("test.Echo", "Echo", new Uint8Array(3));
      say("answered");
    `,
      peer.address,
    );
    expect(await script.rest()).toEqual(["answered"]);
  });
});
