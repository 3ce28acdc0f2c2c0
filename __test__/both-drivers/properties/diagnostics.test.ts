import { channel } from "node:diagnostics_channel";
import { setTimeout as sleep } from "node:timers/promises";
import {
  type CallMessage,
  type CallOptions,
  type ClientInterceptor,
  connect,
  type Connection,
  createClient,
  createServer,
  type Server,
} from "containerd-shim-protos";
import * as fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Streaming } from "../../helpers/streaming.js";
import { temporaryAddress } from "../../helpers/temp.js";

const EMPTY = new Uint8Array();
const HUGE = new Uint8Array(5 << 20);
const KINDS = ["unary", "server_streaming", "client_streaming", "bidi_streaming"] as const;

/** Options of a call. Calls with them end in different places. */
const OPTIONS: Record<string, () => CallOptions | undefined> = {
  none: () => undefined,
  "a wrong timeout": () => ({ timeoutMs: -1 }),
  "a name that is none": () => ({ timeout: 5 }) as CallOptions,
  "no object": () => null as never,
  "a wrong key": () => ({ metadata: { "": "x" } }),
  "too much metadata": () => ({ metadata: { key: "x".repeat(5 << 20) } }),
  "an aborted signal": () => ({ signal: AbortSignal.abort() }),
  "a signal that aborts soon": () => ({ signal: AbortSignal.timeout(1) }),
  "a short deadline": () => ({ timeoutMs: 1 }),
};
const PAYLOADS: Record<string, unknown> = { right: EMPTY, "no bytes": "text", huge: HUGE };
const CONNECTIONS = ["open", "closed", "reconnecting"] as const;
const METHODS = ["Answer", "Throw", "Hang", "Unknown"] as const;

const throwing: ClientInterceptor = () => async () => {
  throw new Error("before");
};
const throwingAfter: ClientInterceptor = (next) => async (call) => {
  await next(call);
  throw new Error("after");
};
const twice: ClientInterceptor = (next) => async (call) => {
  await next(call);
  return next(call);
};
const INTERCEPTORS: Record<string, readonly ClientInterceptor[]> = {
  none: [],
  "one that throws": [throwing],
  "one that throws afterwards": [throwingAfter],
  "one that calls twice": [twice],
};

const how = {
  options: fc.constantFrom(...Object.keys(OPTIONS)),
  connection: fc.constantFrom(...CONNECTIONS),
};
const rawCall = fc.record({
  ...how,
  kind: fc.constantFrom(...KINDS),
  method: fc.constantFrom(...METHODS),
  payload: fc.constantFrom(...Object.keys(PAYLOADS)),
});
const typedCall = fc.record({
  ...how,
  interceptors: fc.constantFrom(...Object.keys(INTERCEPTORS)),
  method: fc.constantFrom("echo", "divideStream", "sumStream", "echoStream"),
  right: fc.boolean(),
});

let server: Server;
const connections: Partial<Record<(typeof CONNECTIONS)[number], Connection>> = {};

beforeAll(async () => {
  const never = () => new Promise<never>(() => {});
  const broken = () => {
    throw new Error("thrown");
  };
  server = createServer();
  for (const kind of KINDS) {
    server.addRaw(`a.${kind}`, {
      Answer: {
        kind,
        handle: (kind === "server_streaming" || kind === "bidi_streaming" ? streams : () => EMPTY) as never,
      },
      Throw: { kind, handle: broken },
      Hang: { kind, handle: never as never },
    });
  }
  server.add(Streaming, { echo: ({ seq }) => ({ seq }) });
  const address = await server.listen(temporaryAddress());
  connections.open = await connect(address);
  connections.closed = await connect(address);
  await connections.closed.close();
  const passing = createServer();
  connections.reconnecting = await connect(await passing.listen(temporaryAddress()), {
    reconnect: { initialDelayMs: 20, maxDelayMs: 20 },
  });
  await passing.close();
  await sleep(5);
});

