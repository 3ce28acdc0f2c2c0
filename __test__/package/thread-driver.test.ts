import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { connect, connectSync, createServer, type Driver } from "containerd-shim-protos";
import { describe, expect, test, vi } from "vitest";
import { addonFile } from "../../src/native/load.js";
import { BATCH_SIZE } from "../../src/native/records.js";
import { bytes, failureOf, rejection, text } from "../helpers/outcome.js";
import { RawServer } from "../helpers/raw-peer.js";
import { Script } from "../helpers/script.js";
import { temporaryAddress, temporaryPath } from "../helpers/temp.js";

const EMPTY = new Uint8Array();
const echo = { Echo: { kind: "unary", handle: (payload: Uint8Array) => payload } } as const;

describe("a driver", () => {
  test("is the loop or a thread, for a connection and for a server", async () => {
    const driver = "fiber" as Driver;
    const message = "driver must be one of loop, thread, not fiber";
    expect(() => createServer({ driver })).toThrow(new TypeError(message));
    expect(await rejection(connect(temporaryAddress(), { driver }))).toEqual(new TypeError(message));
  });

  test.each<[Driver, Driver]>([
    ["loop", "thread"],
    ["thread", "loop"],
    ["thread", "thread"],
  ])("of a client (%s) and of a server (%s) in one process can be different", async (client, server) => {
    await using echoing = createServer({ driver: server }).addRaw("a.B", echo);
    await using connection = await connect(await echoing.listen(temporaryAddress()), { driver: client });
    const replies = Array.from({ length: 100 }, (_, index) =>
      connection.unary("a.B", "Echo", bytes(`${index}`)).then(text),
    );
    expect(await Promise.all(replies)).toEqual(replies.map((_, index) => `${index}`));
  });

  test.each<Driver>(["loop", "thread"])("(%s) keeps working while a test fakes timers", async (driver) => {
    await using server = createServer({ driver }).addRaw("a.B", echo);
    await using connection = await connect(await server.listen(temporaryAddress()), { driver });
    vi.useFakeTimers({ toFake: ["setImmediate", "setTimeout"] });
    try {
      for (let index = 0; index < 20; index++) {
        expect(text(await connection.unary("a.B", "Echo", bytes(`${index}`)))).toBe(`${index}`);
      }
    } finally {
      vi.useRealTimers();
    }
  });

  test.each<Driver>(["loop", "thread"])(
    "(%s) does not keep the process alive for a malformed batch",
    (driver) => {
      const script = `
      const addon = require(process.argv[1]);
      const buffer = () => new Uint8Array(${BATCH_SIZE});
      const port = new addon.Port(buffer(), buffer(), () => {}, 1, ${driver === "thread"}, true);
      try {
        port.submit(3, false);
      } catch ({ message }) {
        console.log(message);
      }
    `;
      const options = { encoding: "utf8", timeout: 10_000 } as const;
      const { stdout, status } = spawnSync(process.execPath, ["-e", script, addonFile()], options);
      const message = "a batch is malformed: a record is shorter than its header\n";
      expect({ stdout, status }).toEqual({ stdout: message, status: 0 });
    },
  );

  test("of a server on this thread cannot help a call that blocks the thread", async () => {
    await using server = createServer({ driver: "thread" }).addRaw("a.B", echo);
    using blocking = connectSync(await server.listen(temporaryAddress()));
    expect(failureOf(() => blocking.unary("a.B", "Echo", EMPTY)).message).toContain("would wait forever");
  });
});

