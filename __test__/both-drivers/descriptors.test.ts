import { once } from "node:events";
import { readdirSync, readlinkSync } from "node:fs";
import net from "node:net";
import { Code, connect, connectSync, createServer } from "containerd-shim-protos";
import { expect, test } from "vitest";
import { bytes, failure, failureOf, text } from "../helpers/outcome.js";
import { pairOf, SERVICE } from "../helpers/pair.js";
import { temporaryPath } from "../helpers/temp.js";

const echo = { Echo: { kind: "unary", handle: (payload: Uint8Array) => payload } } as const;

function openSockets(): number[] {
  return readdirSync("/proc/self/fd")
    .map(Number)
    .filter((fd) => {
      try {
        return readlinkSync(`/proc/self/fd/${fd}`).startsWith("socket:");
      } catch {
        return false;
      }
    });
}

const refused = { code: Code.FailedPrecondition, cause: { code: "EEXIST" } };

test("connect, connectSync and listen refuse a descriptor that Node watches, and Node's socket keeps working", async () => {
  const server = net.createServer((socket) => socket.pipe(socket)).listen(temporaryPath());
  await once(server, "listening");
  const socket = net.connect(server.address() as string);
  await once(socket, "connect");
  const { fd } = (socket as unknown as { _handle: { fd: number } })._handle;
  const error = await failure(connect({ fd }));
  expect(error).toMatchObject(refused);
  expect(error.message).toBe(
    `cannot connect to fd:${fd}: Node or this package uses the descriptor already, and still does`,
  );
  expect(failureOf(() => connectSync({ fd }))).toMatchObject(refused);
  expect(await failure(createServer().addRaw(SERVICE, echo).listen({ fd }))).toMatchObject(refused);
  socket.write("still here");
  expect(String((await once(socket, "data"))[0])).toBe("still here");
  socket.destroy();
  server.close();
});

test("a descriptor that the package uses is refused, on every driver, and its connection keeps working", async () => {
  const before = new Set(openSockets());
  await using pair = await pairOf(echo);
  const own = openSockets().filter((fd) => !before.has(fd));
  expect(own.length).toBeGreaterThanOrEqual(2);
  for (const fd of own) {
    for (const driver of ["loop", "thread"] as const) {
      expect(await failure(connect({ fd }, { driver }))).toMatchObject(refused);
      expect(await failure(createServer({ driver }).listen({ fd }))).toMatchObject(refused);
    }
    expect(failureOf(() => connectSync({ fd }))).toMatchObject(refused);
  }
  expect(text(await pair.connection.unary(SERVICE, "Echo", bytes("on")))).toBe("on");
  await using another = await connect(pair.address);
  expect(text(await another.unary(SERVICE, "Echo", bytes("too")))).toBe("too");
});