afterAll(async () => {
  for (const connection of Object.values(connections)) await connection.close();
  await server.close({ graceMs: 0 });
});

async function* streams() {
  yield EMPTY;
}

async function* of<T>(message: T): AsyncGenerator<T> {
  yield message;
}

/** Awaits a call, whatever it is, for a while. */
async function outcome(call: () => unknown): Promise<void> {
  try {
    const result = await call();
    if (typeof result === "object" && result !== null && Symbol.asyncIterator in result) {
      const iterator = (result as AsyncIterable<unknown>)[Symbol.asyncIterator]();
      await Promise.race([iterator.next(), sleep(30, undefined, { ref: false })]);
      await iterator.return?.();
    }
  } catch {
    // Any outcome will do.
  }
}

function makeRaw({
  options,
  connection,
  kind,
  method,
  payload,
}: typeof rawCall extends fc.Arbitrary<infer T> ? T : never) {
  const to = connections[connection] as Connection;
  const bytes = PAYLOADS[payload] as Uint8Array;
  const limited = limitedTo(OPTIONS[options]?.(), method === "Hang" || connection === "reconnecting");
  const service = `a.${kind}`;
  switch (kind) {
    case "unary":
      return to.unary(service, method, bytes, limited);
    case "server_streaming":
      return to.serverStreaming(service, method, bytes, limited);
    case "client_streaming":
      return to.clientStreaming(service, method, of(bytes), limited);
    case "bidi_streaming":
      return to.bidiStreaming(service, method, of(bytes), limited);
  }
}

function makeTyped({
  options,
  connection,
  interceptors,
  method,
  right,
}: typeof typedCall extends fc.Arbitrary<infer T> ? T : never) {
  const list = INTERCEPTORS[interceptors];
  const client = createClient(Streaming, connections[connection] as Connection, { interceptors: list });
  const limited = limitedTo(OPTIONS[options]?.(), connection === "reconnecting");
  const message = (right ? {} : { seq: "one" }) as never;
  if (method === "echo") return client.echo(message, limited);
  if (method === "divideStream") return client.divideStream(message, limited);
  return client[method as "echoStream"](of(message), limited);
}

/** Gives a call that would hang a deadline. */
function limitedTo(options: CallOptions | undefined, hangs: boolean): CallOptions | undefined {
  return hangs && (options === undefined || options?.signal !== undefined)
    ? { ...options, timeoutMs: 20 }
    : options;
}

test("each start of a call is followed by exactly one end, on both sides, whatever happens to the call", async () => {
  for (const side of ["client", "server"]) {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.oneof(rawCall, typedCall), { minLength: 1, maxLength: 12 }),
        async (calls) => {
          const ends = new Map<CallMessage, number>();
          const onStart = (message: unknown) => ends.set(message as CallMessage, 0);
          const onEnd = (message: unknown) => {
            const before = ends.get(message as CallMessage);
            expect(before, "an end without its start, or a second one").toBe(0);
            ends.set(message as CallMessage, 1);
          };
          const [start, end] = ["start", "end"].map((name) => channel(`ttrpc:${side}:call:${name}`));
          start?.subscribe(onStart);
          end?.subscribe(onEnd);
          try {
            await Promise.all(
              calls.map((call) => outcome(() => ("kind" in call ? makeRaw(call) : makeTyped(call)))),
            );
            // The end may be published a little after the caller has its outcome.
            for (let tries = 0; tries < 200 && [...ends.values()].includes(0); tries++) await sleep(2);
            const open = [...ends].filter(([message, count]) => count === 0 && message.method !== "Hang");
            expect(open.map(([message]) => message)).toEqual([]);
            if (side === "client") expect([...ends.values()]).not.toContain(0);
          } finally {
            start?.unsubscribe(onStart);
            end?.unsubscribe(onEnd);
          }
        },
      ),
      { numRuns: 40 },
    );
  }
});
