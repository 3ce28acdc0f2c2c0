/** The answer to a stream comes before what its late messages lead to, whose refusal the peer would take for the answer. */

import { Code, connect, type RawMethods } from "containerd-shim-protos";
import { expect, test } from "vitest";
import { bytes, deferred } from "../../helpers/outcome.js";
import {
  CHAT,
  data,
  expectServed,
  HALF_CLOSE,
  HOLD,
  OPEN_BY_GO,
  OPEN_BY_RUST,
  request,
  serverOfRaw,
  SUM,
} from "./raw-pairs.js";

/** More messages than ttrpc queues for a stream. */
const MESSAGES = 150;

/** Streams that are never answered, and a call that takes the server's only place until the gate opens. */
function methods(gate = Promise.resolve()): RawMethods {
  const never = new Promise<never>(() => {});
  return {
    Hold: { kind: "unary", handle: (payload) => gate.then(() => payload) },
    Sum: { kind: "client_streaming", handle: () => never },
    Chat: {
      kind: "bidi_streaming",
      handle: () => ({ [Symbol.asyncIterator]: () => ({ next: () => never }) }),
    },
  };
}

function messages(streamId: number): Buffer[] {
  const sent = Array.from({ length: MESSAGES }, (_, index) => data(streamId, `message ${index}`));
  return [...sent, data(streamId, "", HALF_CLOSE)];
}

test.each([
  ["Sum", SUM, OPEN_BY_GO],
  ["Sum", SUM, OPEN_BY_RUST],
  ["Chat", CHAT, OPEN_BY_RUST],
])(
  "a server at its limit answers RESOURCE_EXHAUSTED to a stream %s whose messages come with it",
  async (_, method, flags) => {
    const gate = deferred();
    await using pair = await serverOfRaw(methods(gate.promise), { maxConcurrentCalls: 1 });
    const { client } = pair;
    await client.send(request(1, { ...HOLD, payload: bytes("held") }));
    await client.send(Buffer.concat([request(3, method, flags), ...messages(3)]));
    const { streamId, status } = await client.nextResponse();
    expect({ streamId, code: status.code }).toEqual({ streamId: 3, code: Code.ResourceExhausted });

    gate.resolve();
    let response = await client.nextResponse();
    while (response.streamId === 3) response = await client.nextResponse();
    expect({ streamId: response.streamId, code: response.status.code }).toEqual({ streamId: 1, code: 0 });
  },
);

test("a stream whose deadline has passed is DEADLINE_EXCEEDED, even if its messages come with it", async () => {
  await using pair = await serverOfRaw(methods());
  const { client } = pair;
  const late = request(1, { ...SUM, timeoutNano: -1n }, OPEN_BY_RUST);
  await client.send(Buffer.concat([late, ...messages(1)]));
  const { streamId, status } = await client.nextResponse();
  expect({ streamId, code: status.code }).toEqual({ streamId: 1, code: Code.DeadlineExceeded });
});

test("a client learns that the server is at its limit, although its messages followed at once", async () => {
  const gate = deferred();
  await using pair = await serverOfRaw(methods(gate.promise), { maxConcurrentCalls: 1 });
  await pair.client.send(request(1, HOLD));
  await using connection = await connect(pair.address);
  const requests = Array.from({ length: MESSAGES }, (_, index) => bytes(`message ${index}`));
  await expect(connection.clientStreaming("test.Raw", "Sum", requests)).rejects.toMatchObject({
    code: Code.ResourceExhausted,
  });
  gate.resolve();
  await pair.client.nextResponse();
  await expectServed(pair);
});
