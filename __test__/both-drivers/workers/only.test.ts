import { expect, test } from "vitest";
import { PACKAGE } from "../../helpers/package.js";
import { ROOT, Started } from "../../helpers/started.js";
import { temporaryAddress } from "../../helpers/temp.js";

/**
 * The start of a process that does not load the package itself. `run(code, ending)` runs code in a worker, with `product`
 * and an address of its own, and resolves to the exit code; `ending` ends the worker early.
 */
const PRELUDE = `
  import { Worker } from "node:worker_threads";
  let count = 0;
  const say = (line) => process.stdout.write(line + "\\n");
  const run = (code, ending = () => {}) => new Promise((resolve, reject) => {
    const worker = new Worker(
      'const { parentPort, workerData: address } = require("node:worker_threads");' +
        'import("${PACKAGE}").then(async (product) => {' + code + '})',
      // Not this script's --input-type.
      { eval: true, workerData: process.argv[1] + count++, execArgv: [] },
    );
    worker.on("error", reject).on("exit", resolve);
    ending(worker);
  });
`;

/** A server, a client of it, and calls and streams with small and large payloads between them. */
const TALK = `
  const server = product.createServer().addRaw("a.B", {
    Echo: { kind: "unary", handle: (payload) => payload },
    Chat: { kind: "bidi_streaming", async *handle(requests) { yield* requests; } },
  });
  const connection = await product.connect(await server.listen(address, { reclaimStale: true }));
  const talk = async () => {
    for (const length of [1, 10_000, 300_000]) {
      const payload = new Uint8Array(length).fill(length);
      const reply = await connection.unary("a.B", "Echo", payload);
      if (Buffer.compare(reply, payload) !== 0) throw new Error("another reply");
      let messages = 0;
      for await (const message of connection.bidiStreaming("a.B", "Chat", (async function* () {
        for (let i = 0; i < 3; i++) yield payload;
      })())) {
        messages++;
        if (Buffer.compare(message, payload) !== 0) throw new Error("another message");
      }
      if (messages !== 3) throw new Error(messages + " messages");
    }
  };
  const close = async () => {
    await connection.close();
    await server.close();
  };
`;

const ONCE = `${TALK} await talk(); await close();`;

/** Talks without end, listens and connects anew now and then, and reports what it does. */
const FOREVER = `
  parentPort.postMessage("loaded");
  const given = address;
  for (let round = 0; ; round++) {
    const address = given + "-" + round;
    parentPort.postMessage("listening");
    ${TALK}
    parentPort.postMessage("talking");
    await talk();
    await talk();
    parentPort.postMessage("closing");
    await close();
  }
`;

/** Runs a script that may use `run` and `say`, and returns what it says. It must end by itself, with empty stderr. */
async function linesOf(source: string): Promise<string[]> {
  const args = ["--input-type=module", "-e", PRELUDE + source, temporaryAddress()];
  await using program = new Started(process.execPath, args, { cwd: ROOT });
  const status = await program.ended();
  expect({ status, errors: program.errors }).toEqual({ status: 0, errors: "" });
  return program.output.trim().split("\n");
}

test("the package works in one worker after another, and never on the main thread", async () => {
  const source = `
    const codes = [];
    for (let i = 0; i < 12; i++) codes.push(await run(${JSON.stringify(ONCE)}));
    say(codes.join());
  `;
  expect(await linesOf(source)).toEqual([Array(12).fill(0).join()]);
}, 60_000);

test("it works in several workers at once, and in new ones after all of them have ended", async () => {
  const source = `
    for (let round = 0; round < 3; round++) {
      say((await Promise.all(Array.from({ length: 5 }, () => run(${JSON.stringify(ONCE)})))).join());
    }
  `;
  expect(await linesOf(source)).toEqual(Array(3).fill("0,0,0,0,0"));
}, 60_000);

test("it works on the main thread after workers have used it and ended", async () => {
  const source = `
    await run(${JSON.stringify(ONCE)});
    await run(${JSON.stringify(FOREVER)}, (worker) => setTimeout(() => worker.terminate(), 300));
    const product = await import("${PACKAGE}");
    const address = process.argv[1] + "-main";
    ${TALK}
    await talk();
    const others = [run(${JSON.stringify(ONCE)}), run(${JSON.stringify(ONCE)})];
    await talk();
    say((await Promise.all(others)).join());
    await talk();
    await close();
    say("closed");
  `;
  expect(await linesOf(source)).toEqual(["0,0", "closed"]);
}, 60_000);

test("a worker may be terminated at any moment: before, while and after it loads, listens, connects and calls", async () => {
  const source = `
    const end = (at, after) => (worker) => {
      const terminate = () => setTimeout(() => worker.terminate(), after);
      if (at === "started") return terminate();
      // Only once: each termination adds a listener, and Node warns of the eleventh.
      worker.on("message", function ended(now) {
        if (now !== at) return;
        worker.off("message", ended);
        terminate();
      });
    };
    for (const after of [...Array(10).keys()]) {
      await Promise.all([
        // Loading alone takes some 60 ms.
        run(${JSON.stringify(FOREVER)}, end("started", after * 16)),
        ...["loaded", "listening", "talking", "closing"].map((at) =>
          run(${JSON.stringify(FOREVER)}, end(at, after)),
        ),
      ]);
    }
    say(String(await run(${JSON.stringify(ONCE)})));
  `;
  expect(await linesOf(source)).toEqual(["0"]);
}, 120_000);

test("the process may end at any moment while workers load, listen, connect and call", async () => {
  const source = `
    const [, , after] = process.argv;
    for (let i = 0; i < 3; i++) void run(${JSON.stringify(FOREVER)});
    setTimeout(() => process.exit(7), Number(after));
  `;
  for (let after = 20; after < 400; after += 40) {
    const args = ["--input-type=module", "-e", PRELUDE + source, temporaryAddress(), `${after}`];
    await using program = new Started(process.execPath, args, { cwd: ROOT });
    const status = await program.ended();
    expect({ after, status, errors: program.errors }).toEqual({ after, status: 7, errors: "" });
  }
}, 120_000);

test("a worker ends even if nothing refers to its port, as when it is terminated while the port is made", async () => {
  const code = `
    const { pathToFileURL } = require("node:url");
    const { loadNative } = await import(pathToFileURL("dist/native/addon.js").href);
    const { Port } = loadNative();
    const open = (thread) => void new Port(new Uint8Array(8 << 20), new Uint8Array(8 << 20), () => {}, 1 << 30, thread, true);
    open(false);
    open(true);
    const { setFlagsFromString } = require("node:v8");
    setFlagsFromString("--expose-gc");
    const collect = require("node:vm").runInNewContext("gc");
    // Collected objects are finalized in a turn of the event loop.
    for (let i = 0; i < 10; i++) {
      collect();
      await new Promise(setImmediate);
    }
  `;
  expect(await linesOf(`say(String(await run(${JSON.stringify(code)})));`)).toEqual(["0"]);
});