describe("the thread driver", () => {
  test("sends, and answers requests that need no handler, while JavaScript is busy", async () => {
    await using script = new Script(
      `
      const server = product.createServer({ driver: "thread" });
      server.addRaw("a.B", { Echo: { kind: "unary", handle: (payload) => payload } });
      const bound = await server.listen(address);
      say("listening");
      await new Promise((resolve) => setTimeout(resolve, 100));
      say("busy");
      const until = performance.now() + 2000;
      while (performance.now() < until);
      say("free");
      await new Promise((resolve) => setTimeout(resolve, 100));
      await server.close();
    `,
      temporaryAddress(),
    );
    expect(await script.nextLine()).toBe("listening");
    await using connection = await connect(script.address);
    expect(await script.nextLine()).toBe("busy");
    // The runtime itself answers an unknown method, and a call whose deadline passes.
    const unknown = await rejection(connection.unary("a.B", "Nothing", EMPTY));
    const late = await rejection(connection.unary("a.B", "Echo", EMPTY, { timeoutMs: 50 }));
    let free = false;
    const line = script.nextLine().then((said) => {
      free = true;
      return said;
    });
    await sleep(0);
    expect([unknown, late]).toMatchObject([{ code: 12 }, { code: 4 }]);
    expect(free).toBe(false);
    expect(await line).toBe("free");
  });

  test("sends a call that was made just before JavaScript got busy", async () => {
    await using server = await RawServer.listen();
    const arrived = temporaryPath("arrived");
    await using script = new Script(
      `
      import { existsSync } from "node:fs";
      const connection = await product.connect(address, { driver: "thread" });
      const reply = connection.unary("a.B", "C", new Uint8Array());
      await new Promise((resolve) => process.nextTick(resolve));
      say("called");
      const until = performance.now() + 10_000;
      while (!existsSync("${arrived}") && performance.now() < until);
      say(existsSync("${arrived}") ? "arrived" : "not while JavaScript was busy");
      say(new TextDecoder().decode(await reply));
    `,
      server.address,
    );
    const peer = await server.accept();
    expect(await script.nextLine()).toBe("called");
    const { streamId } = await peer.nextRequest();
    writeFileSync(arrived, "");
    await peer.reply(streamId, bytes("reply"));
    expect(await script.rest()).toEqual(["arrived", "reply"]);
  });

  test("reads what comes for a program that polled for answers and then got busy", async () => {
    await using server = await RawServer.listen();
    await using script = new Script(
      `
      const connection = await product.connect(address, { driver: "thread", busyPollMs: 10 });
      const call = () => connection.unary("a.B", "C", new Uint8Array());
      for (let i = 0; i < 20; i++) await call();
      const large = call();
      await call();
      say("busy");
      const until = performance.now() + 3000;
      while (performance.now() < until);
      say("free");
      say(String((await large).length));
    `,
      server.address,
    );
    const peer = await server.accept();
    const answerNext = async () => peer.reply((await peer.nextRequest()).streamId, EMPTY);
    for (let i = 0; i < 20; i++) await answerNext();
    const { streamId } = await peer.nextRequest();
    await answerNext();
    expect(await script.nextLine()).toBe("busy");
    const written = peer.reply(streamId, new Uint8Array(3 << 20)).then(() => "read");
    expect(await Promise.race([written, script.nextLine()])).toBe("read");
    expect(await script.rest()).toEqual([String(3 << 20)]);
  });

  test("accepts more than its queue holds, and loses nothing", async () => {
    await using server = createServer({ driver: "thread" }).addRaw("a.B", echo);
    await using connection = await connect(await server.listen(temporaryAddress()), { driver: "thread" });
    const payload = new Uint8Array(1 << 20);
    // In one go: 96 MiB of requests. The queue holds 64 MiB, and a connection lets 64 MiB wait.
    const replies = Array.from({ length: 96 }, () => connection.unary("a.B", "Echo", payload));
    const outcomes = await Promise.allSettled(replies);
    const codes = outcomes.map((outcome) =>
      outcome.status === "fulfilled" ? outcome.value.length : (outcome.reason as { code: number }).code,
    );
    expect(codes.filter((code) => code !== payload.length && code !== 8)).toEqual([]);
    expect(codes.filter((code) => code === payload.length).length).toBeGreaterThan(32);
  });

  test("fails with an error if the thread cannot start, and does not keep the process alive", async () => {
    await using script = new Script(
      `
      import fs from "node:fs";
      await product.createServer().addRaw("a.B", {}).close();
      const open = [];
      try { for (;;) open.push(fs.openSync("/dev/null")); } catch {}
      fs.closeSync(open.pop());
      let failure;
      try { product.createServer({ driver: "thread" }); } catch (error) { failure = error; }
      for (const fd of open) fs.closeSync(fd);
      say([failure.code, failure.cause.code, failure.message].join(" "));
      product.createServer({ driver: "thread" });
      say("started");
    `,
      "",
      { maxFiles: 128 },
    );
    expect(await script.rest()).toEqual([
      '14 EMFILE cannot start driver "thread": EMFILE, too many open files',
      "started",
    ]);
  });
});
