import { createServer, type HandlerContext, type Server } from "containerd-shim-protos";
import type { Counts } from "./counts.js";

/** The service that both sides of the soak serve. It counts how many handlers are entered and left. */
export function soakServer(counts: Counts): Server {
  async function counted<T>(work: () => Promise<T>): Promise<T> {
    counts.add("entered");
    try {
      return await work();
    } finally {
      counts.add("left");
    }
  }

  async function* countedStream(work: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    counts.add("entered");
    try {
      yield* work;
    } finally {
      counts.add("left");
    }
  }

  return createServer().addRaw("soak.Soak", {
    Echo: { kind: "unary", handle: (payload) => counted(async () => payload) },
    Hold: { kind: "unary", handle: (_, context) => counted(() => untilAborted(context)) },
    List: { kind: "server_streaming", handle: (payload) => countedStream(list(payload)) },
    // Ends only when its reader closes the connection, or at the deadline.
    Endless: {
      kind: "server_streaming",
      handle: (payload, context) => countedStream(endless(payload, context)),
    },
    Sum: {
      kind: "client_streaming",
      handle: (requests) =>
        counted(async () => {
          let sum = 0;
          for await (const { length } of requests) sum += length;
          return new TextEncoder().encode(String(sum));
        }),
    },
    Chat: { kind: "bidi_streaming", handle: (requests) => countedStream(requests) },
    // Reads none of its messages until nobody waits for it any more.
    Ignore: { kind: "client_streaming", handle: (_, context) => counted(() => untilAborted(context)) },
  });
}

async function* list(payload: Uint8Array): AsyncGenerator<Uint8Array> {
  for (let count = 0; count < 20; count++) yield payload;
}

async function* endless(payload: Uint8Array, { signal }: HandlerContext): AsyncGenerator<Uint8Array> {
  while (!signal.aborted) yield payload;
}

function untilAborted({ signal }: HandlerContext): Promise<Uint8Array> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve(new Uint8Array());
    else signal.addEventListener("abort", () => resolve(new Uint8Array()), { once: true });
  });
}
