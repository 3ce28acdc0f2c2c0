import { inspect } from "node:util";
import { Worker } from "node:worker_threads";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { type AddressInfo, createServer as createTcpServer } from "node:net";
import { PassThrough } from "node:stream";
import {
  Code,
  connect,
  type Connection,
  connectSync,
  createServer,
  type TtrpcError,
} from "containerd-shim-protos";
import { describe, expect, test } from "vitest";
import { bytes, failure, failureOf, text } from "../helpers/outcome.js";
import { Script } from "../helpers/script.js";
import { temporaryAddress } from "../helpers/temp.js";
import { PACKAGE } from "../helpers/package.js";

const EMPTY = new Uint8Array();

const ECHO_SERVER = `
  const server = product.createServer();
  server.addRaw("a.B", { C: { kind: "unary", handle: (payload) => payload } });
`;

/** Connects until there is no room any more. Returns the error of the attempt that failed. */
async function fill(address: string, connections: Connection[]): Promise<unknown> {
  try {
    for (;;) connections.push(await connect(address, { connectTimeoutMs: 20 }));
  } catch (error) {
    return error;
  }
}

describe("a server that does not accept", () => {
  /** A listener of a process that is stopped, with its backlog full. */
  async function full() {
    const script = new Script(
      `
      import { createServer } from "node:net";
      const path = address.slice("unix://".length);
      createServer().listen({ path, backlog: 1 }, () => say("ready"));
    `,
      temporaryAddress(),
    );
    expect(await script.nextLine()).toBe("ready");
    script.pause();
    const waiting: Connection[] = [];
    const error = await fill(script.address, waiting);
    return {
      script,
      error,
      async [Symbol.asyncDispose]() {
        await Promise.all(waiting.map((connection) => connection.close()));
        await script.kill();
      },
    };
  }

  test("makes connect and connectSync fail with ETIMEDOUT eventually", async () => {
    await using listener = await full();
    const { address } = listener.script;
    const expected = {
      code: Code.Unavailable,
      message: expect.stringContaining(address) as string,
      cause: { code: "ETIMEDOUT" },
    };
    expect(listener.error).toMatchObject(expected);
    expect(failureOf(() => connectSync(address, { connectTimeoutMs: 20 }))).toMatchObject(expected);
  });

  test("lets a signal end the wait of connect", async () => {
    await using listener = await full();
    const controller = new AbortController();
    const connecting = failure(connect(listener.script.address, { signal: controller.signal }));
    controller.abort("no more");
    expect(await connecting).toMatchObject({ code: Code.Canceled, cause: "no more" });
  });

  test("lets connect through when it accepts again", async () => {
    await using listener = await full();
    const connecting = connect(listener.script.address, { connectTimeoutMs: 15_000 });
    listener.script.resume();
    await using connection = await connecting;
    expect(connection.address).toBe(listener.script.address);
  });
});

test.each([() => "tcp://127.0.0.1:1", temporaryAddress])(
  "an attempt that fails has an error whose stack ends in its caller, at %s",
  async (address) => {
    async function caller() {
      await connect(address());
    }
    expect((await failure(caller())).stack).toContain("caller");
  },
);

test("what is given open is closed if its attempt is canceled, even before it begins", async () => {
  for (const cancel of [() => AbortSignal.abort(), () => AbortSignal.timeout(0)]) {
    const duplex = new PassThrough();
    const connecting = connect(duplex, { signal: cancel() });
    await connecting.then(
      (connection) => connection.close(),
      (error: unknown) => expect(error).toMatchObject({ code: Code.Canceled }),
    );
    await expect.poll(() => duplex.destroyed).toBe(true);
  }
});

describe("an attempt whose connection is made while it is given up", () => {
  async function listening() {
    const server = createServer().addRaw("a.B", { C: { kind: "unary", handle: (payload) => payload } });
    const address = await server.listen(temporaryAddress());
    return { address, [Symbol.asyncDispose]: () => server.close({ graceMs: 0 }) };
  }

  test("fails with Canceled if its signal aborted", async () => {
    await using server = await listening();
    const controller = new AbortController();
    const connecting = failure(connect(server.address, { signal: controller.signal }));
    controller.abort("no more");
    expect(await connecting).toMatchObject({ code: Code.Canceled, cause: "no more" });
  });

  test("fails with ETIMEDOUT if its time was over, or else its connection is open", async () => {
    await using server = await listening();
    const outcomes = new Set<string>();
    for (let attempt = 0; attempt < 20; attempt++) {
      // The event loop may look at timers or at sockets first.
      await (attempt % 2 === 0 ? nextImmediate() : nextRead());
      const connecting = connect(server.address, { connectTimeoutMs: 1 }).then(
        async (connection) => {
          await connection.unary("a.B", "C", EMPTY);
          await connection.close();
          return "open";
        },
        (error: TtrpcError) => (error.cause as { code: string }).code,
      );
      for (const start = performance.now(); performance.now() - start < 5;);
      outcomes.add(await connecting);
    }
    expect(["ETIMEDOUT", "open"]).toEqual(expect.arrayContaining([...outcomes]));
  });

  test("is open if the kernel made it in time, however busy JavaScript was", async () => {
    const listener = createTcpServer().listen(0, "127.0.0.1");
    await once(listener, "listening");
    const { port } = listener.address() as AddressInfo;
    const connecting = connect(`tcp://127.0.0.1:${port}`, { connectTimeoutMs: 50 });
    await Promise.resolve();
    for (const start = performance.now(); performance.now() - start < 100;);
    expect(await connecting.then((connection) => connection.close())).toBeUndefined();
    listener.close();
  });
});

