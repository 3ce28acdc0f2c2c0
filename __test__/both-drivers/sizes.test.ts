import { Code, createServer, TtrpcError } from "containerd-shim-protos";
import { expect, test } from "vitest";
import { failure } from "../helpers/outcome.js";
import { pairOf, pairWith, SERVICE } from "../helpers/pair.js";
import { encodeRequest } from "../helpers/wire.js";

/** ttrpc's limit for a message, its envelope included. */
const LIMIT = 4 << 20;

/** Characters of one, two, three and four bytes in UTF-8. */
const CHARACTERS = ["a", "é", "€", "🚀"];

const EMPTY = new Uint8Array();
const echo = { Echo: { kind: "unary", handle: (payload: Uint8Array) => payload.subarray(0, 1) } } as const;

/** The payload that makes a request with this metadata `size` bytes long. */
function payloadFor(size: number, metadata: Readonly<Record<string, string>>): Uint8Array {
  const request = { service: SERVICE, method: "Echo", metadata: Object.entries(metadata) };
  const sizeWith = (length: number) => encodeRequest({ ...request, payload: new Uint8Array(length) }).length;
  const length = size - (sizeWith(size) - size);
  expect(sizeWith(length)).toBe(size);
  return new Uint8Array(length);
}

test.each(CHARACTERS)(
  "a request with metadata of %s counts exactly the bytes that it takes on the wire",
  async (character) => {
    await using pair = await pairOf(echo);
    const metadata = { key: character.repeat(100_000) };
    const call = (size: number) =>
      pair.connection.unary(SERVICE, "Echo", payloadFor(size, metadata), { metadata });
    expect(await call(LIMIT)).toHaveLength(1);
    const error = await failure(call(LIMIT + 1));
    expect(error.code).toBe(Code.ResourceExhausted);
    expect(error.message).toContain(String(LIMIT + 1));
    expect(await call(LIMIT)).toHaveLength(1);
  },
);

test.each(CHARACTERS)(
  "two MiB of %s in metadata cross, however many bytes a character may take",
  async (character) => {
    await using pair = await pairOf(echo);
    const count = Math.floor((2 << 20) / Buffer.byteLength(character));
    const metadata = { key: character.repeat(count) };
    expect(await pair.connection.unary(SERVICE, "Echo", new Uint8Array(1), { metadata })).toHaveLength(1);
  },
);

test.each(CHARACTERS)(
  "the text of a handler's error, of %s, is whole up to the limit; beyond, it is cut between two characters",
  async (character) => {
    const bytes = Buffer.byteLength(character);
    let count = 0;
    const text = () => character.repeat(count);
    const server = createServer().addRaw(SERVICE, {
      Fail: {
        kind: "unary",
        handle: () => {
          throw new TtrpcError(text(), Code.NotFound);
        },
      },
      Stream: {
        kind: "server_streaming",
        // oxlint-disable-next-line require-yield -- It only fails.
        async *handle() {
          throw new TtrpcError(text(), Code.NotFound);
        },
      },
    });
    await using pair = await pairWith(server);
    // The tag and length of the status, its code, and the tag and length of the text.
    const overhead = 5 + 2 + 5;
    for (const room of [0, bytes, 100 * bytes]) {
      count = Math.floor((LIMIT - overhead + room) / bytes);
      const errors = [
        await failure(pair.connection.unary(SERVICE, "Fail", EMPTY)),
        await failure(pair.connection.serverStreaming(SERVICE, "Stream", EMPTY).next()),
      ];
      for (const { code, rawMessage: message } of errors) {
        expect(code).toBe(Code.NotFound);
        if (room === 0) {
          // Not compared by expect, which would print both.
          expect(message === text()).toBe(true);
          continue;
        }
        const [cut = "", note = ""] = message.split("…");
        expect(cut.length % character.length).toBe(0);
        expect(text().startsWith(cut)).toBe(true);
        expect(cut.length).toBeGreaterThan(0.99 * text().length);
        expect(note).toContain(`${count * bytes} bytes`);
      }
    }
  },
);
