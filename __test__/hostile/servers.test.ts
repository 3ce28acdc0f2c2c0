/** What hostile servers can do to a client. */

import { once } from "node:events";
import { createServer, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { pathOf, temporaryAddress } from "../helpers/temp.js";
import { encodeFrame, FrameType } from "../helpers/wire.js";
import { Process } from "./process.js";

const MIB = 1 << 20;

/** What a process needs to handle the largest messages one by one, and what its allocator keeps for a moment. */
const WORKING_MEMORY = 64 * MIB;
const A_CONNECTION = 64 << 10;

interface Case {
  /** In words, to follow "a server that …". */
  readonly what: string;
  /** What the client does. */
  readonly does: string;
  /** Called for each request, by its connection and stream id. */
  answer(socket: Socket, streamId: number): void;
  readonly outcome: unknown;
  /** The bytes that the client may hold. */
  readonly limit: number;
}

/** The header of a frame, which may announce more than is accepted. */
function header(length: number, streamId: number, type: number): Buffer {
  const bytes = Buffer.alloc(10);
  bytes.writeUInt32BE(length, 0);
  bytes.writeUInt32BE(streamId, 4);
  bytes.set([type, 0], 8);
  return bytes;
}

const LARGE = Buffer.alloc(5 * MIB, 97);
const MESSAGE = Buffer.alloc(64 << 10, 98);

const cases: readonly Case[] = [
  {
    what: "answers with replies of 5 MiB",
    does: "calls",
    answer: (socket, id) => {
      socket.write(header(LARGE.length, id, FrameType.Response));
      socket.write(LARGE);
    },
    outcome: { ResourceExhausted: 50 },
    limit: 0,
  },
  {
    what: "answers with replies of two million unknown fields",
    does: "calls",
    answer: (socket, id) => {
      const body = Buffer.alloc(4 * MIB - 300, Buffer.from([0x78, 1]));
      socket.write(encodeFrame({ streamId: id, type: FrameType.Response, body }));
    },
    outcome: { ResourceExhausted: 50 },
    limit: 0,
  },
  {
    what: "sends without end to a reader that does not read",
    does: "reader",
    answer: (socket, id) => {
      const frame = encodeFrame({ streamId: id, type: FrameType.Data, body: MESSAGE });
      const more = () => {
        while (!socket.destroyed && socket.write(frame));
      };
      socket.on("drain", more);
      more();
    },
    outcome: { bytes: MESSAGE.length },
    limit: 4 * MIB,
  },
  {
    what: "announces replies of 4 MiB on a thousand connections, and sends no more",
    does: "connections",
    answer: (socket, id) => socket.write(header(4 * MIB, id, FrameType.Response)),
    outcome: { DeadlineExceeded: 1000 },
    limit: 1000 * A_CONNECTION,
  },
];

describe.each(["loop", "thread"] as const)(
  'with driver: "%s", a client stays within its limits with a server that',
  (driver) => {
    test.each(cases.map((one) => [one.what, one] as const))(
      "%s",
      async (_, { does, answer, outcome, limit }) => {
        const address = temporaryAddress();
        const sockets = new Set<Socket>();
        const server = createServer((socket) => {
          sockets.add(socket);
          socket.on("error", () => undefined);
          let rest = Buffer.alloc(0);
          socket.on("data", (chunk: Buffer) => {
            rest = Buffer.concat([rest, chunk]);
            for (let size = 0; rest.length >= 10 && rest.length >= (size = 10 + rest.readUInt32BE(0));) {
              answer(socket, rest.readUInt32BE(4));
              rest = rest.subarray(size);
            }
          });
        }).listen(pathOf(address));
        await once(server, "listening");
        try {
          await using client = new Process("caller.ts", driver, does, pathOf(address));
          expect(await client.line()).toBe("ready");
          client.takePeak();
          await sleep(50);
          const idle = client.takePeak();
          expect(JSON.parse(await client.ask("go"))).toEqual(outcome);
          await client.settled();
          expect(client.takePeak() - idle).toBeLessThan(limit + WORKING_MEMORY);
        } finally {
          for (const socket of sockets) socket.destroy();
          server.close();
        }
      },
      60_000,
    );
  },
);
