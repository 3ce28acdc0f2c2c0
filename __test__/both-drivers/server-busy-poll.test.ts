import { cpuUsage } from "node:process";
import { createServer, type ServerOptions } from "containerd-shim-protos";
import { describe, expect, test } from "vitest";
import { describeWithPeer, peerPublish } from "../helpers/peer.js";
import { Script } from "../helpers/script.js";
import { temporaryAddress } from "../helpers/temp.js";

/** Serves `test.Echo`. */
async function echo(options: ServerOptions): Promise<AsyncDisposable & { address: string }> {
  const server = createServer(options);
  server.addRaw("test.Echo", { Echo: { kind: "unary", handle: (payload) => payload } });
  const address = await server.listen(temporaryAddress());
  return { address, [Symbol.asyncDispose]: () => server.close() };
}

/** Another process, which makes some calls and then is silent, but stays. */
const calling = (address: string, calls: number) =>
  new Script(
    `
    const connection = await product.connect(address);
    for (let i = 0; i < ${calls}; i++) await connection.unary("test.Echo", "Echo", new Uint8Array(3));
    connection.ref();
    say("silent");
  `,
    address,
  );

describe.each([0, 0.2, 10, undefined])("a server that polls for requests (busyPollMs: %s)", (busyPollMs) => {
  test("answers each of many requests of another process, one by one and together", async () => {
    await using served = await echo({ busyPollMs });
    await using script = new Script(
      `
      const connection = await product.connect(address);
      const call = async (payload) =>
        Buffer.from(await connection.unary("test.Echo", "Echo", Buffer.from(payload))).toString();
      for (let i = 0; i < 300; i++) if ((await call(String(i))) !== String(i)) say("wrong");
      const together = Array.from({ length: 300 }, (_, i) => String(i));
      say(String((await Promise.all(together.map(call))).every((answer, i) => answer === together[i])));
      await connection.close();
    `,
      served.address,
    );
    expect(await script.rest()).toEqual(["true"]);
  });

  test("sleeps while no request comes", async () => {
    await using served = await echo({ busyPollMs });
    await using script = calling(served.address, 100);
    expect(await script.nextLine()).toBe("silent");
    const before = cpuUsage();
    await new Promise((resolve) => setTimeout(resolve, 1500));
    const { user, system } = cpuUsage(before);
    // A thread that polled all the time would take all of it.
    expect(user + system).toBeLessThan(1_000_000);
  });
});

describe("a server that polls for requests for long", () => {
  test("can be closed meanwhile, and lets its process end", async () => {
    await using server = new Script(
      `
      const server = product.createServer({ busyPollMs: 10 });
      let calls = 0;
      const handle = (payload) => {
        if (++calls === 1000) void server.close();
        return payload;
      };
      server.addRaw("test.Echo", { Echo: { kind: "unary", handle } });
      await server.listen(address);
      say("listens");
    `,
      temporaryAddress(),
    );
    expect(await server.nextLine()).toBe("listens");
    await using _script = calling(server.address, 1_000_000);
    expect(await server.rest()).toEqual([]);
  });
});

describeWithPeer("a server that polls for the Rust client's requests", () => {
  test.each([1, 4, 200])("takes in all events, %i in flight", async (inflight) => {
    let events = 0;
    await using server = createServer({ busyPollMs: 0.2 }).addRaw(
      "containerd.services.events.ttrpc.v1.Events",
      {
        Forward: { kind: "unary", handle: () => (events++, new Uint8Array()) },
      },
    );
    const address = await server.listen(temporaryAddress());
    expect(await peerPublish(address, { count: 2000, inflight })).toEqual({ failed: 0, first: null });
    expect(events).toBe(2000);
  });
});
