import { spawn } from "node:child_process";
import { once } from "node:events";
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { Code, connect, createServer, type Server } from "containerd-shim-protos";
import { describe, expect, test } from "vitest";
import { bytes, failure, text } from "../helpers/outcome.js";
import { RawServer } from "../helpers/raw-peer.js";
import { Script } from "../helpers/script.js";
import { abstractAddress, pathOf, staleSocket, temporaryAddress, temporaryPath } from "../helpers/temp.js";

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

  test("never has a wider mode than listen gave it", async () => {
    // A thread watches the mode all the time, and the umask hides nothing.
    const script = new Script(
      `
      const { Worker } = await import("node:worker_threads");
      process.umask(0);
      const looks = new Worker(\`
        const { statSync } = require("node:fs");
        const { parentPort, workerData } = require("node:worker_threads");
        let [seen, wider, over] = [0, 0, false];
        parentPort.once("message", () => (over = true));
        const look = () => {
          for (let i = 0; i < 2000; i++) {
            const stat = statSync(workerData, { throwIfNoEntry: false });
            if (stat !== undefined) seen++;
            if (stat !== undefined && (stat.mode & 0o177) !== 0) wider++;
          }
          if (!over) setImmediate(look);
          else parentPort.postMessage(wider === 0 ? "never" : wider + " of " + seen);
          if (seen > 0) parentPort.postMessage("seen");
        };
        look();
      \`, { eval: true, execArgv: [], workerData: address.slice("unix://".length) });
      let seen = false;
      looks.on("message", (message) => {
        if (message === "seen") seen = true;
        else say(message);
      });
      // On a busy machine the watching thread may not run for a while.
      for (let i = 0; i < 400 || !seen; i++) {
        const server = product.createServer();
        await server.listen(address, { mode: 0o600 });
        await server.close();
      }
      looks.postMessage("over");
    `,
      temporaryAddress(),
    );
    await using _ = script;
    expect(await script.rest()).toEqual(["never"]);
  });

  test("is the only file: nothing is left beside it", async () => {
    const folder = temporaryPath();
    mkdirSync(folder);
    const server = serverThatSays("served");
    await server.listen(`unix://${folder}/s`, { reclaimStale: true });
    expect(readdirSync(folder)).toEqual(["s"]);
    await server.close();
    expect(readdirSync(folder)).toEqual([]);
  });

  test("of an abstract name does not exist, so that a mode, which would keep nobody away, is refused", async () => {
    await using server = serverThatSays("served");
    const address = abstractAddress();
    const why = `mode is for a socket's file, and ${address} has none: requireSameUser of the server decides who may connect`;
    await expect(server.listen(address, { mode: 0o600 })).rejects.toThrow(new TypeError(why));
    expect(await server.listen(address)).toBe(address);
  });

  test("has a mode by the umask if listen is given none", async () => {
    await using server = serverThatSays("served");
    const address = await server.listen(temporaryAddress());
    expect(statSync(pathOf(address)).mode & 0o777).toBe(0o777 & ~process.umask());
  });

  test("may be named by its bare path, and listen returns the full address", async () => {
    await using server = serverThatSays("served");
    const path = temporaryPath(".sock");
    expect(await server.listen(path)).toBe(`unix://${path}`);
    expect(await ask(path)).toBe("served");
  });

  test("is removed when the server closes, and can be created again", async () => {
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
  test("keeps a server from listening unless it reclaims the path", async () => {
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
  test("reports that a path cannot be locked, and names the lock", async () => {
    const address = staleSocket();
    const path = pathOf(address);
    const lock = join(dirname(path), `.${basename(path)}.ttrpc-lock`);
    mkdirSync(lock);
    await using server = serverThatSays("second");
    const error = await failure(server.listen(address, { reclaimStale: true }));
    expect(error).toMatchObject({ code: Code.Unavailable, cause: { code: "EISDIR" } });
    expect(error.message).toContain(`cannot reclaim ${address} under the lock .${basename(path)}.ttrpc-lock`);
    rmdirSync(lock);
    expect(await server.listen(address, { reclaimStale: true })).toBe(address);
  });

  test("waits for the holder of the path's lock, but not forever", async () => {
    const address = staleSocket();
    const lock = `${dirname(pathOf(address))}/.${basename(pathOf(address))}.ttrpc-lock`;
    const holder = spawn("flock", [lock, "-c", "echo held; exec sleep 100"], { detached: true });
    await once(holder.stdout, "data");
    await using server = serverThatSays("second");
    const error = await failure(server.listen(address, { reclaimStale: true }));
    expect(error).toMatchObject({ code: Code.Unavailable, cause: { code: "EBUSY" } });
    process.kill(-(holder.pid ?? 0), "SIGKILL");
    await once(holder, "close");
    expect(await server.listen(address, { reclaimStale: true })).toBe(address);
  });

  test("removes nothing where there is nothing", async () => {
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

  test("never removes the socket of a live server that does not speak ttrpc", async () => {
    await using live = await RawServer.listen();
    await using server = serverThatSays("second");
    const error = await failure(server.listen(live.address, { reclaimStale: true }));
    expect(error).toMatchObject({ code: Code.Unavailable, cause: { code: "EADDRINUSE" } });
    await using connection = await connect(live.address);
    // The first connection was the probe.
    await live.accept();
    const peer = await live.accept();
    const call = connection.unary("a.B", "C", EMPTY);
    const { streamId } = await peer.nextRequest();
    await peer.reply(streamId, bytes("live"));
    expect(text(await call)).toBe("live");
  });

  test("never removes a regular file or the target of a link", async () => {
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
