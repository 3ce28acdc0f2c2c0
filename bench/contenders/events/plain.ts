import { createServer, type Socket } from "node:net";
import { PlainClient, requestPrefix } from "../plain-client.js";
import { type Contender, decodeRequest, encodeRequest, exitStatusOf, inOrder } from "./event.js";

const HEADER = 10;
const prefix = requestPrefix("containerd.services.events.ttrpc.v1.Events", "Forward");

/** ttrpc in plain JavaScript over node:net, and protobuf-es. */
export const contender: Contender = {
  async serve(path, take) {
    const server = createServer((socket) => serveSocket(socket, take));
    await new Promise<void>((resolve) => server.listen(path, resolve));
    return new Promise(() => {});
  },
  async publish(path, count, inflight) {
    const client = await PlainClient.connect(path);
    await inOrder(count, inflight, (number) => client.unary(prefix, encodeRequest(number)));
    client.close();
  },
};

/** Answers the requests of one socket; the answers to a chunk leave in one write. */
function serveSocket(socket: Socket, take: (exitStatus: number) => void): void {
  let rest: Buffer | undefined;
  socket.on("data", (chunk) => {
    const data = rest === undefined ? chunk : Buffer.concat([rest, chunk]);
    const answers = [];
    let at = 0;
    while (data.length - at >= HEADER) {
      const length = data.readUInt32BE(at);
      if (data.length - at < HEADER + length) break;
      const payload = payloadOf(data, at + HEADER, at + HEADER + length);
      take(exitStatusOf(decodeRequest(payload)));
      const answer = Buffer.alloc(HEADER);
      answer.writeUInt32BE(data.readUInt32BE(at + 4), 4);
      answer[8] = 2;
      answers.push(answer);
      at += HEADER + length;
    }
    rest = at < data.length ? data.subarray(at) : undefined;
    if (answers.length > 0) socket.write(Buffer.concat(answers));
  });
  socket.on("error", () => socket.destroy());
}

/** The payload of an encoded request, field 3. */
function payloadOf(data: Buffer, start: number, end: number): Uint8Array {
  let at = start;
  while (at < end) {
    const tag = data[at++];
    let size = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = data[at++] ?? 0;
      size |= (byte & 0x7f) << shift;
      if (byte < 0x80) break;
    }
    if (tag === 0x1a) return data.subarray(at, at + size);
    at += size;
  }
  return new Uint8Array(0);
}
