import { closeSync, mkdirSync, openSync, writeFileSync, writeSync } from "node:fs";
import { Duplex } from "node:stream";
import { type Address, Code, connect, connectSync, createServer } from "containerd-shim-protos";
import { describe, expect, test } from "vitest";
import { freePort } from "../helpers/free-port.js";
import { bytes, failure, rejection, text, written } from "../helpers/outcome.js";
import { pathOf, staleSocket, temporaryAddress, temporaryPath } from "../helpers/temp.js";

const EMPTY = new Uint8Array();

/** The ways to open an address. All refuse a wrong one alike. */
const WAYS = [
  { way: "connect", open: (address: unknown) => connect(address as Address) },
  { way: "connectSync", open: async (address: unknown) => connectSync(address as Address) },
  { way: "listen", open: (address: unknown) => createServer().listen(address as Address) },
];

describe.each(WAYS)("$way", ({ open }) => {
  test.each([
    "",
    "relative/path.sock",
    "rel.sock",
    "./rel.sock",
    "unix://rel.sock",
    "unix://./rel.sock",
    "unix://../rel.sock",
    "http://127.0.0.1:80",
    "UNIX:///run/a.sock",
    "unix:/run/a.sock",
    "unix://",
    "unix://@",
    "unix:///run/a\0b.sock",
    `unix:///${"a".repeat(107)}`,
    `unix:///${"ü".repeat(54)}`,
    `/${"a".repeat(107)}`,
    `unix://@${"a".repeat(107)}`,
    "tcp://",
    "tcp://localhost:80",
    "tcp://127.0.0.1",
    "tcp://127.0.0.1:",
    "tcp://127.0.0.1:65536",
    "tcp://127.0.0.1:-1",
    "tcp://127.0.0.256:80",
    "tcp://::1:80",
    "tcp://[127.0.0.1]:80",
    "tcp://[::1]",
    "vsock://",
    "vsock://2",
    "vsock://host:1024",
    "vsock://-2:1024",
    "vsock://4294967296:1024",
    "vsock://2:4294967296",
  ])("refuses the address %j by name", async (address) => {
    const error = await rejection(open(address));
    expect(error).toBeInstanceOf(TypeError);
    const shown = address.startsWith("/") ? `unix://${address}` : address;
    expect((error as TypeError).message).toContain(JSON.stringify(shown));
  });

  test.each([
    ["objects that are read", new Duplex({ readableObjectMode: true }), /object mode/],
    ["objects that are written", new Duplex({ writableObjectMode: true }), /object mode/],
    ["text", new Duplex({ read() {} }).setEncoding("utf8"), /its encoding is utf8/],
  ])("refuses a Duplex of %s", async (_, duplex, why) => {
    const error = await rejection(open(duplex));
    expect(error).toBeInstanceOf(TypeError);
    expect((error as TypeError).message).toMatch(why);
  });

  test.each([
    [undefined, "undefined"],
    [null, "null"],
    [42, "number"],
    [{}, "object"],
    [{ fd: -1 }, "{ fd: -1 }"],
    [{ fd: 1.5 }, "{ fd: 1.5 }"],
    [{ fd: "3" }, '{ fd: "3" }'],
    [{ fd: 2 ** 31 }, "{ fd: 2147483648 }"],
  ])("refuses %j, which is not an address", async (address, named) => {
    const error = await rejection(open(address));
    expect(error).toBeInstanceOf(TypeError);
    expect((error as TypeError).message).toContain(named);
  });

  test("leaves a descriptor open that has the lowest bits of a number that is none", async () => {
    const fd = openSync("/dev/null", "w");
    try {
      await expect(rejection(open({ fd: 2 ** 32 + fd }))).resolves.toBeInstanceOf(TypeError);
      expect(writeSync(fd, "still open")).toBe(10);
    } finally {
      closeSync(fd);
    }
  });

  test("reports a descriptor that is not open", async () => {
    const error = await failure(open({ fd: 1_000_000 }));
    expect(error).toMatchObject({ code: Code.Unavailable, cause: { code: "EBADF" } });
    expect(error.message).toContain("fd:1000000");
  });
});

describe.each(WAYS.slice(0, 2))("$way where nobody listens", ({ open }) => {
  test.each([
    ["a missing socket", () => temporaryAddress(), "ENOENT"],
    ["a socket without a server", () => staleSocket(), "ECONNREFUSED"],
    ["an abstract name without a server", () => `unix://@nobody-${process.pid}`, "ECONNREFUSED"],
    ["a regular file", () => madeFile(), "ECONNREFUSED"],
    ["a folder", () => madeFolder(), "ECONNREFUSED"],
    ["a path through a file", () => `${madeFile()}/a.sock`, "ENOTDIR"],
    ["a port without a server", async () => `tcp://127.0.0.1:${await freePort()}`, "ECONNREFUSED"],
  ])("reports %s", async (_, make, code) => {
    const address = await make();
    const error = await failure(open(address));
    expect(error).toMatchObject({ code: Code.Unavailable, cause: { code } });
    expect(error.message).toContain(address);
    expect(error.message).toContain(code);
  });

  test("reports a missing socket by its bare path, too", async () => {
    const path = temporaryPath(".sock");
    const error = await failure(open(path));
    expect(error).toMatchObject({ code: Code.Unavailable, cause: { code: "ENOENT" } });
    expect(error.message).toContain(path);
  });
});

describe("listen", () => {
  test.each([
    ["a missing folder", () => `${temporaryAddress()}/a.sock`, "ENOENT"],
    ["a path through a file", () => `${madeFile()}/a.sock`, "ENOTDIR"],
    ["a regular file", () => madeFile(), "EADDRINUSE"],
    ["an address of another machine", () => "tcp://192.0.2.1:0", "EADDRNOTAVAIL"],
  ])("reports %s, and the server can still listen elsewhere", async (_, make, code) => {
    await using server = createServer().addRaw("a.B", {
      C: { kind: "unary", handle: () => bytes("served") },
    });
    const address = make();
    const error = await failure(server.listen(address));
    expect(error).toMatchObject({ code: Code.Unavailable, cause: { code } });
    expect(error.message).toContain(address);

    await using connection = await connect(await server.listen(temporaryAddress()));
    expect(text(await connection.unary("a.B", "C", EMPTY))).toBe("served");
  });

  test.each([-1, 0o1000, 1.5, "0600", null])("refuses the mode %j", async (mode) => {
    const listening = createServer().listen(temporaryAddress(), { mode: mode as number });
    expect(await rejection(listening)).toEqual(
      new TypeError(`mode must be permission bits from 0 to 0o777, not ${written(mode)}`),
    );
  });
});

describe.each([0, -1, Number.NaN, "1000", null])("a connectTimeoutMs of %j", (connectTimeoutMs) => {
  test.each([
    ["connect", async () => connect(temporaryAddress(), { connectTimeoutMs: connectTimeoutMs as number })],
    [
      "connectSync",
      async () => connectSync(temporaryAddress(), { connectTimeoutMs: connectTimeoutMs as number }),
    ],
  ])("is refused by %s", async (_, open) => {
    const message = `connectTimeoutMs must be a number of milliseconds above 0, not ${written(connectTimeoutMs)}`;
    expect(await rejection(open())).toEqual(new TypeError(message));
  });
});

function madeFile(): string {
  const address = temporaryAddress();
  writeFileSync(pathOf(address), "not a socket");
  return address;
}

function madeFolder(): string {
  const address = temporaryAddress();
  mkdirSync(pathOf(address));
  return address;
}
