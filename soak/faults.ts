import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { connect as connectSocket, createServer as createSocketServer, type Socket } from "node:net";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { connect } from "containerd-shim-protos";
import { encodeFrame, encodeRequest, encodeResponse } from "../__test__/helpers/wire.js";
import type { Counts } from "./counts.js";
import type { Random } from "./random.js";

const CHILD = fileURLToPath(new URL("child.ts", import.meta.url));

/** A peer in a separate process, to be killed. */
export class Child {
  readonly #process: ChildProcess;
  readonly #ended: Promise<unknown>;

  private constructor(args: readonly string[], counts: Counts, ready: () => void) {
    const child = spawn(process.execPath, ["--import", "tsx", CHILD, ...args], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    if (child.stdout === null) throw new Error("the child's output is not piped");
    this.#process = child;
    this.#ended = once(child, "close");
    createInterface({ input: child.stdout }).on("line", (line) => {
      if (line === "hostile") counts.add("hostilities");
      else if (line !== "ready") counts.fail(`child ${args[0]}: ${line}`);
      ready();
    });
    void this.#ended.then(ready);
  }

  static async start(args: readonly string[], counts: Counts): Promise<Child> {
    return new Promise((resolve) => {
      const child = new Child(args, counts, () => resolve(child));
    });
  }

  /** kill -9, in the middle of whatever it is doing. */
  async kill(): Promise<void> {
    this.#process.kill("SIGKILL");
    await this.#ended;
  }
}

/** Frames that no correct peer sends, complete or truncated. */
function brokenFrames(random: Random): Buffer {
  const frames = Array.from({ length: 1 + random.below(8) }, () => {
    const body = random.pick([
      () => new Uint8Array(random.below(100)).map(() => random.below(256)),
      () =>
        encodeRequest({ service: "soak.Soak", method: random.pick(["Echo", "Sum", "Chat", "List", "None"]) }),
      () => encodeResponse({ status: { code: random.below(200) - 100 } }),
    ])();
    const frame = encodeFrame({
      streamId: random.below(12),
      type: random.below(5),
      flags: random.below(8),
      body,
    });
    return random.chance(0.1) ? frame.subarray(0, random.below(frame.length)) : frame;
  });
  if (random.chance(0.1)) frames.push(Buffer.from("GET / HTTP/1.1\r\n\r\n"));
  return Buffer.concat(frames);
}

/** A client that sends broken frames to our server. */
export async function brokenClient(path: string, random: Random, counts: Counts): Promise<void> {
  const socket = connectSocket(path);
  // The server decides how it ends.
  socket.on("error", () => undefined);
  const closed = new Promise((resolve) => socket.once("close", resolve));
  await Promise.race([once(socket, "connect"), closed]).catch(() => undefined);
  socket.resume();
  socket.write(brokenFrames(random), () => (random.chance(0.5) ? socket.end() : socket.destroy()));
  await closed;
  counts.add("broken clients");
}

/** Our client, calling a server that answers with broken frames. */
export async function brokenServer(path: string, random: Random, counts: Counts): Promise<void> {
  const sockets = new Set<Socket>();
  const server = createSocketServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => undefined);
    socket.once("data", () => socket.end(brokenFrames(random)));
  }).listen(path);
  await once(server, "listening");
  const connection = await connect(`unix://${path}`);
  const call = random.chance(0.5)
    ? connection.unary("soak.Soak", "Echo", new Uint8Array(10))
    : drain(connection.serverStreaming("soak.Soak", "List", new Uint8Array(10)));
  // Any outcome will do, but there must be one. The frames may even happen to be an answer.
  await call.catch(() => undefined);
  await connection.closed;
  for (const socket of sockets) socket.destroy();
  server.close();
  await once(server, "close");
  counts.add("broken servers");
}

async function drain(stream: AsyncIterable<Uint8Array>): Promise<void> {
  for await (const _ of stream);
}
