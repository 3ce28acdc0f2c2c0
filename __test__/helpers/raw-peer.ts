import { once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";
import { pathOf, temporaryAddress } from "./temp.js";
import {
  decodeFrame,
  decodeRequest,
  decodeResponse,
  encodeFrame,
  encodeRequest,
  encodeResponse,
  type Frame,
  FrameType,
  type RequestEnvelope,
  type ResponseEnvelope,
  type StatusEnvelope,
} from "./wire.js";

/** A connection of a peer that the test controls frame by frame, correct or not. */
export class RawConnection {
  readonly socket: Socket;
  /** Resolves when the other side has ended the connection, or when it has failed. */
  readonly ended: Promise<void>;
  readonly #frames: Frame[] = [];
  readonly #waiting: { resolve(frame: Frame): void; reject(error: Error): void }[] = [];
  #buffer: Buffer = Buffer.alloc(0);
  #over = false;

  constructor(socket: Socket) {
    this.socket = socket;
    socket.on("data", (chunk) => this.#received(chunk));
    // A reset is a possible end of a connection; "close" follows.
    socket.on("error", () => undefined);
    this.ended = new Promise((resolve) => {
      socket.on("end", resolve);
      socket.on("close", resolve);
    });
    void this.ended.then(() => {
      this.#over = true;
      for (const { reject } of this.#waiting.splice(0)) reject(new Error("the connection ended"));
    });
  }

  /** The next frame that arrives. */
  nextFrame(): Promise<Frame> {
    const frame = this.#frames.shift();
    if (frame !== undefined) return Promise.resolve(frame);
    if (this.#over) return Promise.reject(new Error("the connection has ended"));
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
    });
  }

  /** The next request that arrives. */
  async nextRequest(): Promise<Frame & RequestEnvelope> {
    const frame = await this.#next(FrameType.Request);
    return { ...frame, ...decodeRequest(frame.body) };
  }

  /** The next response that arrives. */
  async nextResponse(): Promise<Frame & ResponseEnvelope> {
    const frame = await this.#next(FrameType.Response);
    return { ...frame, ...decodeResponse(frame.body) };
  }

  /** Sends bytes as they are. Resolves when the kernel has taken them. */
  send(raw: Uint8Array): Promise<void> {
    return new Promise((resolve, reject) => {
      this.socket.write(raw, (error) => (error ? reject(error) : resolve()));
    });
  }

  request(streamId: number, request: Partial<RequestEnvelope>): Promise<void> {
    return this.send(encodeFrame({ streamId, type: FrameType.Request, body: encodeRequest(request) }));
  }

  reply(streamId: number, payload: Uint8Array): Promise<void> {
    const body = encodeResponse({ status: {}, payload });
    return this.send(encodeFrame({ streamId, type: FrameType.Response, body }));
  }

  replyStatus(streamId: number, status: Partial<StatusEnvelope>): Promise<void> {
    const body = encodeResponse({ status });
    return this.send(encodeFrame({ streamId, type: FrameType.Response, body }));
  }

  /** Makes a call and resolves to the next frame, which must be its response. */
  async call(streamId: number, request: Partial<RequestEnvelope>): Promise<ResponseEnvelope> {
    await this.request(streamId, request);
    const response = await this.nextResponse();
    if (response.streamId !== streamId) throw new Error(`a response for the id ${response.streamId}`);
    return response;
  }

  /** Ends the connection without an error. */
  end(): void {
    this.socket.end();
  }

  [Symbol.dispose](): void {
    this.socket.destroy();
  }

  async #next(type: number): Promise<Frame> {
    const frame = await this.nextFrame();
    if (frame.type !== type) throw new Error(`a frame of the type ${frame.type}, not ${type}`);
    return frame;
  }

  #received(chunk: Buffer): void {
    this.#buffer = this.#buffer.length === 0 ? chunk : Buffer.concat([this.#buffer, chunk]);
    for (let next = decodeFrame(this.#buffer); next; next = decodeFrame(this.#buffer)) {
      this.#buffer = next.rest;
      const waiting = this.#waiting.shift();
      if (waiting === undefined) this.#frames.push(next.frame);
      else waiting.resolve(next.frame);
    }
  }
}

/** A listener without ttrpc of its own: the test decides what it sends. */
export class RawServer implements AsyncDisposable {
  readonly address: string;
  readonly #server: Server;
  readonly #accepted: RawConnection[] = [];
  readonly #waiting: ((connection: RawConnection) => void)[] = [];
  readonly #sockets = new Set<Socket>();

  private constructor(address: string) {
    this.address = address;
    this.#server = createServer((socket) => {
      this.#sockets.add(socket);
      const connection = new RawConnection(socket);
      const waiting = this.#waiting.shift();
      if (waiting === undefined) this.#accepted.push(connection);
      else waiting(connection);
    });
  }

  static async listen(address = temporaryAddress()): Promise<RawServer> {
    const server = new RawServer(address);
    server.#server.listen(pathOf(address));
    await once(server.#server, "listening");
    return server;
  }

  /** The next connection that is made to it. */
  accept(): Promise<RawConnection> {
    const connection = this.#accepted.shift();
    if (connection !== undefined) return Promise.resolve(connection);
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => {
      this.#server.close(resolve);
    });
  }
}

/** Connects to a ttrpc server, as a client of the same kind. */
export async function rawConnect(address: string): Promise<RawConnection> {
  const socket = connect(pathOf(address));
  await once(socket, "connect");
  return new RawConnection(socket);
}

/** More than a raw peer reads at once, and less than a unix socket holds. */
export const LARGE = new Uint8Array(100 << 10);

/** Resolves when the first bytes have arrived. No more are read. */
export async function someArrived({ socket }: RawConnection): Promise<void> {
  await new Promise<void>((resolve) => {
    socket.once("data", () => {
      socket.pause();
      resolve();
    });
  });
}

/**
 * Sends bytes and closes with bytes of the other side unread, which the kernel turns into a reset. Both arrive before the
 * other side, if it is on the same thread, reads again.
 */
export function sayAndReset({ socket }: RawConnection, raw: Uint8Array): void {
  socket.write(raw);
  socket.destroy();
}
