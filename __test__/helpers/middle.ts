import { once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";
import { setImmediate as turn } from "node:timers/promises";
import type { Random } from "../parity/random.js";
import { pathOf, temporaryAddress } from "./temp.js";
import { decodeFrame, encodeFrame, encodeRequest, encodeResponse, type Frame, FrameType } from "./wire.js";

/**
 * A hostile, but legal, way between a client and a server. It cuts the bytes anywhere, lets frames overtake those of other
 * streams, and adds frames that each side must take for late or for nobody's.
 */
export class Middle implements AsyncDisposable {
  readonly address: string;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(address: string, to: string, random: Random) {
    this.address = address;
    this.#server = createServer((client) => {
      const server = connect(pathOf(to));
      for (const socket of [client, server]) {
        this.#sockets.add(socket);
        socket.on("error", () => undefined);
      }
      const ended = new Set<number>();
      void carry(new Way(random, ended, true), client, server);
      void carry(new Way(random, ended, false), server, client);
    });
  }

  static async between(to: string, random: Random): Promise<Middle> {
    const middle = new Middle(temporaryAddress(), to, random);
    middle.#server.listen(pathOf(middle.address));
    await once(middle.#server, "listening");
    return middle;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
    await once(this.#server, "close");
  }
}

/** Carries all bytes of one side to the other, at the pace of the other. */
async function carry(way: Way, from: Socket, to: Socket): Promise<void> {
  // A side that leaves takes the other with it.
  from.once("close", () => to.destroy());
  try {
    let received: Buffer = Buffer.alloc(0);
    for await (const chunk of from) {
      received = Buffer.concat([received, chunk as Buffer]);
      const frames: Frame[] = [];
      for (let next = decodeFrame(received); next; next = decodeFrame(received)) {
        received = next.rest;
        frames.push(next.frame);
      }
      for (const piece of way.pieces(frames)) {
        if (!to.write(piece)) await once(to, "drain");
        await turn();
      }
    }
    to.end();
  } catch {
    to.destroy();
  }
}

/** One direction of a connection. */
class Way {
  readonly #random: Random;
  /** The calls whose last frame the client has been sent. */
  readonly #ended: Set<number>;
  readonly #toServer: boolean;

  constructor(random: Random, ended: Set<number>, toServer: boolean) {
    this.#random = random;
    this.#ended = ended;
    this.#toServer = toServer;
  }

  /** What is sent for frames that came together. Those of one stream keep their order. */
  *pieces(frames: Frame[]): Iterable<Buffer> {
    const random = this.#random;
    while (frames.length > 0) {
      const group: Buffer[] = [];
      for (let left = random.pick([1, 1, 3, 30]); left > 0 && frames.length > 0; left--) {
        if (random.onceIn(6)) group.push(this.#stray());
        const { streamId } = random.pick(frames);
        const first = frames.findIndex((each) => each.streamId === streamId);
        const [frame] = frames.splice(first, 1) as [Frame];
        group.push(encodeFrame(frame));
        if (!this.#toServer && isLast(frame)) this.#ended.add(streamId);
      }
      yield* this.#cut(Buffer.concat(group));
    }
  }

  *#cut(bytes: Buffer): Iterable<Buffer> {
    const random = this.#random;
    if (random.onceIn(2)) {
      yield bytes;
      return;
    }
    let at = 0;
    for (let cuts = random.below(6); cuts > 0 && at < bytes.length; cuts--) {
      const end = at + 1 + random.below(random.pick([1, 12, 12, 5000, 70_000]));
      yield bytes.subarray(at, end);
      at = end;
    }
    if (at < bytes.length) yield bytes.subarray(at);
  }

  /** A frame that changes nothing: of a call that is over, or with an id that no call has. */
  #stray(): Buffer {
    const random = this.#random;
    const over = [...this.#ended];
    const streamId = over.length > 0 && !random.onceIn(3) ? random.pick(over) : 2 * random.below(50);
    const body = random.pick([
      () => new Uint8Array(random.pick([0, 1, 40, 5000, 40_000])).fill(random.below(256)),
      () => encodeRequest({ service: "a.B", method: "Echo" }),
      () => encodeResponse({ status: { code: random.below(20) } }),
    ])();
    const type = random.pick([...Object.values(FrameType), FrameType.Data, 0, 9, 255]);
    return encodeFrame({ streamId, type, flags: random.pick([0, 0, 1, 2, 4, 5, 255]), body });
  }
}

/** Whether nothing follows for a call at its client. */
function isLast({ type, flags }: Frame): boolean {
  return type === FrameType.Response || (flags & 1) !== 0;
}
