import { spawnSync } from "node:child_process";
import { channel } from "node:diagnostics_channel";
import {
  type CallMessage,
  Code,
  connect,
  type ConnectionMessage,
  connectSync,
  createClient,
  createServer,
  type Server,
  TtrpcError,
} from "containerd-shim-protos";
import { Task } from "containerd-shim-protos/task/v3";
import { describe, expect, test } from "vitest";
import { listen } from "../helpers/channels.js";
import { several } from "../helpers/iterables.js";
import { failure, failureOf, rejection } from "../helpers/outcome.js";
import { pairWith } from "../helpers/pair.js";
import { Script } from "../helpers/script.js";
import { Streaming } from "../helpers/streaming.js";
import { pathOf, temporaryAddress } from "../helpers/temp.js";
import { encodeFrame, encodeRequest, FrameType } from "../helpers/wire.js";

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
  test("report each call on both sides, with one object from its start to its end", async () => {
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

  test("report calls on a closed connection, of all kinds, with their errors", async () => {
    await using server = served();
    const connection = await connect(await server.listen(temporaryAddress()));
    await connection.close();
    using client = listen<CallMessage>("ttrpc:client:call:start", "ttrpc:client:call:end");
    await failure(connection.unary("a.B", "C", EMPTY));
    await rejection(connection.serverStreaming("a.B", "C", EMPTY).next());
    await failure(connection.clientStreaming("a.B", "C", several("x")));
    await rejection(connection.bidiStreaming("a.B", "C", several("x")).next());
    const kinds = ["unary", "server_streaming", "client_streaming", "bidi_streaming"];
    expect(client.seen.map(([name, { kind, error }]) => [name, kind, error?.code])).toEqual(
      kinds.flatMap((kind) => [
        ["ttrpc:client:call:start", kind, Code.Unavailable],
        ["ttrpc:client:call:end", kind, Code.Unavailable],
      ]),
    );
  });

  test("report a stream whose reply does not decode as failed, as its reader sees it", async () => {
    const server = createServer().addRaw(Streaming.typeName, {
      EchoStream: {
        kind: "bidi_streaming",
        async *handle() {
          yield new Uint8Array([0xff]);
          await new Promise(() => {});
        },
      },
    });
    await using pair = await pairWith(server);
    using client = listen<CallMessage>("ttrpc:client:call:end");
    const replies = createClient(Streaming, pair.connection).echoStream([])[Symbol.asyncIterator]();
    const error = await rejection(replies.next());
    expect(error).toMatchObject({ code: Code.Internal, method: "EchoStream" });
    expect(client.seen.map(([, message]) => message.error)).toEqual([error]);
    expect(await replies.next()).toEqual({ value: undefined, done: true });
  });

  test("report blocking calls and connections as they do others", async () => {
    await using script = new Script(
      `
      const server = product.createServer().addRaw("a.B", {
        Echo: { kind: "unary", handle: (payload) => payload },
        Fail: { kind: "unary", handle: () => { throw new product.TtrpcError("no", product.Code.NotFound) } },
      });
      await server.listen(address);
      say("ready");
    `,
      temporaryAddress(),
    );
    expect(await script.nextLine()).toBe("ready");
    using told = listen<CallMessage & ConnectionMessage>(
      "ttrpc:connection:open",
      "ttrpc:client:call:start",
      "ttrpc:client:call:end",
      "ttrpc:connection:close",
    );
    const connection = connectSync(script.address);
    connection.unary("a.B", "Echo", EMPTY);
    failureOf(() => connection.unary("a.B", "Fail", EMPTY));
    connection.close();
    failureOf(() => connection.unary("a.B", "Echo", EMPTY));
    const { address } = connection;
    const call = (name: string, method: string, error?: Code) => [
      `ttrpc:client:call:${name}`,
      { service: "a.B", method, kind: "unary", address },
      error,
    ];
    expect(
      told.seen.map(([name, { connection: _number, id: _id, error, ...rest }]) => [name, rest, error?.code]),
    ).toEqual([
      ["ttrpc:connection:open", { side: "client", address, why: { reason: "local" } }, undefined],
      call("start", "Echo"),
      call("end", "Echo"),
      call("start", "Fail", Code.NotFound),
      call("end", "Fail", Code.NotFound),
      ["ttrpc:connection:close", { side: "client", address, why: { reason: "local" } }, undefined],
      call("start", "Echo", Code.Unavailable),
      call("end", "Echo", Code.Unavailable),
    ]);
    const [opened, started] = told.seen.map(([, message]) => message);
    expect(started?.connection).toBe(opened?.id);
  });

  test("report each connection on both sides, and how it ended", async () => {
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

  test("report a connection before its requests and its end, even if it came and went at once", async () => {
    await using server = served();
    const address = await server.listen(temporaryAddress());
    using told = listen<{ id?: number; connection?: number }>(
      "ttrpc:connection:open",
      "ttrpc:connection:close",
      "ttrpc:server:call:start",
    );
    // The thread blocks until it has ended, so everything that it did arrives in one batch.
    const script = `
      const [path, frame] = process.argv.slice(1);
      for (let i = 0; i < 3; i++) {
        const socket = require("node:net").connect(path, () => socket.write(Buffer.from(frame, "base64"), () => socket.destroy()));
      }`;
    const request = encodeFrame({
      streamId: 1,
      type: FrameType.Request,
      body: encodeRequest({ service: "containerd.task.v3.Task", method: "Connect" }),
    });
    spawnSync(process.execPath, ["-e", script, pathOf(address), request.toString("base64")]);
    const closed = () => told.seen.filter(([name]) => name === "ttrpc:connection:close").length;
    await expect.poll(closed, { interval: 5, timeout: 5000 }).toBe(3);

    const byConnection = new Map<number | undefined, string[]>();
    for (const [name, { id, connection }] of told.seen) {
      const names = byConnection.get(id ?? connection) ?? [];
      byConnection.set(id ?? connection, [...names, name]);
    }
    expect(byConnection.size).toBe(3);
    for (const names of byConnection.values()) {
      expect(names[0]).toBe("ttrpc:connection:open");
      expect(names.at(-1)).toBe("ttrpc:connection:close");
      expect(names.filter((name) => name === "ttrpc:connection:open")).toHaveLength(1);
    }
  });

  test("whose subscribers throw cost no call its outcome", async () => {
    await using server = served();
    await using connection = await connect(await server.listen(temporaryAddress()));
    const task = createClient(Task, connection);
    const names = ["client:call:start", "client:call:end", "server:call:start", "server:call:end"];
    const broken = () => {
      throw new Error("of a subscriber");
    };
    // Node reports what a subscriber throws as an uncaught exception.
    const listeners = process.listeners("uncaughtException");
    process.removeAllListeners("uncaughtException");
    const uncaught: unknown[] = [];
    process.on("uncaughtException", (error) => uncaught.push(error));
    for (const name of names) channel(`ttrpc:${name}`).subscribe(broken);
    try {
      const calls = Array.from({ length: 10 }, () => [task.connect({}), task.kill({})]).flat();
      const outcomes = await Promise.allSettled(calls);
      expect(outcomes.map(({ status }) => status)).toEqual(
        Array.from({ length: 10 }, () => ["fulfilled", "rejected"]).flat(),
      );
      await new Promise(setImmediate);
    } finally {
      for (const name of names) channel(`ttrpc:${name}`).unsubscribe(broken);
      process.removeAllListeners("uncaughtException");
      for (const listener of listeners) process.on("uncaughtException", listener);
    }
    expect(uncaught).toHaveLength(80);
  });

  test("that nobody listens to change nothing", async () => {
    await using server = served();
    await using connection = await connect(await server.listen(temporaryAddress()));
    await expect(createClient(Task, connection).connect({})).resolves.toMatchObject({ shimPid: 7 });
  });
});
