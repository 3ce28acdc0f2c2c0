import {
  Client,
  credentials,
  type handleUnaryCall,
  Server,
  ServerCredentials,
  type ServiceDefinition,
} from "@grpc/grpc-js";
import type { ForwardRequest } from "containerd-shim-protos/events";
import { type Contender, decodeRequest, encodeRequest, exitStatusOf, inOrder } from "./event.js";

const EMPTY = Buffer.alloc(0);

/** The same service for gRPC, with protobuf-es. */
const Forward = {
  path: "/containerd.services.events.ttrpc.v1.Events/Forward",
  requestStream: false,
  responseStream: false,
  requestSerialize: (request: Uint8Array) => Buffer.from(request),
  requestDeserialize: decodeRequest,
  responseSerialize: () => EMPTY,
  responseDeserialize: () => undefined,
} as const;

/** grpc-js. */
export const contender: Contender = {
  async serve(path, take) {
    const server = new Server();
    const forward: handleUnaryCall<ForwardRequest, undefined> = ({ request }, answer) => {
      take(exitStatusOf(request));
      answer(null, undefined);
    };
    server.addService({ forward: Forward } as unknown as ServiceDefinition, { forward });
    await new Promise<void>((resolve, reject) => {
      const insecure = ServerCredentials.createInsecure();
      server.bindAsync(`unix:${path}`, insecure, (error) => (error === null ? resolve() : reject(error)));
    });
    return new Promise(() => {});
  },
  async publish(path, count, inflight) {
    const client = new Client(`unix:${path}`, credentials.createInsecure());
    const { path: method, requestSerialize, responseDeserialize } = Forward;
    await inOrder(
      count,
      inflight,
      (number) =>
        new Promise((resolve, reject) => {
          client.makeUnaryRequest(
            method,
            requestSerialize,
            responseDeserialize,
            encodeRequest(number),
            (error) => (error === null ? resolve(undefined) : reject(error)),
          );
        }),
    );
    client.close();
  },
};
