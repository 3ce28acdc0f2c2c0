/** Calls of all kinds and sizes, over a connection that delivers their frames in any pieces and any order that is legal. */

import {
  Code,
  connect,
  type Connection,
  createServer,
  releasePayload,
  TtrpcError,
} from "containerd-shim-protos";
import * as fc from "fast-check";
import { expect, test, vi } from "vitest";
import { Middle } from "../../helpers/middle.js";
import { temporaryAddress } from "../../helpers/temp.js";
import { Random } from "../../parity/random.js";

/** Fewer places than calls, so that some of them are refused while their messages come. */
const PLACES = 4;

/** Sizes about which something changes: how a payload crosses, and whether ttrpc sees it. */
const size = fc.constantFrom(0, 1, 40, 4090, 4096, 8191, 8192, 32_767, 32_768, 70_000, 270_000);
const turns = fc.nat(12);

const call = fc.record({
  kind: fc.constantFrom("unary", "list", "upload", "chat"),
  sizes: fc.array(size, { minLength: 1, maxLength: 8 }),
  /** Turns of the event loop before the call, and after each message of it. */
  before: turns,
  pause: fc.constantFrom(0, 0, 0, 1, 3),
  ending: fc.oneof(
    { weight: 4, arbitrary: fc.constant({ how: "none" as const }) },
    { weight: 1, arbitrary: fc.record({ how: fc.constant("leave" as const), after: fc.nat(6) }) },
    { weight: 1, arbitrary: fc.record({ how: fc.constant("abort" as const), after: turns }) },
    { weight: 1, arbitrary: fc.record({ how: fc.constant("throw" as const), after: fc.nat(6) }) },
  ),
  releases: fc.boolean(),
});
type Call = typeof call extends fc.Arbitrary<infer T> ? T : never;

async function wait(count: number): Promise<void> {
  for (let left = count; left > 0; left--) await new Promise((resolve) => setImmediate(resolve));
}

/** The bytes of one message of a call, which no other has. */
function message(number: number, index: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length).fill(number * 31 + index);
  bytes.set(Buffer.from(`${number} ${index}`).subarray(0, length));
  return bytes;
}

let running = 0;

async function counted<T>(work: () => Promise<T>): Promise<T> {
  running++;
  try {
    return await work();
  } finally {
    running--;
  }
}

async function* each(messages: Iterable<Uint8Array> | AsyncIterable<Uint8Array>) {
  running++;
  try {
    for await (const one of messages) yield one;
  } finally {
    running--;
  }
}

function start() {
  return createServer({ maxConcurrentCalls: PLACES }).addRaw("a.B", {
    Echo: { kind: "unary", handle: (payload) => counted(async () => payload) },
    List: {
      kind: "server_streaming",
      handle(payload) {
        const { number, sizes } = JSON.parse(Buffer.from(payload).toString()) as {
          number: number;
          sizes: number[];
        };
        return each(sizes.map((length, index) => message(number, index, length)));
      },
    },
    Upload: {
      kind: "client_streaming",
      handle: (requests) =>
        counted(async () => {
          const all: Uint8Array[] = [];
          for await (const request of requests) all.push(request);
          return Buffer.concat(all);
        }),
    },
    Chat: { kind: "bidi_streaming", handle: (requests) => each(requests) },
  });
}

/** Makes a call, and throws if anything but what it must lead to comes of it. */
async function make(connection: Connection, number: number, its: Call, refusable: boolean): Promise<void> {
  const { kind, sizes, before, pause, ending, releases } = its;
  await wait(before);
  const sent = sizes.map((length, index) => message(number, index, length));
  const end = new AbortController();
  const { signal } = end;
  if (ending.how === "abort") void wait(ending.after).then(() => end.abort());
  async function* requests() {
    for (const [index, one] of sent.entries()) {
      if (ending.how === "throw" && index === ending.after) throw new Error("no more");
      yield one.slice();
      await wait(pause);
    }
  }
  const expectBytes = (actual: Uint8Array, wanted: Uint8Array | undefined, what: string) => {
    if (wanted === undefined || Buffer.compare(actual, wanted) !== 0)
      throw new Error(`${kind} ${number}: ${what} is wrong, of ${actual.length} bytes`);
    if (releases) releasePayload(actual);
  };
  const readAll = async (replies: ReturnType<Connection["bidiStreaming"]>): Promise<unknown> => {
    let got = 0;
    if (ending.how === "leave" && ending.after === 0) return replies.return?.();
    for await (const reply of replies) {
      expectBytes(reply, sent[got], `message ${got}`);
      if (++got === (ending.how === "leave" ? ending.after : -1)) return undefined;
      await wait(pause);
    }
    return expect(got).toBe(sent.length);
  };
  const allowed = new Set<Code>();
  if (refusable) allowed.add(Code.ResourceExhausted);
  if (ending.how === "abort" || ending.how === "throw") allowed.add(Code.Canceled);
  try {
    if (kind === "unary")
      expectBytes(await connection.unary("a.B", "Echo", sent[0]!, { signal }), sent[0], "the reply");
    else if (kind === "upload") {
      const reply = await connection.clientStreaming("a.B", "Upload", requests(), { signal });
      expectBytes(reply, Buffer.concat(sent), "the response");
    } else if (kind === "chat")
      await readAll(connection.bidiStreaming("a.B", "Chat", requests(), { signal }));
    else {
      const request = Buffer.from(JSON.stringify({ number, sizes }));
      await readAll(connection.serverStreaming("a.B", "List", request, { signal }));
    }
  } catch (error) {
    if (!(error instanceof TtrpcError) || !allowed.has(error.code)) throw error;
  }
}

test("each call has its own messages, whole and in order, and its own outcome, whatever way its frames take", async () => {
  await using server = start();
  const address = await server.listen(temporaryAddress());
  await fc.assert(
    fc.asyncProperty(
      fc.array(call, { minLength: 1, maxLength: 12, size: "max" }),
      fc.integer(),
      async (calls, seed) => {
        await using middle = await Middle.between(address, new Random(seed));
        await using connection = await connect(middle.address);
        await Promise.all(calls.map((its, number) => make(connection, number, its, calls.length > PLACES)));
        // Those that were given up leave no places taken.
        const next = () => connection.unary("a.B", "Echo", message(99, 0, 5000));
        await vi.waitFor(next, { timeout: 10_000, interval: 1 });
      },
    ),
    { numRuns: 60, interruptAfterTimeLimit: 50_000, markInterruptAsFailure: true },
  );
  await vi.waitFor(() => expect(running).toBe(0), { timeout: 10_000 });
}, 60_000);
