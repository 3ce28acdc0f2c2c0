import { once } from "node:events";
import { type AddressInfo, createServer as createListener, type Socket } from "node:net";
import { Code, connect } from "containerd-shim-protos";
import { expect, test } from "vitest";
import { bytes, text } from "../helpers/outcome.js";
import { rawConnect, RawServer } from "../helpers/raw-peer.js";
import { Script } from "../helpers/script.js";
import { temporaryPath } from "../helpers/temp.js";

/*
 * Whether a descriptor blocks is a property of the open file, which all who inherited it share. Node makes those block that a
 * process gets as a standard stream, as with `stdio: "inherit"` where the package serves a socket on descriptor 0.
 */

const SHARE = `
  import { spawn } from "node:child_process";
  import { once } from "node:events";
  const share = (fd) => once(spawn("true", [], { stdio: [fd, "ignore", "ignore"] }), "exit");
`;

test("a connection that another process made block still ends a call at its deadline", async () => {
  await using server = await RawServer.listen();
  const inherited = await rawConnect(server.address);
  const peer = await server.accept();
  peer.socket.pause();
  await using script = new Script(
    `${SHARE}
    const connection = await product.connect({ fd: 3 });
    await share(3);
    const call = connection.unary("a.B", "C", new Uint8Array(3 << 20), { timeoutMs: 300 });
    await call.catch(({ code }) => say(String(code)));
    process.exit();
    `,
    "",
    { stdio: [inherited.socket] },
  );
  inherited.socket.destroy();
  expect(await script.rest()).toEqual([String(Code.DeadlineExceeded)]);
});

test("a listener that another process made block serves whoever was accepted before", async () => {
  const listener = createListener().listen(0, "127.0.0.1");
  await once(listener, "listening");
  const { port } = listener.address() as AddressInfo;
  const { fd } = (listener as unknown as { _handle: { fd: number } })._handle;
  await using script = new Script(
    `${SHARE}
    const echo = { kind: "unary", handle: (payload) => payload };
    await product.createServer().addRaw("a.B", { Echo: echo }).listen({ fd: 3 });
    await share(3);
    say("ready");
    `,
    "",
    { stdio: [fd as unknown as Socket] },
  );
  // Otherwise this process would accept some of the connections.
  listener.close();
  expect(await script.nextLine()).toBe("ready");
  for (const word of ["one", "two"]) {
    await using connection = await connect(`tcp://127.0.0.1:${port}`);
    expect(text(await connection.unary("a.B", "Echo", bytes(word), { timeoutMs: 5000 }))).toBe(word);
  }
  script.kill();
});

/** Starts a program when somebody connects, with the listener as descriptor 3, and again once that has ended. */
const LIKE_SYSTEMD = `
import os, select, socket, sys
path, *program = sys.argv[1:]
listener = socket.socket(socket.AF_UNIX)
listener.bind(path)
listener.listen()
print("listening", flush=True)
for _ in range(3):
    select.select([listener], [], [])
    child = os.fork()
    if child == 0:
        os.dup2(os.dup(listener.fileno()), 3, inheritable=True)
        os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
        os.execvp(program[0], program)
    os.waitpid(child, 0)
`;

test("systemd starts a server for whoever connects, and again for whoever connects once that has ended", async () => {
  const path = temporaryPath(".sock");
  await using script = new Script(
    `
    if (process.env.LISTEN_PID !== String(process.pid)) throw new Error("the socket is for another process");
    const server = product.createServer();
    const name = () => {
      server.close();
      return Buffer.from(String(process.pid));
    };
    await server.addRaw("a.B", { Name: { kind: "unary", handle: name } }).listen({ fd: 3 });
    `,
    "",
    { wrapper: ["python3", "-c", LIKE_SYSTEMD, path] },
  );
  expect(await script.nextLine()).toBe("listening");
  const pids = new Set<string>();
  for (let i = 0; i < 3; i++) {
    await using connection = await connect(`unix://${path}`);
    pids.add(text(await connection.unary("a.B", "Name", bytes(""), { timeoutMs: 10_000 })));
  }
  expect(pids.size).toBe(3);
  expect(await script.rest()).toEqual([]);
});
