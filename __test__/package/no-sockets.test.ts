import { existsSync } from "node:fs";
import { Socket } from "node:net";
import { Code } from "containerd-shim-protos";
import { describe, expect, it } from "vitest";
import { parseAddress } from "../../src/address.js";
import { probe } from "../../src/cli/proxy/dial.js";
import { Script } from "../helpers/script.js";
import { temporaryAddress, temporaryPath } from "../helpers/temp.js";

describe("where Node makes no sockets", () => {
  /** As `--permission` without `--allow-net` does in Node 25 and later. */
  const PRELUDE = `
    import { readdirSync } from "node:fs";
    import { Duplex } from "node:stream";
    import { createRequire, syncBuiltinESMExports } from "node:module";
    import { runProcess } from "containerd-shim-protos/shim/process";
    // Node makes a socket of it when it is first used.
    void process.stdout;
    const net = createRequire("/")("node:net");
    net.Socket = class { constructor() { throw Object.assign(new Error("not allowed"), { code: "ERR_ACCESS_DENIED" }); } };
    syncBuiltinESMExports();
    const open = () => readdirSync("/proc/self/fd").length;
    const duplex = () => new Duplex({ read() {}, write() {} });
    const failed = async (action) => {
      const before = open();
      const { code, message } = await action().catch((error) => error);
      return JSON.stringify([code, message, open() - before]);
    };
  `;

  it("a process is not started, and a Duplex is refused, with the reason, and nothing stays open", async () => {
    const marker = temporaryPath();
    await using script = new Script(
      `${PRELUDE}
      const server = product.createServer().addRaw("a.B", {});
      // What the first of each kind opens stays open.
      await failed(() => product.connect(duplex()));
      say(await failed(() => product.connect(duplex())));
      say(await failed(() => server.listen(duplex())));
      say(await failed(() => runProcess("touch", [address], { input: Uint8Array.of(1) })));
      await server.close();
    `,
      marker,
    );
    const reason = "Node makes no socket of a descriptor: not allowed";
    const refused = [Code.FailedPrecondition, `a connection over a Duplex cannot be made: ${reason}`, 0];
    expect((await script.rest()).map((line) => JSON.parse(line) as unknown)).toEqual([
      refused,
      refused,
      ["ERR_ACCESS_DENIED", reason, 0],
    ]);
    expect(existsSync(marker)).toBe(false);
  });

  it("a container's streams are no streams of Node's, with the reason, and nothing stays open", async () => {
    await using script = new Script(
      `${PRELUDE}
      import { openStdio } from "containerd-shim-protos/shim/io";
      const streams = async () => (await openStdio({ stdin: "/dev/null", stdout: "/dev/null", stderr: "" })).streams();
      await failed(streams);
      say(await failed(streams));
    `,
      "",
    );
    const reason = "Node makes no socket of a descriptor: not allowed";
    expect((await script.rest()).map((line) => JSON.parse(line) as unknown)).toEqual([
      ["ERR_ACCESS_DENIED", reason, 0],
    ]);
  });

  it("shimctl proxy says why it does not connect", async () => {
    const target = parseAddress(temporaryAddress());
    const denied = new Error("not allowed");
    const dial = () => {
      const socket = new Socket();
      // Node has the denial where other errors have their number.
      socket.destroy(Object.assign(new Error("connect: not allowed"), { errno: denied }));
      return socket;
    };
    const message = `cannot connect to ${target.text}: connect: not allowed`;
    await expect(probe(dial, target)).rejects.toThrow(message);
  });
});
