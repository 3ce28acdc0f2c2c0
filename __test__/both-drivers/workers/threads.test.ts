import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import { Code, connect, connectSync, createServer } from "containerd-shim-protos";
import { describe, expect, test } from "vitest";
import { collectTexts, several } from "../../helpers/iterables.js";
import { bytes, deferred, failure, rejection, text } from "../../helpers/outcome.js";
import { RawServer } from "../../helpers/raw-peer.js";
import { Script } from "../../helpers/script.js";
import { temporaryAddress, temporaryPath } from "../../helpers/temp.js";
import { PACKAGE } from "../../helpers/package.js";

const EMPTY = new Uint8Array();

/** What a worker's code may use: the product, its data, `say` to post to the thread that started it, `heard` for a reply. */
function workerOf(code: string, workerData: unknown): Worker {
  const source = `
    const { parentPort, workerData } = require("node:worker_threads");
    const { once } = require("node:events");
    const say = (value) => parentPort.postMessage(value);
    const heard = () => once(parentPort, "message").then(([value]) => value);
    import("${PACKAGE}").then(async (product) => {
      ${code}
    });
  `;
  return new Worker(source, { eval: true, workerData });
}

async function nextMessage<T>(worker: Worker): Promise<T> {
  // "error" rejects this.
  const [message] = (await once(worker, "message")) as [T];
  return message;
}

/** A server in a worker, with methods of all four kinds. */
const SERVER = `
  const server = product.createServer().addRaw("a.B", {
    Echo: { kind: "unary", handle: (payload) => payload },
    Hold: { kind: "unary", handle: () => new Promise(() => {}) },
    Chat: { kind: "bidi_streaming", async *handle(requests) { yield* requests; } },
    Sum: {
      kind: "client_streaming",
      async handle(requests) {
        let sum = 0;
        for await (const { length } of requests) sum += length;
        return Buffer.from(String(sum));
      },
    },
    List: { kind: "server_streaming", async *handle(payload) { for (let i = 0; i < 3; i++) yield payload; } },
  });
  say(await server.listen(workerData));
`;

describe("a server in a worker", () => {
  test("serves calls and streams of the thread that started it, including blocking calls", async () => {
    const worker = workerOf(SERVER, temporaryAddress());
    const address = await nextMessage<string>(worker);
    await using connection = await connect(address);
    using blocking = connectSync(address);
    const outcomes = await Promise.all([
      collectTexts(connection.bidiStreaming("a.B", "Chat", several("a", "", "b"))),
      collectTexts(connection.serverStreaming("a.B", "List", bytes("l"))),
      connection.clientStreaming("a.B", "Sum", several("four", "five!")).then(text),
      // This blocks the thread: the worker has a runtime and an event loop of its own.
      text(blocking.unary("a.B", "Echo", bytes("in place"))),
    ]);
    expect(outcomes).toEqual([["a", "", "b"], ["l", "l", "l"], "9", "in place"]);
    await worker.terminate();
    expect(await connection.closed).toEqual({ reason: "remote" });
  });

  test("is gone when the worker ends by itself, and so is its listener", async () => {
    const worker = workerOf(`${SERVER} await heard(); await server.close();`, temporaryAddress());
    const address = await nextMessage<string>(worker);
    await using connection = await connect(address);
    expect(text(await connection.unary("a.B", "Echo", bytes("x")))).toBe("x");
    worker.postMessage("end", []);
    const [code] = (await once(worker, "exit")) as [number];
    expect(code).toBe(0);
    expect(await connection.closed).toEqual({ reason: "remote" });
    expect(await failure(connect(address))).toMatchObject({ code: Code.Unavailable });
  });

  test("fails calls and streams as if a process had died when the worker is terminated", async () => {
    const worker = workerOf(SERVER, temporaryAddress());
    await using connection = await connect(await nextMessage<string>(worker));
    const reached = deferred();
    async function* endless() {
      for (;;) yield bytes("x");
    }
    const chat = rejection(
      (async () => {
        for await (const _ of connection.bidiStreaming("a.B", "Chat", endless())) reached.resolve();
      })(),
    );
    const calls = [chat, failure(connection.unary("a.B", "Hold", EMPTY))];
    await reached.promise;
    await worker.terminate();
    for (const error of await Promise.all(calls)) expect(error).toMatchObject({ code: Code.Unavailable });
  });
});

