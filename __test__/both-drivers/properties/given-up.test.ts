/** Whoever gives a call up, and whenever: what both sides make of it agrees, and nothing of it stays. */

import { AsyncLocalStorage } from "node:async_hooks";
import { getEventListeners } from "node:events";
import { setImmediate as turn } from "node:timers/promises";
import {
  type CallMessage,
  type ClientInterceptor,
  Code,
  connect,
  createClient,
  createServer,
  type HandlerContext,
  type Server,
  type ServerInterceptor,
  TtrpcError,
} from "containerd-shim-protos";
import * as fc from "fast-check";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { listen } from "../../helpers/channels.js";
import { aborted } from "../../helpers/outcome.js";
import { Streaming } from "../../helpers/streaming.js";
import { temporaryAddress } from "../../helpers/temp.js";
import { watchUncaught } from "../../helpers/uncaught.js";

watchUncaught();

type Call = { readonly kind: string };
type Next = (call: Call) => Promise<unknown>;

const streams = ({ kind }: Call) => kind === "server_streaming" || kind === "bidi_streaming";
async function* passed(messages: unknown) {
  yield* messages as AsyncIterable<unknown>;
}
const failing = (text: string): never => {
  throw new TtrpcError(text, Code.Aborted);
};

/** Interceptors of both sides. */
const INTERCEPTORS: Readonly<Record<string, (next: Next) => Next>> = {
  passes: (next) => (call) => next(call),
  wraps: (next) => async (call) => (streams(call) ? passed(await next(call)) : next(call)),
  waits: (next) => async (call) => {
    await turn();
    return next(call);
  },
  refuses: () => async () => failing("refused"),
  "fails afterwards": (next) => async (call) => {
    await next(call);
    return failing("afterwards");
  },
  "has no patience": (next) => (call) =>
    Promise.race([
      next(call),
      turn()
        .then(turn)
        .then(() => failing("impatient")),
    ]),
  "looks at the first": (next) => async (call) => {
    const reply = await next(call);
    if (!streams(call)) return reply;
    const messages = (reply as AsyncIterable<unknown>)[Symbol.asyncIterator]();
    const first = await messages.next();
    return (async function* () {
      if (first.done === true) return;
      yield first.value;
      yield* { [Symbol.asyncIterator]: () => messages };
    })();
  },
};

const plan = fc.record({
  method: fc.constantFrom("echo", "divideStream", "sumStream", "echoStream"),
  requests: fc.record({ count: fc.nat(4), end: fc.constantFrom("end", "end", "throw", "stuck") }),
  handler: fc.record({
    reads: fc.constantFrom(0, 1, 9, 9, 9),
    does: fc.constantFrom("answer", "answer", "throw", "wait"),
    replies: fc.nat(4),
  }),
  client: fc.array(fc.constantFrom(...Object.keys(INTERCEPTORS), "hangs"), { maxLength: 3 }),
  server: fc.array(fc.constantFrom(...Object.keys(INTERCEPTORS)), { maxLength: 2 }),
  ending: fc.constantFrom("none", "abort", "close", "deadline", "leave"),
  turns: fc.nat(8),
});
type Plan = typeof plan extends fc.Arbitrary<infer T> ? T : never;

const store = new AsyncLocalStorage<string>();
const WAIT = { timeout: 10_000, interval: 1 };

/** Requests of the caller, and how they ended. */
class Requests {
  given = 0;
  over: "ended" | "threw" | "left" | undefined;
  contexts = new Set<unknown>();
  readonly #plan: Plan["requests"];

  constructor(requests: Plan["requests"]) {
    this.#plan = requests;
  }

