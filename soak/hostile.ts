import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { attacks } from "../__test__/hostile/attacks.js";
import { encodeFrame, encodeRequest, FrameType } from "../__test__/helpers/wire.js";
import type { Random } from "./random.js";

const BODY = new Uint8Array(1 << 20).fill(7);
const SMALL = BODY.subarray(0, 128 << 10);

/** Requests of the soak's service, one after the other. */
function requests(count: number, method: string, payload: Uint8Array, timeoutNano = 0n): Buffer {
  return Buffer.concat(
    Array.from({ length: count }, (_, index) => {
      const body = encodeRequest({ service: "soak.Soak", method, payload, timeoutNano });
      return encodeFrame({ streamId: 2 * index + 1, type: FrameType.Request, body });
    }),
  );
}

/** The attacks, and the number of connections of each. None of these is read. */
const HOSTILITIES: readonly { connections: number; run(sockets: readonly Socket[]): Promise<void> | void }[] =
  [
    // Announced, and never sent.
    { connections: 100, run: attacks.headers.run },
    { connections: 30, run: attacks.halves.run },
    // More than two million empty entries of metadata.
    { connections: 1, run: attacks.entries.run },
    // Replies that nobody reads.
    { connections: 5, run: (sockets) => sockets.forEach((one) => one.write(requests(200, "Echo", SMALL))) },
    {
      connections: 5,
      run: (sockets) => sockets.forEach((one) => one.write(requests(20, "Endless", SMALL))),
    },
    // Requests whose deadlines have passed by the time they are read.
    { connections: 2, run: (sockets) => sockets.forEach((one) => one.write(requests(50, "Echo", BODY, 1n))) },
  ];

/** Runs one attack after the other, each for a moment, for as long as this process lives. */
export async function hostile(path: string, random: Random): Promise<never> {
  for (;;) {
    const { connections, run } = random.pick(HOSTILITIES);
    const sockets: Socket[] = [];
    for (let count = 0; count < connections; count++) {
      const socket = connect(path);
      // The server may close it at any time.
      socket.on("error", () => undefined);
      await once(socket, "connect").catch(() => undefined);
      sockets.push(socket);
    }
    await run(sockets);
    process.stdout.write("hostile\n");
    await sleep(300 + random.below(1500));
    for (const socket of sockets) socket.destroy();
    await sleep(500);
  }
}