describe("clients in workers", () => {
  test("each have a port of their own, and call this thread's server at the same time", async () => {
    const seen = new Set<number>();
    await using server = createServer().addRaw("a.B", {
      Echo: {
        kind: "unary",
        handle(payload, { connection }) {
          seen.add(connection.id);
          return payload;
        },
      },
    });
    const address = await server.listen(temporaryAddress());
    const code = `
      const connection = await product.connect(workerData.address);
      const replies = await Promise.all(
        Array.from({ length: 200 }, (_, index) =>
          connection.unary("a.B", "Echo", Buffer.from(workerData.name + index)),
        ),
      );
      say(replies.map((reply) => Buffer.from(reply).toString()));
    `;
    const names = ["a", "b", "c"];
    const workers = names.map((name) => workerOf(code, { address, name }));
    const exits = workers.map((worker) => once(worker, "exit"));
    const replies = await Promise.all(workers.map((worker) => nextMessage<string[]>(worker)));
    expect(replies).toEqual(
      names.map((name) => Array.from({ length: 200 }, (_, index) => `${name}${index}`)),
    );
    expect(seen.size).toBe(3);
    // An idle connection keeps neither a worker nor a process alive.
    expect(await Promise.all(exits)).toEqual([[0], [0], [0]]);
  });

  test("may make blocking calls to this thread's server, which keeps serving meanwhile", async () => {
    await using server = createServer().addRaw("a.B", {
      Echo: { kind: "unary", handle: async (payload) => payload },
    });
    const address = await server.listen(temporaryAddress());
    const code = `
      const connection = product.connectSync(workerData);
      say(Buffer.from(connection.unary("a.B", "Echo", Buffer.from("waited"))).toString());
    `;
    const worker = workerOf(code, address);
    // A worker that ends reports both at once.
    const exit = once(worker, "exit");
    expect(await nextMessage(worker)).toBe("waited");
    expect(await exit).toEqual([0]);
  });
});

/** What the two scripts below count before and after. */
const COUNTS = `
  import { readdirSync } from "node:fs";
  import { once } from "node:events";
  import { Worker } from "node:worker_threads";
  const descriptors = () => readdirSync("/proc/self/fd").length;
  const start = (code, workerData) => new Worker(
    'const { parentPort, workerData } = require("node:worker_threads");' +
      'import("${PACKAGE}").then(async (product) => {' + code + '});',
    // Not this script's --input-type.
    { eval: true, workerData, execArgv: [] },
  );
  const ROUNDS = 100;
  /** The first rounds open descriptors that stay open: those of the runtime and the event loop. */
  const WARM = 5;
  let before;
  const round = async (index, work) => {
    await work();
    if (index === WARM) before = descriptors();
  };
`;

