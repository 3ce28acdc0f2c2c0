import type { Socket } from "node:net";
import {
  connect,
  connectSync,
  createClient,
  createServer,
  createSyncClient,
  type Server,
} from "containerd-shim-protos";
import { Task } from "containerd-shim-protos/task/v3";
import { afterEach, describe, expect, it } from "vitest";
import { Peer, describeWithPeer } from "../helpers/peer.js";
import { Hypervisor, HypervisorProcess, opener } from "../helpers/hypervisor.js";
import { pathOf, temporaryAddress } from "../helpers/temp.js";

const servers: Server[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) await server.close({ graceMs: 0 });
});

async function guestServer(): Promise<string> {
  const server = createServer().add(Task, { connect: () => ({ shimPid: 42 }) });
  servers.push(server);
  return server.listen(temporaryAddress());
}

describe("a guest's port behind its hypervisor's socket", () => {
  it.each([false, true])("is an address like any other (answered byte by byte: %s)", async (slowly) => {
    const guest = await guestServer();
    await using hypervisor = await new Hypervisor(opener(guest, "OK 5\n", slowly)).listen();
    const address = hypervisor.address(1024);
    await using connection = await connect(address);
    expect(connection.address).toBe(address);
    expect(await createClient(Task, connection).connect({ id: "1" })).toMatchObject({ shimPid: 42 });
    expect(hypervisor.asked).toEqual(["CONNECT 1024\n"]);
  });

  it("loses no byte that comes with the answer", async () => {
    // A frame header of a body beyond the limit, which the engine reports if it sees it whole.
    const sent = Buffer.concat([Buffer.from("OK 5\n"), Buffer.from("HTTP/1.1 400")]);
    await using hypervisor = await new Hypervisor((socket) => socket.write(sent)).listen();
    await using connection = await connect(hypervisor.address(1));
    const { reason, error } = await connection.closed;
    expect([reason, error?.message]).toEqual(["protocol", expect.stringContaining("HTTP/1.1 4")]);
  });

  it("is connected to again", async () => {
    const guest = await guestServer();
    let opened: Socket | undefined;
    await using hypervisor = await new Hypervisor((socket) => {
      opened = socket;
      void opener(guest)(socket);
    }).listen();
    await using connection = await connect(hypervisor.address(7), { reconnect: { initialDelayMs: 1 } });
    const task = createClient(Task, connection);
    await task.connect({ id: "1" });
    opened?.destroy();
    await expect.poll(() => task.connect({ id: "1" }).catch(() => undefined)).toMatchObject({ shimPid: 42 });
    expect(hypervisor.asked).toHaveLength(2);
  });

  it("is waited for while the guest starts", async () => {
    const guest = await guestServer();
    let attempts = 0;
    await using hypervisor = await new Hypervisor((socket) => {
      if (++attempts < 3) socket.destroy();
      else void opener(guest)(socket);
    }).listen();
    await using connection = await connect(hypervisor.address(7), { waitForReady: true });
    expect(await createClient(Task, connection).connect({ id: "1" })).toMatchObject({ shimPid: 42 });
    expect(attempts).toBe(3);
  });

  it.each([
    ["hangs up", (socket: Socket) => socket.end(), "hung up"],
    [
      "answers something else",
      (socket: Socket) => socket.write("NO\x1b[31m such port\n"),
      String.raw`NO\u{1b}[31m such port\n`,
    ],
    ["never ends its line", (socket: Socket) => socket.write("OK ".repeat(100)), "OK OK"],
  ])("fails as refused if the hypervisor %s", async (_, open, said) => {
    await using hypervisor = await new Hypervisor((socket) => void open(socket)).listen();
    await expect(connect(hypervisor.address(9))).rejects.toMatchObject({
      name: "TtrpcError",
      message: expect.stringContaining(
        `cannot connect to ${hypervisor.address(9)}: ECONNREFUSED, the hypervisor does not open port 9: it`,
      ) as string,
      cause: { code: "ECONNREFUSED", message: expect.stringContaining(said) as string },
    });
  });

  it("fails in time if the hypervisor does not answer, or sends half of an answer", async () => {
    for (const part of ["", "OK"]) {
      await using hypervisor = await new Hypervisor((socket) => void socket.write(part)).listen();
      await expect(connect(hypervisor.address(9), { connectTimeoutMs: 50 })).rejects.toMatchObject({
        cause: { code: "ETIMEDOUT" },
      });
      const blocking = () => connectSync(hypervisor.address(9), { connectTimeoutMs: 50 });
      expect(blocking).toThrow(
        expect.objectContaining({ cause: expect.objectContaining({ code: "ETIMEDOUT" }) as unknown }),
      );
    }
  });

  it.each([
    ["hvsock://relative:1", "hvsock:///path:port"],
    ["hvsock:///path", "hvsock:///path:port"],
    ["hvsock:///path:4294967296", "hvsock:///path:port"],
    [`hvsock:///${"x".repeat(200)}:1`, "107"],
  ])("must be written right: %s", async (address, said) => {
    await expect(connect(address)).rejects.toThrow(TypeError);
    await expect(connect(address)).rejects.toThrow(said);
  });

  it("cannot be listened on", async () => {
    await expect(createServer().listen("hvsock:///x:1")).rejects.toThrow(
      new TypeError("hvsock:///x:1 can only be connected to"),
    );
  });
});

describeWithPeer("a guest's port, from a blocking client", () => {
  it("is connected to, with a hypervisor in another process", async () => {
    await using peer = await Peer.task("v3");

    await using hypervisor = await HypervisorProcess.start(pathOf(peer.address));
    using connection = connectSync(`hvsock://${hypervisor.path}:1024`);
    expect(createSyncClient(Task, connection).connect({ id: "1" }).shimPid).toBe(peer.pid);
    await using again = await connect(`hvsock://${hypervisor.path}:1024`);
    expect((await createClient(Task, again).connect({ id: "1" })).shimPid).toBe(peer.pid);
  });
});
