import { Code, createServer } from "containerd-shim-protos";
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { bytes, text } from "../../helpers/outcome.js";
import { type RawConnection, rawConnect } from "../../helpers/raw-peer.js";
import { temporaryAddress } from "../../helpers/temp.js";
import { decodeResponse, encodeFrame, encodeRequest, FrameType } from "../../helpers/wire.js";

const HALF_CLOSE = 5;
const IDS = [1, 3, 5] as const;
const NEXT_ID = 7;

/** How each stream is opened: Go's flags or Rust's. */
const opening = fc.record({ method: fc.constantFrom("Chat", "Sum"), flags: fc.constantFrom(2, 6) });

const to = fc.constantFrom(...IDS);
const event = fc.oneof(
  { weight: 6, arbitrary: fc.record({ kind: fc.constant("data" as const), to, body: body() }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("last data" as const), to, body: body() }) },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant("half-close" as const), to, body: fc.constant("") }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant("open again" as const), to, body: fc.constant("") }),
  },
);

function body(): fc.Arbitrary<string> {
  return fc.constantFrom("", "a", "bc", "x".repeat(3000));
}

const FLAGS = { data: 0, "last data": 1, "half-close": HALF_CLOSE } as const;

/** What a stream's handler must see, and how many of its frames must be refused. */
interface Model {
  readonly messages: string[];
  closed: boolean;
  /** Frames after the half-close: dropped, or refused if the stream had ended. */
  late: number;
  /** Requests that reuse its id. */
  again: number;
}

/** What came back for a stream. */
interface Seen {
  readonly messages: string[];
  response: string | undefined;
  ended: boolean;
  refused: number;
}

/** Reads all frames up to the reply to the last call. */
async function replies(
  client: RawConnection,
  streams: Map<number, Seen>,
  isOver: () => boolean,
): Promise<void> {
  while (!isOver()) {
    const { streamId, type, flags, body: content } = await client.nextFrame();
    const seen = streams.get(streamId);
    if (seen === undefined) throw new Error(`a frame for the id ${streamId}`);
    if (type === FrameType.Data) {
      if (flags === HALF_CLOSE) seen.ended = true;
      else seen.messages.push(text(content));
      continue;
    }
    const { status, payload } = decodeResponse(content);
    if (status.code === Code.InvalidArgument) seen.refused++;
    else if (status.code === 0 && seen.response === undefined)
      [seen.response, seen.ended] = [text(payload), true];
    else throw new Error(`the status ${status.code} for the id ${streamId}`);
  }
}

test("whatever a client sends on several streams, each handler sees what the model says, and the next call works", async () => {
  await using server = createServer().addRaw("a.B", {
    Chat: {
      kind: "bidi_streaming",
      async *handle(requests) {
        yield* requests;
      },
    },
    Sum: {
      kind: "client_streaming",
      async handle(requests) {
        const sum: string[] = [];
        for await (const message of requests) sum.push(text(message));
        return bytes(JSON.stringify(sum));
      },
    },
    Next: { kind: "unary", handle: () => bytes("next") },
  });
  const address = await server.listen(temporaryAddress());
  const request = (streamId: number, method: string, flags: number) =>
    encodeFrame({
      streamId,
      type: FrameType.Request,
      flags,
      body: encodeRequest({ service: "a.B", method }),
    });

  await fc.assert(
    fc.asyncProperty(
      fc.tuple(opening, opening, opening),
      fc.array(event, { maxLength: 30 }),
      fc.array(fc.integer({ min: 1, max: 2000 }), { minLength: 1, maxLength: 6 }),
      async (openings, events, pieces) => {
        using client = await rawConnect(address);
        const models = new Map<number, Model>();
        const seen = new Map<number, Seen>();
        const frames: Buffer[] = [];
        for (const [index, { method, flags }] of openings.entries()) {
          const id = IDS[index]!;
          models.set(id, { messages: [], closed: false, late: 0, again: 0 });
          seen.set(id, { messages: [], response: undefined, ended: false, refused: 0 });
          frames.push(request(id, method, flags));
        }
        const close = IDS.map((id) => ({ kind: "half-close" as const, to: id, body: "" }));
        for (const { kind, to: id, body: content } of [...events, ...close]) {
          const model = models.get(id)!;
          if (kind === "open again") {
            model.again++;
            frames.push(request(id, "Next", 0));
            continue;
          }
          if (model.closed) model.late++;
          else if (kind !== "half-close") model.messages.push(content);
          model.closed ||= kind !== "data";
          frames.push(
            encodeFrame({ streamId: id, type: FrameType.Data, flags: FLAGS[kind], body: bytes(content) }),
          );
        }
        const sent = Buffer.concat(frames);
        const reading = replies(client, seen, () =>
          IDS.every((id) => seen.get(id)!.ended && seen.get(id)!.refused >= models.get(id)!.again),
        );
        for (let at = 0, index = 0; at < sent.length; index++) {
          const end = at + pieces[index % pieces.length]!;
          await client.send(sent.subarray(at, end));
          at = end;
        }
        await reading;
        const last: Seen = { messages: [], response: undefined, ended: false, refused: 0 };
        seen.set(NEXT_ID, last);
        await client.send(request(NEXT_ID, "Next", 0));
        await replies(client, seen, () => last.ended);
        expect(last.response).toBe("next");

        for (const [index, { method }] of openings.entries()) {
          const [model, its] = [models.get(IDS[index]!)!, seen.get(IDS[index]!)!];
          const messages = method === "Chat" ? its.messages : (JSON.parse(its.response ?? "null") as unknown);
          expect(messages).toEqual(model.messages);
          expect(its.refused).toBeGreaterThanOrEqual(model.again);
          expect(its.refused).toBeLessThanOrEqual(model.again + model.late);
        }
      },
    ),
    { numRuns: 150 },
  );
}, 60_000);