describe("worker.terminate() in the middle of calls and streams", () => {
  test("of a client ends its handlers, a hundred times, and leaves no descriptor and nothing that keeps the process alive", async () => {
    await using script = new Script(
      `${COUNTS}
      let aborted = 0;
      const hold = (context) => new Promise((resolve) => {
        context.signal.addEventListener("abort", () => {
          aborted++;
          resolve(new Uint8Array());
        });
      });
      const server = product.createServer().addRaw("a.B", {
        Hold: { kind: "unary", handle: (_, context) => hold(context) },
        Chat: {
          kind: "bidi_streaming",
          async *handle(requests, context) {
            yield new Uint8Array();
            await hold(context);
          },
        },
      });
      await server.listen(address);
      const code = \`
        const connection = await product.connect(workerData);
        async function* forever() { for (;;) yield new Uint8Array(1000); }
        connection.unary("a.B", "Hold", new Uint8Array()).catch(() => {});
        await connection.bidiStreaming("a.B", "Chat", forever()).next();
        parentPort.postMessage("in mid-call");
      \`;
      for (let index = 0; index < ROUNDS; index++) {
        await round(index, async () => {
          const worker = start(code, address);
          await once(worker, "message");
          const goal = aborted + 2;
          await worker.terminate();
          // The end of the connection reaches the handlers in a turn of the event loop.
          while (aborted < goal) await new Promise(setImmediate);
        });
      }
      say(String(aborted));
      say(descriptors() <= before ? "no descriptor more" : before + " -> " + descriptors());
      await server.close();
    `,
      temporaryAddress(),
    );
    // It ends by itself, with empty stderr.
    expect(await script.rest()).toEqual(["200", "no descriptor more"]);
  }, 60_000);

  test("of a server ends its callers' calls, a hundred times, and leaves no descriptor and nothing that keeps the process alive", async () => {
    await using script = new Script(
      `${COUNTS}
      const code = \`
        const server = product.createServer().addRaw("a.B", {
          Hold: { kind: "unary", handle: () => new Promise(() => {}) },
          Chat: { kind: "bidi_streaming", async *handle(requests) { yield* requests; } },
        });
        await server.listen(workerData, { reclaimStale: true });
        parentPort.postMessage("listening");
      \`;
      let failed = 0;
      async function* forever() { for (;;) yield new Uint8Array(1000); }
      for (let index = 0; index < ROUNDS; index++) {
        await round(index, async () => {
          const worker = start(code, address);
          await once(worker, "message");
          const connection = await product.connect(address);
          const call = connection.unary("a.B", "Hold", new Uint8Array()).catch(() => failed++);
          const chat = connection.bidiStreaming("a.B", "Chat", forever());
          await chat.next();
          await worker.terminate();
          await call;
          await (async () => { for await (const _ of chat); })().catch(() => failed++);
          if ((await connection.closed).reason === "local") throw new Error("closed by this side");
        });
      }
      say(String(failed));
      say(descriptors() <= before ? "no descriptor more" : before + " -> " + descriptors());
    `,
      temporaryAddress(),
    );
    expect(await script.rest()).toEqual(["200", "no descriptor more"]);
  }, 60_000);
});

describe("a worker in a blocking call that is never answered", () => {
  const WAITING = `
    const connection = product.connectSync(workerData);
    say("waiting");
    connection.unary("a.B", "Never", new Uint8Array());
  `;

  test("ends by terminate()", async () => {
    await using server = await RawServer.listen();
    const worker = workerOf(WAITING, server.address);
    expect(await nextMessage(worker)).toBe("waiting");
    await (await server.accept()).nextRequest();
    await worker.terminate();
  });

  test("does not keep the process from process.exit()", async () => {
    await using server = await RawServer.listen();
    await using script = new Script(
      `
      import { Worker } from "node:worker_threads";
      const source = \`
        const { parentPort, workerData } = require("node:worker_threads");
        import("${PACKAGE}").then((product) => {
          const connection = product.connectSync(workerData);
          parentPort.postMessage("waiting");
          connection.unary("a.B", "Never", new Uint8Array());
        });
      \`;
      new Worker(source, { eval: true, workerData: address, execArgv: [] }).on("message", () => {
        say("waiting");
        setTimeout(() => process.exit(0), 300);
      });
    `,
      server.address,
    );
    expect(await script.nextLine()).toBe("waiting");
    await (await server.accept()).nextRequest();
    expect(await script.rest()).toEqual([]);
  });

  test("ends by terminate() while it waits for room in a backlog", async () => {
    // Nobody accepts, because the process is stopped.
    await using listener = new Script(
      `
      import net from "node:net";
      net.createServer().listen({ path: address, backlog: 1 }, () => say("listening"));
    `,
      temporaryPath(),
    );
    expect(await listener.nextLine()).toBe("listening");
    listener.pause();
    const worker = workerOf(
      `for (;;) {
        const last = product.connectSync("unix://" + workerData, { connectTimeoutMs: 1e9 });
        say(last.address);
      }`,
      listener.address,
    );
    expect(await nextMessage(worker)).toBe(`unix://${listener.address}`);
    await sleep(200);
    await worker.terminate();
  });
});
