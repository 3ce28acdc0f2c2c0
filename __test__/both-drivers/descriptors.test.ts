import { once } from "node:events";
import { readdirSync, readlinkSync } from "node:fs";
import net from "node:net";
import { Code, connect, connectSync, createServer } from "containerd-shim-protos";
import { expect, test } from "vitest";
import { bytes, failure, failureOf, text } from "../helpers/outcome.js";
import { pairOf, SERVICE } from "../helpers/pair.js";
import { Script } from "../helpers/script.js";
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

/** Runs a program with two sockets, as descriptors 3 and 4. */
const WITH_SOCKETS = `
import fcntl, os, socket, sys
state, *program = sys.argv[1:]
made = [socket.socket() for _ in range(2)]
for each in made:
    each.bind(("127.0.0.1", 0))
    if state == "listen": each.listen()
high = [fcntl.fcntl(each, fcntl.F_DUPFD, 10) for each in made]
for fd, each in zip([3, 4], high):
    os.dup2(each, fd, inheritable=True)
os.execvp(program[0], program)
`;

test.each([
  ["of a listener", "listen"],
  ["of a socket that was never connected", "bind"],
])("connect and connectSync refuse the descriptor %s, and name it", async (_, state) => {
  await using script = new Script(
    `
    const failure = async (connect) => {
      try { await connect(); } catch (error) { say([error.code, error.cause.code, error.message].join()); }
    };
    await failure(() => product.connect({ fd: 3 }));
    await failure(() => product.connectSync({ fd: 4 }));
    `,
    "",
    { wrapper: ["python3", "-c", WITH_SOCKETS, state] },
  );
  const message = (fd: number) =>
    `${Code.Unavailable},ENOTCONN,cannot connect to fd:${fd}: ENOTCONN, socket is not connected`;
  expect(await script.rest()).toEqual([message(3), message(4)]);
});
