import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { connect, createServer } from "containerd-shim-protos";
import { expect, test } from "vitest";
import { bytes } from "../../helpers/outcome.js";
import { temporaryAddress } from "../../helpers/temp.js";
import { PACKAGE } from "../../helpers/package.js";

const ROOT = fileURLToPath(new URL("../../..", import.meta.url));

/** How many children run at once. A small machine has two cores. */
const AT_ONCE = 4;

/** How often each of the eight ways to end is tested: two hundred times in all. */
const TIMES = 25;

/** A client in the middle of a unary call and a stream of each kind, all of which the server has read. */
const CLIENT = `
import { connect } from "${PACKAGE}";
const connection = await connect(process.argv[1]);
async function* forever() {
  for (;;) yield new Uint8Array(1000);
}
const calls = [
  connection.unary("a.B", "Hold", new Uint8Array()),
  connection.clientStreaming("a.B", "Take", forever()),
];
for (const call of calls) call.catch(() => undefined);
const chat = connection.bidiStreaming("a.B", "Chat", forever());
await chat.next();
const list = connection.serverStreaming("a.B", "List", new Uint8Array());
await list.next();
`;

/** A server that ends in the middle of its handlers, while the test calls it. */
const SERVER = `
import { createServer } from "${PACKAGE}";
const entered = new Set();
let all;
const everything = new Promise((resolve) => (all = resolve));
const enter = (name) => {
  entered.add(name);
  if (entered.size === 2) all();
};
const server = createServer().addRaw("a.B", {
  Hold: { kind: "unary", handle: () => (enter("Hold"), new Promise(() => {})) },
  Chat: {
    kind: "bidi_streaming",
    async *handle(requests) {
      for await (const message of requests) {
        enter("Chat");
        yield message;
      }
    },
  },
});
await server.listen(process.argv[1]);
process.stdout.write("listening\\n");
await everything;
`;

/** The last action of a child, and the exit code that it must have. */
const ENDS = [
  { end: "its last statement, with the connection unref'd", last: "", code: 0 },
  { end: "process.exit(7)", last: "process.exit(7);", code: 7 },
  {
    end: "an uncaught exception",
    last: `setImmediate(() => { throw new Error("uncaught on purpose"); });`,
    code: 1,
  },
  {
    end: "an unhandled rejection",
    last: `void Promise.reject(new Error("uncaught on purpose"));`,
    code: 1,
  },
];

interface Ended {
  readonly code: number | null;
  readonly signal: string | null;
  readonly errors: string;
}

/** Runs a child to its end. `onLine` gets its output. */
async function run(source: string, address: string, onLine: () => void = () => {}): Promise<Ended> {
  const child = spawn(process.execPath, ["--input-type=module", "-e", source, address], {
    cwd: ROOT,
    stdio: ["ignore", "pipe", "pipe"],
  });
  let errors = "";
  child.stderr.setEncoding("utf8").on("data", (chunk: string) => (errors += chunk));
  child.stdout.once("data", onLine);
  const [code, signal] = (await once(child, "close")) as [number | null, string | null];
  return { code, signal, errors };
}

/** Runs a task repeatedly, a few at once. */
async function repeat<T>(times: number, task: () => Promise<T>): Promise<T[]> {
  const results: T[] = [];
  let started = 0;
  const lane = async () => {
    while (started++ < times) results.push(await task());
  };
  await Promise.all(Array.from({ length: AT_ONCE }, lane));
  return results;
}

function expectCleanEnds(ends: Ended[], code: number): void {
  for (const ended of ends) {
    expect(ended).toMatchObject({ code, signal: null });
    // What Node prints for an uncaught error names the error; a crash of the addon names something else.
    expect(ended.errors).toMatch(code === 1 ? /Error: uncaught on purpose/ : /^$/);
    expect(ended.errors).not.toMatch(
      /panicked|RUST_BACKTRACE|FATAL ERROR|Segmentation|core dumped|Assertion/,
    );
  }
}

test.each(ENDS)(
  "a client that ends during calls by $end exits with $code and no other output, every time",
  async ({ last, code }) => {
    await using server = createServer().addRaw("a.B", {
      Hold: { kind: "unary", handle: (_, { signal }) => aborted(signal) },
      Take: {
        kind: "client_streaming",
        async handle(requests) {
          for await (const _ of requests);
          return new Uint8Array();
        },
      },
      Chat: {
        kind: "bidi_streaming",
        async *handle(requests) {
          yield* requests;
        },
      },
      List: {
        kind: "server_streaming",
        async *handle(_, { signal }) {
          yield bytes("first");
          await aborted(signal);
        },
      },
    });
    const address = await server.listen(temporaryAddress());
    // Unless the connection holds the event loop, the program ends after its last statement.
    const source =
      CLIENT + (last === "" ? "connection.unref();\nchat.return();\nprocess.exitCode = 0;" : last);
    const ends = await repeat(TIMES, () => run(source, address));
    expect(ends).toHaveLength(TIMES);
    expectCleanEnds(ends, code);
  },
  60_000,
);

test.each(ENDS)(
  "a server that ends during calls by $end exits with $code and no other output, every time",
  async ({ last, code }) => {
    const source = SERVER + (last === "" ? "await server.close({ graceMs: 0 });" : last);
    const ends = await repeat(TIMES, async () => {
      const address = temporaryAddress();
      const calls: Promise<unknown>[] = [];
      const ended = await run(source, address, () => {
        calls.push(callUntilItEnds(address));
      });
      await Promise.all(calls);
      return ended;
    });
    expect(ends).toHaveLength(TIMES);
    expectCleanEnds(ends, code);
  },
  60_000,
);

/** Keeps a server busy. The calls end when the server does. */
async function callUntilItEnds(address: string): Promise<void> {
  await using connection = await connect(address);
  async function* forever() {
    for (;;) yield bytes("x".repeat(1000));
  }
  const held = connection.unary("a.B", "Hold", bytes("")).catch(() => undefined);
  const chat = (async () => {
    for await (const _ of connection.bidiStreaming("a.B", "Chat", forever()));
  })().catch(() => undefined);
  await Promise.all([held, chat, connection.closed]);
}

function aborted(signal: AbortSignal): Promise<Uint8Array> {
  return new Promise((resolve) => {
    signal.addEventListener("abort", () => resolve(new Uint8Array()));
  });
}
