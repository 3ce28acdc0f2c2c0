import { duplexPair } from "node:stream";
import { Code, connect, createServer, type RawMethods } from "containerd-shim-protos";
import { listenEvents } from "containerd-shim-protos/events";
import { expect, test } from "vitest";
import { bytes, failure, text } from "../helpers/outcome.js";
import { temporaryAddress } from "../helpers/temp.js";

/** A thread can serve so many methods at a time. */
const MOST_METHODS = 1 << 16;

const METHODS: RawMethods = Object.fromEntries(
  Array.from({ length: 1024 }, (_, index) => [
    `M${index}`,
    { kind: "unary", handle: async (payload) => payload },
  ]),
);
const TIMES = MOST_METHODS / 1024 + 2;

const newServer = () => createServer().addRaw("a.B", METHODS);

test("servers that never listen leave nothing behind", async () => {
  for (let count = 0; count < TIMES; count++) newServer();
  const server = newServer();
  const address = temporaryAddress();
  expect(await server.listen(address)).toBe(address);
  await server.close();
});

test("servers that cannot listen leave nothing behind, and may try again", async () => {
  const server = newServer();
  for (let count = 0; count < TIMES; count++) {
    for (const one of [server, newServer()]) {
      const error = await failure(one.listen("unix:///nowhere/at/all.sock"));
      expect(error).toMatchObject({ code: Code.Unavailable, cause: { code: "ENOENT" } });
    }
  }
  const address = await server.listen(temporaryAddress());
  await using connection = await connect(address);
  expect(text(await connection.unary("a.B", "M1023", bytes("served")))).toBe("served");
  await server.close();
});

test("a receiver of events that cannot listen leaves nothing behind", () => {
  let error: unknown;
  for (let count = 0; count < MOST_METHODS + 2; count++) {
    try {
      listenEvents("unix:///nowhere/at/all.sock");
    } catch (thrown) {
      error = thrown;
    }
  }
  expect(error).toMatchObject({ code: Code.Unavailable, cause: { code: "ENOENT" } });
});

test("servers whose only peers have left leave nothing behind, and may serve another", async () => {
  const server = newServer();
  for (let count = 0; count < TIMES; count++) {
    for (const one of [server, newServer()]) {
      const [ours, theirs] = duplexPair();
      await one.listen(ours);
      const connection = await connect(theirs);
      expect(text(await connection.unary("a.B", `M${count}`, bytes("served")))).toBe("served");
      await connection.close();
    }
  }
  await server.close();
});
