import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { chmodSync } from "node:fs";
import { dirname } from "node:path";
import { PassThrough } from "node:stream";
import { Code, connect, createServer, type PeerCredentials } from "containerd-shim-protos";
import { describe, expect, test } from "vitest";
import { bytes, failure, text } from "../../helpers/outcome.js";
import { Script } from "../../helpers/script.js";
import { abstractAddress, pathOf, temporaryAddress } from "../../helpers/temp.js";
import { encodeFrame, encodeRequest, FrameType } from "../../helpers/wire.js";

const NOBODY = 65534;

/** An address to which every user of the machine can connect if the socket has the mode 0o777. */
function openAddress(): string {
  const address = temporaryAddress();
  chmodSync(dirname(pathOf(address)), 0o711);
  return address;
}

/** A server that records its peers. */
function serverOf(options: { requireSameUser?: boolean }) {
  const peers: (PeerCredentials | undefined)[] = [];
  const server = createServer(options).addRaw("a.B", {
    C: {
      kind: "unary",
      handle(payload, { peer }) {
        peers.push(peer);
        return payload;
      },
    },
  });
  return { server, peers };
}

/**
 * A client of another user, which sends one request and says how many bytes it got before the connection ended, or that
 * it was answered. That user cannot read the package, so the request is passed as bytes.
 */
async function asAnother(address: string, { uid, gid }: { uid: number; gid: number }): Promise<string> {
  const script = `
    const [path, hex] = process.argv.slice(1);
    const socket = require("node:net").connect(path);
    socket.on("connect", () => socket.write(Buffer.from(hex, "hex"), () => {}));
    socket.on("data", () => { process.stdout.write("answered"); process.exit(); });
    // It may be reset, but it must have been connected.
    socket.on("error", ({ syscall }) => syscall === "connect" && process.stdout.write("not connected, "));
    socket.on("close", () => process.stdout.write("closed"));
  `;
  const body = encodeRequest({ service: "a.B", method: "C", payload: bytes("x") });
  const request = encodeFrame({ streamId: 1, type: FrameType.Request, body }).toString("hex");
  const child = spawn(process.execPath, ["-e", script, pathOf(address), request], {
    uid,
    gid,
    cwd: "/",
    stdio: ["ignore", "pipe", "inherit"],
  });
  let said = "";
  child.stdout.setEncoding("utf8").on("data", (chunk: string) => (said += chunk));
  await once(child, "close");
  return said;
}

describe("requireSameUser", () => {
  test("admits this user, and gives its credentials to the handler", async () => {
    const { server, peers } = serverOf({ requireSameUser: true });
    await using _server = server;
    await using connection = await connect(await server.listen(abstractAddress()));
    expect(text(await connection.unary("a.B", "C", bytes("same")))).toBe("same");
    expect(peers).toEqual([{ pid: process.pid, uid: process.geteuid!(), gid: process.getegid!() }]);
  });

  test("admits nobody if the kernel does not say who the peer is: over tcp", async () => {
    const { server, peers } = serverOf({ requireSameUser: true });
    await using _server = server;
    await using connection = await connect(await server.listen("tcp://127.0.0.1:0"));
    expect(await failure(connection.unary("a.B", "C", bytes("x")))).toMatchObject({ code: Code.Unavailable });
    expect(peers).toEqual([]);
  });

  test("admits nobody if the kernel does not say who the peer is: over a Duplex", async () => {
    const { server, peers } = serverOf({ requireSameUser: true });
    await using _server = server;
    const duplex = new PassThrough();
    const ended = once(duplex, "close");
    await server.listen(duplex).catch(() => duplex.destroy());
    await ended;
    expect(peers).toEqual([]);
  });
});

// Switching to another user takes root, which .ci/run has.
const OTHERS: [who: string, ids: { uid: number; gid: number }][] =
  process.geteuid!() === 0
    ? [
        ["another user", { uid: NOBODY, gid: NOBODY }],
        ["another user of the same group", { uid: NOBODY, gid: process.getegid!() }],
        ["the same user of another group", { uid: process.geteuid!(), gid: NOBODY }],
      ]
    : [];

describe.each(OTHERS)("a client of %s", (_, other) => {
  test("is closed by requireSameUser as soon as it is accepted, and the next good client is served", async () => {
    const { server, peers } = serverOf({ requireSameUser: true });
    await using _server = server;
    const address = await server.listen(openAddress(), { mode: 0o777 });
    expect(await asAnother(address, other)).toBe("closed");
    expect(peers).toEqual([]);
    await using connection = await connect(address);
    expect(text(await connection.unary("a.B", "C", bytes("good")))).toBe("good");
  });

  test("is served, and its credentials are given to the handler, if the option is not set", async () => {
    const { server, peers } = serverOf({});
    await using _server = server;
    const address = await server.listen(openAddress(), { mode: 0o777 });
    expect(await asAnother(address, other)).toBe("answered");
    expect(peers).toMatchObject([other]);
  });
});

const hasNamespaces = spawnSync("unshare", ["--user", "true"]).status === 0;

// In a namespace that maps no other user, the kernel tells 65534 of all of them.
describe.skipIf(OTHERS.length === 0 || !hasNamespaces)("requireSameUser in a user namespace", () => {
  const STRANGER = { uid: 12_345, gid: 12_345 };

  /** A server there, which `unshare` runs with these options. */
  async function serverIn(...options: string[]): Promise<Script> {
    const address = openAddress();
    const source = `
      const server = product.createServer({ requireSameUser: true });
      server.addRaw("a.B", { C: { kind: "unary", handle: (payload) => payload } });
      say(await server.listen(address, { mode: 0o777 }));
    `;
    const script = new Script(source, address, { wrapper: ["unshare", "--user", ...options] });
    expect(await script.nextLine()).toBe(address);
    return script;
  }

  test("admits nobody as the user that stands for all others", async () => {
    await using server = await serverIn();
    expect(await asAnother(server.address, STRANGER)).toBe("closed");
  });

  test("admits this user, which is mapped, and no other", async () => {
    await using server = await serverIn("--map-root-user");
    expect(await asAnother(server.address, STRANGER)).toBe("closed");
    await using connection = await connect(server.address);
    expect(text(await connection.unary("a.B", "C", bytes("good")))).toBe("good");
  });
});
