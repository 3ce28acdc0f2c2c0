import type * as Product from "containerd-shim-protos";

/*
 * The two halves of the echo suite. Each runs in this process or, as text, in another one, so it refers to nothing
 * outside itself.
 */

/** A server with a method of each kind, and one that never answers. */
export function echoServer(product: typeof Product, onAbort: (code: number) => void): Product.Server {
  return product.createServer().addRaw("test.Echo", {
    Echo: { kind: "unary", handle: (payload) => payload },
    Peer: {
      kind: "unary",
      handle: (_, { peer }) => new TextEncoder().encode(peer === undefined ? "unknown" : `uid ${peer.uid}`),
    },
    List: {
      kind: "server_streaming",
      async *handle(payload) {
        for (let index = 0; index < 100; index++) yield new Uint8Array([...payload, index]);
      },
    },
    Sum: {
      kind: "client_streaming",
      async handle(requests) {
        let [messages, size] = [0, 0];
        for await (const { length } of requests) {
          messages++;
          size += length;
        }
        return new TextEncoder().encode(`${messages} messages of ${size} bytes`);
      },
    },
    Chat: {
      kind: "bidi_streaming",
      async *handle(requests) {
        yield* requests;
      },
    },
    Hold: {
      kind: "unary",
      handle: (_, { signal }) =>
        new Promise<Uint8Array>((resolve) => {
          signal.addEventListener("abort", () => {
            onAbort((signal.reason as Product.TtrpcError).code);
            resolve(new Uint8Array());
          });
        }),
    },
  });
}

/** Calls all of its methods; resolves to the outcomes, in words. */
export async function exercise(connection: Product.Connection): Promise<string[]> {
  const [encoder, decoder] = [new TextEncoder(), new TextDecoder()];
  const same = (a: Uint8Array, b: Uint8Array) => Buffer.compare(a, b) === 0;
  const said: string[] = [];

  const replies = await Promise.all(
    Array.from({ length: 100 }, (_, index) =>
      connection.unary("test.Echo", "Echo", encoder.encode(`call ${index}`)),
    ),
  );
  said.push(
    replies.every((reply, index) => decoder.decode(reply) === `call ${index}`) ? "unary" : "unary: wrong",
  );

  // Larger than any buffer on the way, so that it crosses in pieces.
  const large = new Uint8Array(4_000_000).map((_, index) => index % 251);
  said.push(same(await connection.unary("test.Echo", "Echo", large), large) ? "large" : "large: wrong");

  let index = 0;
  let ordered = true;
  for await (const message of connection.serverStreaming("test.Echo", "List", encoder.encode("ab"))) {
    ordered &&= same(message, new Uint8Array([97, 98, index++]));
  }
  said.push(ordered ? `list of ${index}` : "list: wrong");

  async function* messages(count: number, size: number) {
    for (let at = 0; at < count; at++) yield new Uint8Array(size).fill(at);
  }
  said.push(decoder.decode(await connection.clientStreaming("test.Echo", "Sum", messages(300, 1000))));
  said.push(decoder.decode(await connection.clientStreaming("test.Echo", "Sum", messages(0, 0))));

  let echoed = 0;
  for await (const message of connection.bidiStreaming("test.Echo", "Chat", messages(200, 20_000))) {
    if (!same(message, new Uint8Array(20_000).fill(echoed))) throw new Error(`message ${echoed} is wrong`);
    echoed++;
  }
  said.push(`chat of ${echoed}`);
  return said;
}

/** What {@link exercise} resolves to if all calls succeed. */
export const EXPECTED = [
  "unary",
  "large",
  "list of 100",
  "300 messages of 300000 bytes",
  "0 messages of 0 bytes",
  "chat of 200",
];
