/** The server to beat: ttrpc in plain JavaScript over node:net, written with care. */

import { once } from "node:events";
import { createServer, type Server, type Socket } from "node:net";
import { Frames } from "./frames.js";
import { MessageQueue } from "./message-queue.js";
import {
  DATA,
  encodeStatus,
  NO_DATA,
  parseRequest,
  REMOTE_CLOSED,
  REQUEST,
  REQUEST_PAYLOAD,
  requestPrefix,
  Fields,
  RESPONSE,
  RESPONSE_PAYLOAD,
  STATUS_OK,
} from "./wire.js";

const NOTHING = new Uint8Array(0);
const [UNKNOWN, UNIMPLEMENTED] = [2, 12];

/** A method, by its kind. */
export type PlainMethod =
  | { kind: "unary"; handle(payload: Uint8Array): Promise<Uint8Array> | Uint8Array }
  | { kind: "server_streaming"; handle(payload: Uint8Array): AsyncIterable<Uint8Array> }
  | { kind: "client_streaming"; handle(requests: AsyncIterable<Uint8Array>): Promise<Uint8Array> }
  | { kind: "bidi_streaming"; handle(requests: AsyncIterable<Uint8Array>): AsyncIterable<Uint8Array> };

interface Route {
  readonly name: string;
  readonly prefix: Buffer;
  readonly method: PlainMethod;
}

/** Serves methods, by `service/method`, at a unix socket. */
export async function servePlain(path: string, methods: Record<string, PlainMethod>): Promise<Server> {
  const routes = Object.entries(methods).map(([name, method]): Route => {
    const [service = "", local = ""] = name.split("/");
    return { name, prefix: requestPrefix(service, local), method };
  });
  const server = createServer((socket) => new Connection(socket, routes));
  server.listen(path);
  await once(server, "listening");
  return server;
}

class Connection {
  readonly #socket: Socket;
  readonly #frames: Frames;
  readonly #routes: readonly Route[];
  readonly #streams = new Map<number, MessageQueue>();
  #last: Route | undefined;

  constructor(socket: Socket, routes: readonly Route[]) {
    this.#socket = socket;
    this.#routes = routes;
    this.#last = routes[0];
    this.#frames = new Frames(socket, this.#onFrame);
    socket.on("error", () => undefined);
    socket.on("close", () => {
      for (const queue of this.#streams.values()) queue.end(new Error("closed"));
      this.#streams.clear();
    });
  }

  readonly #onFrame = (
    id: number,
    type: number,
    flags: number,
    data: Buffer,
    start: number,
    end: number,
  ): void => {
    if (type === REQUEST) this.#request(id, data, start, end);
    else if (type === DATA) {
      const stream = this.#streams.get(id);
      if (stream === undefined) return;
      if ((flags & NO_DATA) === 0) stream.push(data.subarray(start, end));
      if ((flags & REMOTE_CLOSED) !== 0) {
        this.#streams.delete(id);
        stream.end();
      }
    }
  };

  #request(id: number, data: Buffer, start: number, end: number): void {
    let route = this.#last;
    let payload: Uint8Array = NOTHING;
    // Most requests have the same method as the one before, and need no text decoding.
    if (route !== undefined && startsWith(data, start, end, route.prefix)) {
      const fields = new Fields(data, start + route.prefix.length, end);
      while (fields.next()) if (fields.tag === REQUEST_PAYLOAD) payload = fields.bytes();
    } else {
      const request = parseRequest(data, start, end);
      const name = `${request.service}/${request.method}`;
      payload = request.payload;
      route = this.#routes.find((each) => each.name === name);
      if (route === undefined) return this.#fail(id, UNIMPLEMENTED, new Error(name));
      this.#last = route;
    }
    const { method } = route;
    switch (method.kind) {
      case "unary":
        return this.#answer(id, () => method.handle(payload));
      case "server_streaming":
        return void this.#sendAll(id, method.handle(payload));
      case "client_streaming": {
        const requests = this.#receive(id);
        return this.#answer(id, () => method.handle(requests));
      }
      case "bidi_streaming":
        return void this.#sendAll(id, method.handle(this.#receive(id)));
    }
  }

  #receive(id: number): MessageQueue {
    const queue = new MessageQueue(this.#socket);
    this.#streams.set(id, queue);
    return queue;
  }

  #answer(id: number, handle: () => Promise<Uint8Array> | Uint8Array): void {
    try {
      const reply = handle();
      if (reply instanceof Uint8Array) this.#reply(id, reply);
      else {
        reply.then(
          (payload) => this.#reply(id, payload),
          (error: Error) => this.#fail(id, UNKNOWN, error),
        );
      }
    } catch (error) {
      this.#fail(id, UNKNOWN, error as Error);
    }
  }

  async #sendAll(id: number, messages: AsyncIterable<Uint8Array>): Promise<void> {
    try {
      for await (const message of messages) {
        this.#frames.send(id, DATA, 0, undefined, 0, message);
        const room = this.#frames.room();
        if (room !== undefined) await room;
      }
      this.#frames.send(id, DATA, REMOTE_CLOSED | NO_DATA, undefined, 0, NOTHING);
    } catch (error) {
      this.#fail(id, UNKNOWN, error as Error);
    }
  }

  #reply(id: number, payload: Uint8Array): void {
    this.#frames.send(id, RESPONSE, 0, STATUS_OK, RESPONSE_PAYLOAD, payload);
  }

  #fail(id: number, code: number, { message }: Error): void {
    this.#frames.send(id, RESPONSE, 0, encodeStatus(code, message), 0, NOTHING);
  }
}

function startsWith(data: Buffer, start: number, end: number, prefix: Buffer): boolean {
  const behind = start + prefix.length;
  return behind <= end && prefix.compare(data, start, behind) === 0;
}
