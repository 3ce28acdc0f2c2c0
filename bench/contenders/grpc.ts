/** grpc-js, as its documentation uses it: one channel for each client, insecure credentials, a unix socket. */

import { once } from "node:events";
import type { Readable, Writable } from "node:stream";
import {
  Client,
  credentials,
  Server,
  ServerCredentials,
  type ServiceDefinition,
  type UntypedServiceImplementation,
} from "@grpc/grpc-js";
import { SERVICE } from "../job.js";
import type { Contender } from "./contender.js";
import { handlers } from "./handlers.js";

// Messages are bytes, as in the other contenders.
const serialize = (bytes: Uint8Array): Buffer =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
const deserialize = (bytes: Buffer): Uint8Array => bytes;

function method(name: string, requestStream: boolean, responseStream: boolean) {
  const path = `/${SERVICE}/${name}`;
  const serializers = { requestSerialize: serialize, responseSerialize: serialize };
  const deserializers = { requestDeserialize: deserialize, responseDeserialize: deserialize };
  return { path, requestStream, responseStream, ...serializers, ...deserializers };
}

const service: ServiceDefinition = {
  echo: method("Echo", false, false),
  sink: method("Sink", true, false),
  source: method("Source", false, true),
  chat: method("Chat", true, true),
};

const paths = Object.fromEntries(Object.entries(service).map(([name, { path }]) => [name, path])) as Record<
  "echo" | "sink" | "source" | "chat",
  string
>;

export const grpc: Contender = {
  async connect(path) {
    // Otherwise clients share connections.
    const client = new Client(`unix:${path}`, credentials.createInsecure(), {
      "grpc.use_local_subchannel_pool": 1,
      "grpc.max_receive_message_length": -1,
    });
    return {
      unary: (payload) =>
        new Promise((resolve, reject) => {
          client.makeUnaryRequest(paths.echo, serialize, deserialize, payload, (error, reply) =>
            error === null ? resolve(reply as Uint8Array) : reject(error),
          );
        }),
      forward: () => Promise.reject(new Error("not with gRPC")),
      sink: (messages) =>
        new Promise((resolve, reject) => {
          const call = client.makeClientStreamRequest(paths.sink, serialize, deserialize, (error, reply) =>
            error === null ? resolve(reply as Uint8Array) : reject(error),
          );
          writeAll(call, messages).catch(reject);
        }),
      source: (request) => client.makeServerStreamRequest(paths.source, serialize, deserialize, request),
      chat: (messages) => {
        const call = client.makeBidiStreamRequest(paths.chat, serialize, deserialize);
        writeAll(call, messages).catch((error: Error) => call.destroy(error));
        return call;
      },
      close: () => client.close(),
    };
  },
  async serve(path) {
    const server = new Server({ "grpc.max_receive_message_length": -1 });
    const implementation: UntypedServiceImplementation = {
      echo: (call: { request: Uint8Array }, reply: (error: null, bytes: Uint8Array) => void) =>
        reply(null, call.request),
      sink: (call: Readable, reply: (error: Error | null, bytes?: Uint8Array) => void) => {
        handlers.sink(call).then((bytes) => reply(null, bytes), reply);
      },
      source: (call: Writable & { request: Uint8Array }) => writeAll(call, handlers.source(call.request)),
      chat: (call: Readable & Writable) => call.pipe(call),
    };
    server.addService(service, implementation);
    const bound = new Promise<void>((resolve, reject) => {
      server.bindAsync(`unix:${path}`, ServerCredentials.createInsecure(), (error) =>
        error === null ? resolve() : reject(error),
      );
    });
    await bound;
  },
};

async function writeAll(call: object, messages: AsyncIterable<Uint8Array>): Promise<void> {
  // grpc-js's streams are those of node:stream, although their types leave out everything that is not for messages.
  const stream = call as Writable;
  for await (const message of messages) {
    if (!stream.write(message)) await once(stream, "drain");
  }
  stream.end();
}
