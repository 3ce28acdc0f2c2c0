import { Code, connect, TtrpcError } from "containerd-shim-protos";
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { bytes, text } from "../../helpers/outcome.js";
import { type RawConnection, RawServer } from "../../helpers/raw-peer.js";
import { decodeRequest, encodeFrame, encodeResponse, type Frame, FrameType } from "../../helpers/wire.js";

const EMPTY = new Uint8Array();
const HALF_CLOSE = 5;

/** A frame of a raw server for one of several calls. `to` is the number of the call. */
type Event =
  | { readonly kind: "data"; readonly to: number; readonly body: string }
  | { readonly kind: "last data"; readonly to: number; readonly body: string }
  | { readonly kind: "close"; readonly to: number }
  | { readonly kind: "response"; readonly to: number; readonly body: string }
  | { readonly kind: "status"; readonly to: number; readonly code: number }
  | { readonly kind: "unknown type"; readonly to: number };

const KINDS = ["server_streaming", "bidi_streaming", "client_streaming", "unary"] as const;
type Kind = (typeof KINDS)[number];

/** The messages of a call, and how it ended. An `open` one has not ended. */
interface Outcome {
  readonly messages: string[];
  end: "open" | "ok" | { readonly code: number };
}

const to = fc.nat(3);
const body = fc.constantFrom("", "a", "bc", "x".repeat(5000));
const event: fc.Arbitrary<Event> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ kind: fc.constant("data" as const), to, body }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("last data" as const), to, body }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("close" as const), to }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("response" as const), to, body }) },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant("status" as const),
      to,
      code: fc.constantFrom(1, 5, 16, 17, 99, -1),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("unknown type" as const), to }) },
);

function frameOf(its: Event, streamId: number): Buffer {
  switch (its.kind) {
    case "data":
      return encodeFrame({ streamId, type: FrameType.Data, body: bytes(its.body) });
    case "last data":
      return encodeFrame({ streamId, type: FrameType.Data, flags: 1, body: bytes(its.body) });
    case "close":
      return encodeFrame({ streamId, type: FrameType.Data, flags: HALF_CLOSE, body: EMPTY });
    case "response":
      return encodeFrame({
        streamId,
        type: FrameType.Response,
        body: encodeResponse({ status: {}, payload: bytes(its.body) }),
      });
    case "status":
      return encodeFrame({
        streamId,
        type: FrameType.Response,
        body: encodeResponse({ status: { code: its.code, message: "no" } }),
      });
    case "unknown type":
      return encodeFrame({ streamId, type: 9, body: EMPTY });
  }
}

/** The model: how an event changes the outcome of a call of this kind. */
function step(kind: Kind, outcome: Outcome, its: Event): void {
  // Late frames are dropped.
  if (outcome.end !== "open") return;
  const streams = kind === "server_streaming" || kind === "bidi_streaming";
  switch (its.kind) {
    case "data":
    case "last data":
      if (!streams) {
        outcome.end = { code: Code.Internal };
        return;
      }
      outcome.messages.push(its.body);
      if (its.kind === "last data") outcome.end = "ok";
      return;
    case "close":
      // A half-close is not the response that these calls wait for.
      outcome.end = streams ? "ok" : { code: Code.Internal };
      return;
    case "response":
      // It ends a stream. If it carries a payload, that is the last message.
      if (!streams || its.body !== "") outcome.messages.push(its.body);
      outcome.end = "ok";
      return;
    case "status":
      // A unary call keeps a number that is not a code; ttrpc's streams know only the codes of gRPC.
      outcome.end = { code: kind !== "unary" && (its.code > 16 || its.code < 0) ? Code.Unknown : its.code };
      return;
    case "unknown type":
      outcome.end = { code: Code.Internal };
  }
}

/** Makes a call of a kind, and records its outcome. */
function call(connection: Awaited<ReturnType<typeof connect>>, kind: Kind, signal: AbortSignal) {
  const outcome: Outcome = { messages: [], end: "open" };
  /** Requests that do not end before the call does. */
  async function* requests() {
    yield bytes("request");
    await new Promise((resolve) => {
      signal.addEventListener("abort", resolve);
    });
  }
  const one = (reply: Promise<Uint8Array>) => reply.then((message) => outcome.messages.push(text(message)));
  const all = async (stream: AsyncIterable<Uint8Array>) => {
    for await (const message of stream) outcome.messages.push(text(message));
  };
  const started = {
    unary: () => one(connection.unary("a.B", kind, EMPTY, { signal })),
    client_streaming: () => one(connection.clientStreaming("a.B", kind, requests(), { signal })),
    server_streaming: () => all(connection.serverStreaming("a.B", kind, EMPTY, { signal })),
    bidi_streaming: () => all(connection.bidiStreaming("a.B", kind, requests(), { signal })),
  }[kind]();
  const done = started.then(
    () => (outcome.end = "ok"),
    (error: unknown) => {
      if (!(error instanceof TtrpcError)) throw error;
      outcome.end = { code: error.code };
    },
  );
  return { outcome, done };
}

/** The id of the request for this method. Other frames are skipped. */
async function idOf(peer: RawConnection, method: string): Promise<number> {
  for (;;) {
    const frame: Frame = await peer.nextFrame();
    if (frame.type === FrameType.Request && decodeRequest(frame.body).method === method)
      return frame.streamId;
  }
}

test("whatever a server sends, in any order and any pieces, each call sees what the model says, and the next one works", async () => {
  await using server = await RawServer.listen();
  await using connection = await connect(server.address);
  const peer = await server.accept();
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.constantFrom(...KINDS), { minLength: 4, maxLength: 4 }),
      fc.array(event, { maxLength: 25 }),
      fc.array(fc.integer({ min: 1, max: 3000 }), { minLength: 1, maxLength: 6 }),
      async (kinds, events, pieces) => {
        const controller = new AbortController();
        const calls: ReturnType<typeof call>[] = [];
        const ids: number[] = [];
        for (const kind of kinds) {
          calls.push(call(connection, kind, controller.signal));
          ids.push(await idOf(peer, kind));
        }
        const model = kinds.map((): Outcome => ({ messages: [], end: "open" }));
        for (const its of events) step(kinds[its.to]!, model[its.to]!, its);

        const sent = Buffer.concat(events.map((its) => frameOf(its, ids[its.to]!)));
        for (let at = 0, index = 0; at < sent.length; index++) {
          const end = at + pieces[index % pieces.length]!;
          await peer.send(sent.subarray(at, end));
          at = end;
        }
        // The server answers this after all that: once the client has the reply, it has seen everything before.
        const next = connection.unary("a.B", "Next", EMPTY);
        await peer.reply(await idOf(peer, "Next"), bytes("next"));
        expect(text(await next)).toBe("next");
        for (const [index, { done }] of calls.entries()) if (model[index]!.end !== "open") await done;
        // The readers of the open calls get their turn, too.
        await new Promise((resolve) => {
          setImmediate(resolve);
        });
        expect(calls.map(({ outcome }) => outcome)).toEqual(model);

        controller.abort();
        await Promise.all(calls.map(({ done }) => done));
        for (const its of model) if (its.end === "open") its.end = { code: Code.Canceled };
        expect(calls.map(({ outcome }) => outcome)).toEqual(model);
      },
    ),
    { numRuns: 150 },
  );
}, 60_000);
