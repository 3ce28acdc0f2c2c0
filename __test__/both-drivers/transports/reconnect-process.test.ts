import { once } from "node:events";
import { renameSync } from "node:fs";
import { connect as connectSocket, type NetConnectOpts, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { createServer, type Server } from "containerd-shim-protos";
import { describe, expect, test } from "vitest";
import { Script } from "../../helpers/script.js";
import { bytes } from "../../helpers/outcome.js";
import { pathOf, temporaryAddress } from "../../helpers/temp.js";

function server(): Server {
  return createServer().addRaw("a.B", {
    Who: { kind: "unary", handle: () => bytes("x") },
    Hold: { kind: "unary", handle: () => new Promise<Uint8Array>(() => {}) },
  });
}

describe("the process of a client that connects again", () => {
  const released: [string, string][] = [
    ["no call waits", ""],
    [
      "the streams that waited were left",
      `
      const replies = connection.serverStreaming("a.B", "C", new Uint8Array());
      void replies.next();
      await replies.return();
    `,
    ],
    [
      "it was unref()ed, whatever waits",
      `
      connection.unary("a.B", "C", new Uint8Array(), { timeoutMs: 600_000 });
      connection.unref();
      connection.unary("a.B", "C", new Uint8Array());
    `,
    ],
  ];

  test.each(released)("ends in the gap, when %s", async (_, then) => {
    const left = server();
    const address = await left.listen(temporaryAddress());
    await using script = new Script(
      `
      const connection = await product.connect(address, { reconnect: { initialDelayMs: 600_000, maxDelayMs: 600_000 } });
      const held = connection.unary("a.B", "Hold", new Uint8Array());
      await connection.unary("a.B", "Who", new Uint8Array());
      say("ready");
      await held.catch((error) => say(product.codeName(error.code)));
      ${then}
    `,
      address,
    );
    expect(await script.nextLine()).toBe("ready");
    await left.close({ graceMs: 0 });
    expect(await script.rest()).toEqual(["Unavailable"]);
  });

  test.each(released)("ends while an attempt goes on and %s", async (_name, then) => {
    const left = server();
    const address = await left.listen(temporaryAddress());
    await using script = new Script(attempting(then), address);
    expect(await script.nextLine()).toBe("ready");
    await using _ = await FullListener.at({ path: `${pathOf(address)}.full` });
    renameSync(`${pathOf(address)}.full`, pathOf(address));
    await left.close({ graceMs: 0 });
    expect(await script.rest()).toEqual(["Unavailable"]);
  });

  test("ends while an attempt goes on that the kernel has not answered", async () => {
    const left = server();
    const address = await left.listen("tcp://127.0.0.1:0");
    const [, port] = /:(\d+)$/.exec(address) ?? [];
    // The first attempt comes when the listener is full.
    await using script = new Script(attempting("", 1000, 1500), address);
    expect(await script.nextLine()).toBe("ready");
    await left.close({ graceMs: 0 });
    await using _ = await FullListener.at({ host: "127.0.0.1", port: Number(port) });
    expect(await script.rest()).toEqual(["Unavailable"]);
  });

  test("goes on while a call waits for an attempt that goes on", async () => {
    const left = server();
    const address = await left.listen(temporaryAddress());
    const then = `say(product.codeName((await connection.unary("a.B", "C", new Uint8Array()).catch((e) => e)).code));`;
    await using script = new Script(attempting(then), address);
    expect(await script.nextLine()).toBe("ready");
    await using _ = await FullListener.at({ path: `${pathOf(address)}.full` });
    renameSync(`${pathOf(address)}.full`, pathOf(address));
    await left.close({ graceMs: 0 });
    expect(await script.rest()).toEqual(["Unavailable", "Unavailable"]);
  });
});

/** A script whose connection ends and which does `then` in the gap. It stays until an attempt to connect is under way. */
const attempting = (then: string, delayMs = 5, stayMs = 1000) => `
  const options = { connectTimeoutMs: 2000, reconnect: { initialDelayMs: ${delayMs}, maxDelayMs: ${delayMs} } };
  const connection = await product.connect(address, options);
  const held = connection.unary("a.B", "Hold", new Uint8Array());
  await connection.unary("a.B", "Who", new Uint8Array());
  say("ready");
  await held.catch((error) => say(product.codeName(error.code)));
  ${then}
  setTimeout(() => sayIfHeld("held"), ${stayMs});
`;

/** A listener that accepts nobody, and whose backlog is full. */
class FullListener implements AsyncDisposable {
  readonly #script: Script;
  readonly #sockets: Socket[] = [];

  private constructor(script: Script) {
    this.#script = script;
  }

  static async at(place: NetConnectOpts): Promise<FullListener> {
    const script = new Script(`
      import { createServer } from "node:net";
      createServer().listen({ backlog: 0, ...${JSON.stringify(place)} }, () => say("listening"));
    `);
    if ((await script.nextLine()) !== "listening") throw new Error("nobody listens");
    script.pause();
    const listener = new FullListener(script);
    await listener.#connect(place);
    return listener;
  }

  /** Connects until the kernel takes no more. */
  async #connect(place: NetConnectOpts): Promise<void> {
    for (let more = true; more;) {
      const socket = connectSocket(place);
      this.#sockets.push(socket);
      const connected = once(socket, "connect").then(
        () => true,
        () => false,
      );
      more = await Promise.race([connected, sleep(100, false)]);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.on("error", () => undefined).destroy();
    await this.#script.kill();
  }
}
