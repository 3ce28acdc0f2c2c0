import { connect, createServer } from "containerd-shim-protos";
import { expect, test } from "vitest";
import { Script } from "../../helpers/script.js";
import { pairOf, SERVICE } from "../../helpers/pair.js";
import { temporaryAddress } from "../../helpers/temp.js";

const EMPTY = new Uint8Array();
/** Messages so small that many fit into the window of a stream. */
const SIZE = 100;
const COUNT = 1_000_000;
/** The number of messages in a few batches of 1 MiB, and more. */
const BETWEEN_TURNS = 100_000;

/** Code that measures how many messages at most were made between two turns of the event loop. */
const COUNTING = `
  let made = 0;
  let most = 0;
  const turn = () => {
    most = Math.max(most, made);
    made = 0;
    setImmediate(turn).unref();
  };
  turn();
`;

test("a handler that never waits lets the event loop run", async () => {
  await using script = new Script(
    `${COUNTING}
    const server = product.createServer().addRaw("a.B", {
      Down: {
        kind: "server_streaming",
        async *handle() {
          for (let index = 0; index < ${COUNT}; index++, made++) yield new Uint8Array(${SIZE});
        },
      },
      Most: { kind: "unary", handle: () => new TextEncoder().encode(String(most)) },
    });
    say(await server.listen(address));`,
    temporaryAddress(),
  );
  await using connection = await connect((await script.nextLine())!);
  let count = 0;
  for await (const _ of connection.serverStreaming(SERVICE, "Down", EMPTY)) count++;
  expect(count).toBe(COUNT);
  const most = await connection.unary(SERVICE, "Most", EMPTY);
  expect(Number(new TextDecoder().decode(most))).toBeLessThan(BETWEEN_TURNS);
});

test("a source that never waits lets the event loop run", async () => {
  let count = 0;
  await using pair = await pairOf({
    Up: {
      kind: "client_streaming",
      async handle(requests) {
        for await (const _ of requests) count++;
        return EMPTY;
      },
    },
  });
  await using script = new Script(
    `${COUNTING}
    const connection = await product.connect(address);
    const source = async function* () {
      for (let index = 0; index < ${COUNT}; index++, made++) yield new Uint8Array(${SIZE});
    };
    await connection.clientStreaming("a.B", "Up", source());
    say(String(most));
    process.exit(0);`,
    pair.address,
  );
  expect(Number(await script.nextLine())).toBeLessThan(BETWEEN_TURNS);
  expect(count).toBe(COUNT);
});

test.each(["loop", "thread"])("a reader of a flood lets the event loop run, driver %s", async (driver) => {
  await using server = createServer({ driver: "thread" }).addRaw(SERVICE, {
    Down: {
      kind: "server_streaming",
      async *handle() {
        for (let index = 0; index < COUNT; index++) yield new Uint8Array(SIZE);
      },
    },
  });
  await using script = new Script(
    `${COUNTING}
    const connection = await product.connect(address, { driver: "${driver}" });
    let count = 0;
    for await (const _ of connection.serverStreaming("a.B", "Down", new Uint8Array())) {
      count++;
      made++;
    }
    say(JSON.stringify({ count, most }));
    process.exit(0);`,
    await server.listen(temporaryAddress()),
  );
  const { count, most } = JSON.parse((await script.nextLine())!) as { count: number; most: number };
  expect(count).toBe(COUNT);
  // 256 KiB cross at once, four times in a row.
  expect(most).toBeLessThan(20_000);
});
