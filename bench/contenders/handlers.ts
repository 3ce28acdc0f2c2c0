/** The handlers that every JavaScript server runs, and the messages. */

import type { ForwardRequest } from "containerd-shim-protos/events";

/** What every JavaScript server runs. `release` frees the memory of a payload that was read. */
export function handlersOf(release?: (payload: Uint8Array) => void) {
  return {
    async echo(payload: Uint8Array): Promise<Uint8Array> {
      return payload;
    },
    async sink(requests: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
      let first: Uint8Array | undefined;
      for await (const message of requests) {
        if (first === undefined) first = message;
        else release?.(message);
      }
      return first ?? new Uint8Array(0);
    },
    async *source(request: Uint8Array): AsyncGenerator<Uint8Array> {
      const [milliseconds, size] = readWish(request);
      const message = payloadOf(size);
      const until = performance.now() + milliseconds;
      while (performance.now() < until) yield message;
    },
    chat:
      release === undefined
        ? forwarded
        : (requests: AsyncIterable<Uint8Array>) => released(requests, release),
    /** Accepts an event. */
    ingest({ envelope }: ForwardRequest): object {
      if (!envelope?.topic) throw new Error("no topic");
      return {};
    },
  };
}

/** The same, of programs that release nothing. */
export const handlers = handlersOf();

async function* forwarded(requests: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  yield* requests;
}

/** The same, but a message has left once the next one is asked for. */
async function* released(
  requests: AsyncIterable<Uint8Array>,
  release: (payload: Uint8Array) => void,
): AsyncGenerator<Uint8Array> {
  for await (const message of requests) {
    yield message;
    release(message);
  }
}

/** The event of a container that started. */
export function eventOf(index: number) {
  return {
    envelope: {
      timestamp: { seconds: 1_760_000_000n, nanos: 123_456_700 },
      namespace: "k8s.io",
      topic: "/tasks/start",
      event: { typeUrl: "containerd.events.TaskStart", value: new Uint8Array(58).fill(index) },
    },
  };
}

/** A payload of `size` bytes that is a google.protobuf.BytesValue, because ttrpc for Go requires a message. */
export function payloadOf(size: number): Uint8Array {
  for (let width = 1; ; width++) {
    const header = [0x0a, ...varint(Math.max(0, size - 1 - width))];
    if (header.length < 1 + width) continue;
    const payload = new Uint8Array(size).fill(0x61);
    payload.set(header.slice(0, size));
    return payload;
  }
}

/** The request to a source: two numbers, in fields 1 and 2. */
export function wishOf(milliseconds: number, size: number): Uint8Array {
  return Uint8Array.from([0x08, ...varint(milliseconds), 0x10, ...varint(size)]);
}

function readWish(request: Uint8Array): [milliseconds: number, size: number] {
  const numbers: [number, number] = [0, 0];
  for (let at = 0; at < request.length;) {
    const field = (request[at++] ?? 0) >> 3;
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = request[at++] ?? 0;
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) break;
    }
    numbers[field - 1] = value;
  }
  return numbers;
}

function varint(value: number): number[] {
  return value < 0x80 ? [value] : [(value & 0x7f) | 0x80, ...varint(value >>> 7)];
}