  [Symbol.asyncIterator](): AsyncIterator<object> {
    const done = { value: undefined, done: true } as const;
    return {
      next: async () => {
        this.contexts.add(store.getStore());
        await turn();
        if (this.over !== undefined) return done;
        if (this.given < this.#plan.count) {
          this.given++;
          return { value: {}, done: false };
        }
        if (this.#plan.end === "stuck") await new Promise(() => {});
        this.over = this.#plan.end === "throw" ? "threw" : "ended";
        return this.over === "threw" ? failing("requests") : done;
      },
      return: async () => {
        this.contexts.add(store.getStore());
        this.over ??= "left";
        return done;
      },
    };
  }
}

/** What the present call's handlers did. */
interface Handled {
  running: number;
  ran: number;
  answered: boolean;
  requests?: number;
  complete?: boolean;
  replies: number;
}

let now: { readonly plan: Plan; readonly handled: Handled };
let server: Server;
let address: string;

async function work(requests: AsyncIterable<unknown> | undefined, { signal }: HandlerContext): Promise<void> {
  const { plan: its, handled } = now;
  if (requests !== undefined && its.handler.reads > 0) {
    handled.requests = 0;
    handled.complete = await (async () => {
      for await (const _ of requests) if (++handled.requests! === its.handler.reads) return false;
      return true;
    })();
  }
  if (its.handler.does === "wait") await aborted(signal);
  if (its.handler.does === "throw") failing("handler");
}

async function one(requests: AsyncIterable<unknown> | undefined, context: HandlerContext): Promise<object> {
  const { handled } = now;
  handled.running++;
  handled.ran++;
  try {
    await work(requests, context);
    handled.answered = true;
    return {};
  } finally {
    handled.running--;
  }
}

async function* many(requests: AsyncIterable<unknown> | undefined, context: HandlerContext) {
  const { plan: its, handled } = now;
  handled.running++;
  handled.ran++;
  try {
    await work(requests, context);
    for (; handled.replies < its.handler.replies; handled.replies++) yield {};
    handled.answered = true;
  } finally {
    handled.running--;
  }
}

beforeAll(async () => {
  const slot = (index: number) => (next: Next) => (call: Call) => {
    const name = now.plan.server[index];
    return name === undefined ? next(call) : INTERCEPTORS[name]!(next)(call);
  };
  server = createServer({ interceptors: [slot(0), slot(1)] as unknown as ServerInterceptor[] });
  server.add(Streaming, {
    echo: (_, context) => one(undefined, context),
    divideStream: (_, context) => many(undefined, context),
    sumStream: one,
    echoStream: many,
  });
  address = await server.listen(temporaryAddress());
});
afterAll(() => server.close({ graceMs: 0 }));

async function run(its: Plan): Promise<void> {
  const handled: Handled = { running: 0, ran: 0, answered: false, replies: 0 };
  now = { plan: its, handled };
  using calls = listen<CallMessage>("ttrpc:client:call:start", "ttrpc:client:call:end");
  const connection = await connect(address);
  const end = new AbortController();
  const { signal } = end;
  const never = new Promise<never>(() => {});
  const interceptors = its.client.map((name) => INTERCEPTORS[name] ?? (() => () => never));
  const client = createClient(Streaming, connection, {
    interceptors: interceptors as unknown as ClientInterceptor[],
  });
  const requests = new Requests(its.requests);
  const options = its.ending === "deadline" ? { signal, timeoutMs: its.turns + 1 } : { signal };
  let got = 0;
  const outcome = store.run("the caller's", async () => {
    try {
      if (its.method === "echo") await client.echo({}, options);
      else if (its.method === "sumStream") await client.sumStream(requests as never, options);
      else {
        const replies =
          its.method === "echoStream"
            ? client.echoStream(requests as never, options)
            : client.divideStream({}, options);
        for await (const _ of replies) if (got++ === its.turns && its.ending === "leave") return "left";
      }
      return "answered";
    } catch (error) {
      expect(error).toBeInstanceOf(TtrpcError);
      return "failed";
    }
  });
  for (let turns = 0; turns < its.turns; turns++) await turn();
  if (its.ending === "abort") end.abort();
  if (its.ending === "close") await connection.close();
  // What nothing else ends.
  for (let turns = 0; turns < 20; turns++) await turn();
  store.run("the other's", () => end.abort());
  const how = await outcome;
  await connection.close();
  await vi.waitFor(() => expect(handled.running).toBe(0), WAIT);

  expect(getEventListeners(signal, "abort")).toEqual([]);
  const uses = its.method === "sumStream" || its.method === "echoStream";
  if (uses) {
    await vi.waitFor(() => expect(requests.over).toBeDefined(), WAIT);
    expect([...requests.contexts].filter((context) => context !== "the caller's")).toEqual([]);
  }
  const { complete } = handled;
  if (complete === true && how !== "left") expect(requests.over).toBe("ended");
  if (complete === true && requests.over === "ended") expect(handled.requests).toBe(requests.given);
  if (how === "answered") {
    expect([handled.answered, handled.replies]).toEqual([true, got]);
    const names = [...its.client, ...its.server];
    for (const fatal of ["refuses", "fails afterwards", "hangs"]) expect(names).not.toContain(fatal);
  }
  const told = calls.seen.map(([name]) => name.split(":").at(-1));
  const count = (wanted: string) => told.filter((name) => name === wanted).length;
  expect(count("start")).toBe(count("end"));
}

test("both sides agree on it, and nobody waits for it, or listens, any more", async () => {
  await fc.assert(fc.asyncProperty(plan, run), { numRuns: 50 });
});