function nextImmediate(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}

function nextRead(): Promise<unknown> {
  return readFile(import.meta.filename);
}

describe("a server that runs out of descriptors", () => {
  test("reports where, keeps its connections, and accepts again once descriptors are free", async () => {
    await using script = new Script(
      `
      import { closeSync, openSync } from "node:fs";
      ${ECHO_SERVER}
      const held = [];
      server.on("acceptError", (error) => {
        say([error.name, error.code, error.cause.code, error.message].join(" "));
        for (const fd of held.splice(0)) closeSync(fd);
      });
      await server.listen(address);
      say("ready");
      try {
        for (;;) held.push(openSync("/dev/null"));
      } catch (error) {
        say(error.code);
      }
      closeSync(held.pop());
    `,
      temporaryAddress(),
      { maxFiles: 80 },
    );
    expect(await script.nextLine()).toBe("ready");
    expect(await script.nextLine()).toBe("EMFILE");
    await using first = await connect(script.address);
    expect(text(await first.unary("a.B", "C", bytes("first")))).toBe("first");
    await using second = await connect(script.address);
    const call = second.unary("a.B", "C", bytes("second"));
    const message = `cannot accept a connection on ${script.address}: EMFILE, too many open files`;
    expect(await script.nextLine()).toBe(`TtrpcError ${Code.Unavailable} EMFILE ${message}`);
    expect(text(await call)).toBe("second");
    expect(text(await first.unary("a.B", "C", bytes("still")))).toBe("still");
  });

  test("warns if nobody listens to the event", async () => {
    await using script = new Script(
      `
      import { closeSync, openSync } from "node:fs";
      ${ECHO_SERVER}
      const held = [];
      process.removeAllListeners("warning");
      process.on("warning", (warning) => {
        say(warning.name);
        for (const fd of held.splice(0)) closeSync(fd);
      });
      await server.listen(address);
      try {
        for (;;) held.push(openSync("/dev/null"));
      } catch (error) {
        say(error.code);
      }
    `,
      temporaryAddress(),
      { maxFiles: 80 },
    );
    expect(await script.nextLine()).toBe("EMFILE");
    await using connection = await connect(script.address);
    const call = connection.unary("a.B", "C", bytes("served"));
    expect(await script.nextLine()).toBe("TtrpcWarning");
    expect(text(await call)).toBe("served");
  });
});

describe("a worker", () => {
  const SOURCE = `
    const { parentPort, workerData } = require("node:worker_threads");
    import("${PACKAGE}").then(async (product) => {
      ${ECHO_SERVER}
      server.addRaw("a.Hold", { C: { kind: "unary", handle: () => new Promise(() => {}) } });
      parentPort.postMessage(await server.listen(workerData));
    });
  `;

  async function startWorker() {
    const worker = new Worker(SOURCE, { eval: true, workerData: temporaryAddress() });
    const [address] = (await once(worker, "message")) as [string];
    return { worker, address };
  }

  test("serves the thread that started it, including its blocking calls", async () => {
    const { worker, address } = await startWorker();
    await using connection = await connect(address);
    using blocking = connectSync(address);
    const call = connection.unary("a.B", "C", bytes("promised"));
    expect(text(blocking.unary("a.B", "C", bytes("waited for"), { timeoutMs: 15_000 }))).toBe("waited for");
    expect(text(await call)).toBe("promised");
    await worker.terminate();
    expect(await connection.closed).toEqual({ reason: "remote" });
  });

  test("may be terminated during calls, which fail as if a process had died", async () => {
    const { worker, address } = await startWorker();
    await using connection = await connect(address);
    const calls = [1, 2, 3].map(() => failure(connection.unary("a.Hold", "C", EMPTY)));
    await connection.unary("a.B", "C", EMPTY);
    await worker.terminate();
    for (const error of await Promise.all(calls)) {
      expect(error).toMatchObject({ code: Code.Unavailable, cause: { code: "ERR_TTRPC_CLOSED" } });
    }
  });
});

test("a connection shows its address and its end, and nothing of its insides", async () => {
  await using server = createServer();
  const address = await server.listen(temporaryAddress());
  await using connection = await connect(address);
  expect(inspect(connection, { breakLength: Infinity })).toBe(
    `Connection { address: '${address}', closed: Promise { <pending> } }`,
  );
  expect(JSON.parse(JSON.stringify(connection))).toEqual({ address, closed: {} });
});

/** How vsock says that nobody listens at the port of a host; undefined if it cannot. */
const refusal = await connect("vsock://2:54321", { connectTimeoutMs: 500 }).then(
  async (connection) => connection.close(),
  ({ cause }: { cause?: { code?: string } }) => cause?.code,
);

test.skipIf(!["ECONNRESET", "ENODEV"].includes(refusal ?? ""))(
  "waitForReady waits for whoever is to listen behind vsock, too",
  async () => {
    const begin = performance.now();
    const attempt = connect("vsock://2:54321", { waitForReady: true, connectTimeoutMs: 400 });
    expect(await failure(attempt)).toMatchObject({ cause: { code: refusal } });
    expect(performance.now() - begin).toBeGreaterThan(300);
  },
);
