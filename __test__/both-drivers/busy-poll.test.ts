import { cpuUsage } from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { Code, connect } from "containerd-shim-protos";
import { expect, test } from "vitest";
import { bytes, failure, text } from "../helpers/outcome.js";
import { describeWithPeer, Peer } from "../helpers/peer.js";
import { RawServer } from "../helpers/raw-peer.js";
import { Script } from "../helpers/script.js";

const LOOKS = { busyPollMs: 0.2 };

/** How a call sleeps at the Rust peer, in milliseconds. */
const sleepFor = (ms: number) => bytes(String(ms));

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
    const timer = sleep(1, "its turn");
    // Each call begins a new look, and each answer the next one.
    for (let i = 0; i < 200; i++) {
      await Promise.all([connection, other].map((one) => one.unary("test.Echo", "Echo", bytes("x"))));
    }
    expect(await timer).toBe("its turn");
    expect(await held).toMatchObject({ code: Code.DeadlineExceeded });
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

  test("sleeps while a call is held, after one look", async () => {
    await using peer = await Peer.echo();
    await using connection = await connect(peer.address, { busyPollMs: 10 });
    const before = cpuUsage();
    await connection.unary("test.Echo", "Sleep", sleepFor(1500));
    const { user, system } = cpuUsage(before);
    // A thread that looked all the time would take all of it.
    expect(user + system).toBeLessThan(1_000_000);
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
