import {
  existsSync,
  lstatSync,
  readFileSync,
  renameSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { Code, connect, createServer, type Server } from "containerd-shim-protos";
import { describe, expect, test } from "vitest";
import { bytes, failure, text } from "./helpers/outcome.js";
import { RawServer } from "./helpers/raw-peer.js";
import { Script } from "./helpers/script.js";
import { abstractAddress, pathOf, staleSocket, temporaryAddress, temporaryPath } from "./helpers/temp.js";

const EMPTY = new Uint8Array();

function serverThatSays(reply: string): Server {
  return createServer().addRaw("a.B", { C: { kind: "unary", handle: () => bytes(reply) } });
}

async function ask(address: string): Promise<string> {
  await using connection = await connect(address);
  return text(await connection.unary("a.B", "C", EMPTY));
}

describe("the file of a unix socket", () => {
  test.each([0o600, 0o660, 0o777, 0o000])("has the mode %i that listen gave it", async (mode) => {
    await using server = serverThatSays("served");
    const address = await server.listen(temporaryAddress(), { mode });
    const stat = statSync(pathOf(address));
    expect(stat.isSocket()).toBe(true);
    expect(stat.mode & 0o777).toBe(mode);
  });

  test("has a mode by the umask if listen gives none", async () => {
    await using server = serverThatSays("served");
    const address = await server.listen(temporaryAddress());
    expect(statSync(pathOf(address)).mode & 0o777).toBe(0o777 & ~process.umask());
  });

  test("may be named by its bare path, and listen tells the whole address", async () => {
    await using server = serverThatSays("served");
    const path = temporaryPath(".sock");
    expect(await server.listen(path)).toBe(`unix://${path}`);
    expect(await ask(path)).toBe("served");
  });

  test("is removed when the server closes, and may be made again", async () => {
    const server = serverThatSays("first");
    const address = await server.listen(temporaryAddress());
    await server.close();
    expect(existsSync(pathOf(address))).toBe(false);
    await using second = serverThatSays("second");
    expect(await ask(await second.listen(address))).toBe("second");
  });

  test("stays when the server closes if another file has taken its place", async () => {
    const server = serverThatSays("first");
    const address = await server.listen(temporaryAddress());
    renameSync(pathOf(address), temporaryPath(".old"));
    await using second = serverThatSays("second");
    await second.listen(address);
    await server.close();
    expect(await ask(address)).toBe("second");
  });

  test("may be gone already when the server closes", async () => {
    const server = serverThatSays("first");
    const address = await server.listen(temporaryAddress());
    renameSync(pathOf(address), temporaryPath(".old"));
    await expect(server.close()).resolves.toBeUndefined();
  });
});

describe("a stale socket file", () => {
  test("keeps a server from listening unless it reclaims", async () => {
    const address = staleSocket();
    await using server = serverThatSays("reclaimed");
    const error = await failure(server.listen(address));
    expect(error).toMatchObject({ code: Code.Unavailable, cause: { code: "EADDRINUSE" } });
    expect(error.message).toContain(address);

    expect(await server.listen(address, { reclaimStale: true, mode: 0o600 })).toBe(address);
    expect(statSync(pathOf(address)).mode & 0o777).toBe(0o600);
    expect(await ask(address)).toBe("reclaimed");
  });

  test("is what a killed server leaves, and the next one reclaims", async () => {
    const source = `
      const server = product.createServer();
      server.addRaw("a.B", { C: { kind: "unary", handle: () => new TextEncoder().encode("first") } });
      say(await server.listen(address, { reclaimStale: true }));
    `;
    await using first = new Script(source, temporaryAddress());
    expect(await first.nextLine()).toBe(first.address);
    expect(await ask(first.address)).toBe("first");
    await first.kill();
    expect(lstatSync(pathOf(first.address)).isSocket()).toBe(true);
    await using second = serverThatSays("second");
    await second.listen(first.address, { reclaimStale: true });
    expect(await ask(first.address)).toBe("second");
  });
});

describe("reclaimStale", () => {
  test("takes nothing away where there is nothing", async () => {
    await using server = serverThatSays("served");
    expect(await ask(await server.listen(temporaryAddress(), { reclaimStale: true }))).toBe("served");
    const abstract = await server.listen(abstractAddress(), { reclaimStale: true });
    expect(await ask(abstract)).toBe("served");
    await using second = serverThatSays("second");
    expect(await failure(second.listen(abstract, { reclaimStale: true }))).toMatchObject({
      cause: { code: "EADDRINUSE" },
    });
  });

  test("never removes the socket of a live server of this process", async () => {
    await using server = serverThatSays("live");
    const address = await server.listen(temporaryAddress());
    const before = lstatSync(pathOf(address)).ino;
    await using second = serverThatSays("second");
    const error = await failure(second.listen(address, { reclaimStale: true }));
    expect(error).toMatchObject({ code: Code.Unavailable, cause: { code: "EADDRINUSE" } });
    expect(lstatSync(pathOf(address)).ino).toBe(before);
    expect(await ask(address)).toBe("live");
  });

  test("never removes the socket of a live server that is no ttrpc server", async () => {
    await using live = await RawServer.listen();
    await using server = serverThatSays("second");
    const error = await failure(server.listen(live.address, { reclaimStale: true }));
    expect(error).toMatchObject({ code: Code.Unavailable, cause: { code: "EADDRINUSE" } });
    await using connection = await connect(live.address);
    // The first to come was the probe.
    await live.accept();
    const peer = await live.accept();
    const call = connection.unary("a.B", "C", EMPTY);
    const { streamId } = await peer.nextRequest();
    await peer.reply(streamId, bytes("live"));
    expect(text(await call)).toBe("live");
  });

  test("never removes a regular file, nor what a link names", async () => {
    const path = temporaryPath();
    writeFileSync(path, "precious");
    const link = temporaryPath(".link");
    const stale = staleSocket();
    symlinkSync(pathOf(stale), link);
    await using server = serverThatSays("second");
    for (const taken of [path, link]) {
      const error = await failure(server.listen(taken, { reclaimStale: true }));
      expect(error).toMatchObject({ code: Code.Unavailable, cause: { code: "EADDRINUSE" } });
    }
    expect(readFileSync(path, "utf8")).toBe("precious");
    expect(lstatSync(link).isSymbolicLink()).toBe(true);
    expect(lstatSync(pathOf(stale)).isSocket()).toBe(true);
  });
});
