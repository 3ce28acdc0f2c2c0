import { channel } from "node:diagnostics_channel";
import {
  type CallMessage,
  Code,
  connect,
  type ConnectionMessage,
  createClient,
  createServer,
  type Server,
  TtrpcError,
} from "containerd-shim-protos";
import { Task } from "containerd-shim-protos/task/v3";
import { describe, expect, test } from "vitest";
import { listen } from "./helpers/channels.js";
import { temporaryAddress } from "./helpers/temp.js";

const EMPTY = new Uint8Array(0);

function served(): Server {
  return createServer()
    .add(Task, {
      connect: () => ({ shimPid: 7 }),
      kill() {
        throw new TtrpcError("gone", Code.NotFound);
      },
    })
    .addRaw("a.B", {
      Count: {
        kind: "server_streaming",
        async *handle() {
          yield EMPTY;
        },
      },
    });
}

describe("diagnostics channels", () => {
  test("tell of each call on both sides, with one object from its start to its end", async () => {
    await using server = served();
    await using connection = await connect(await server.listen(temporaryAddress()));
    const task = createClient(Task, connection);
    using client = listen<CallMessage>("ttrpc:client:call:start", "ttrpc:client:call:end");
    using handler = listen<CallMessage>("ttrpc:server:call:start", "ttrpc:server:call:end");

    await task.connect({});
    await expect(task.kill({})).rejects.toThrow("gone");
    for await (const _ of connection.serverStreaming("a.B", "Count", EMPTY));

    for (const { seen } of [client, handler]) {
      expect(
        seen.map(([, { service, method, kind, error }]) => [service, method, kind, error?.code]),
      ).toEqual([
        ["containerd.task.v3.Task", "Connect", "unary", undefined],
        ["containerd.task.v3.Task", "Connect", "unary", undefined],
        ["containerd.task.v3.Task", "Kill", "unary", Code.NotFound],
        ["containerd.task.v3.Task", "Kill", "unary", Code.NotFound],
        ["a.B", "Count", "server_streaming", undefined],
        ["a.B", "Count", "server_streaming", undefined],
      ]);
      const names = seen.map(([name]) => name.split(":").at(-1));
      expect(names).toEqual(["start", "end", "start", "end", "start", "end"]);
      for (let index = 0; index < seen.length; index += 2)
        expect(seen[index]?.[1]).toBe(seen[index + 1]?.[1]);
    }
    expect(client.seen[0]?.[1].address).toBe(connection.address);
  });

  test("tell of each connection on both sides, and how it ended", async () => {
    using connections = listen<ConnectionMessage>("ttrpc:connection:open", "ttrpc:connection:close");
    const server = served();
    const connection = await connect(await server.listen(temporaryAddress()));
    await createClient(Task, connection).connect({});
    const noticed = new Promise<void>((resolve) => {
      const listener = (message: unknown) => {
        if ((message as ConnectionMessage).side !== "server") return;
        channel("ttrpc:connection:close").unsubscribe(listener);
        resolve();
      };
      channel("ttrpc:connection:close").subscribe(listener);
    });
    await connection.close();
    await noticed;
    await server.close();

    const of = (side: string) => connections.seen.filter(([, message]) => message.side === side);
    for (const side of ["client", "server"]) {
      const [opened, closed] = of(side);
      expect([opened?.[0], closed?.[0]]).toEqual(["ttrpc:connection:open", "ttrpc:connection:close"]);
      expect(opened?.[1]).toBe(closed?.[1]);
    }
    expect(of("client")[1]?.[1].why).toEqual({ reason: "local" });
    expect(of("server")[1]?.[1].why).toEqual({ reason: "remote" });
  });

  test("that nobody listens to change nothing", async () => {
    await using server = served();
    await using connection = await connect(await server.listen(temporaryAddress()));
    await expect(createClient(Task, connection).connect({})).resolves.toMatchObject({ shimPid: 7 });
  });
});
