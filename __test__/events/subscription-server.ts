import { create, toBinary } from "@bufbuild/protobuf";
import { Server, ServerCredentials, type ServerWritableStream, type ServiceDefinition } from "@grpc/grpc-js";
import { packAny } from "containerd-shim-protos";
import { EnvelopeSchema, TaskExitSchema } from "containerd-shim-protos/events";

type Call = ServerWritableStream<Buffer, Uint8Array>;

const identity = (bytes: Uint8Array) => Buffer.from(bytes);
const SERVICE = {
  Subscribe: {
    path: "/containerd.services.events.v1.Events/Subscribe",
    requestStream: false,
    responseStream: true,
    requestSerialize: identity,
    requestDeserialize: (bytes: Buffer) => bytes,
    responseSerialize: identity,
    responseDeserialize: (bytes: Buffer) => bytes,
  },
} satisfies ServiceDefinition;

/** containerd's gRPC service of events, as grpc-js serves it: each subscription gets what `subscribed` writes. */
export async function serveSubscriptions(address: string, subscribed: (call: Call) => void): Promise<Server> {
  const server = new Server();
  server.addService(SERVICE, { Subscribe: subscribed });
  await new Promise<void>((resolve, reject) =>
    server.bindAsync(address, ServerCredentials.createInsecure(), (error) =>
      error === null ? resolve() : reject(error),
    ),
  );
  return server;
}

/** The envelope of an exit, in bytes. */
export function exitEnvelope(
  exitStatus: number,
  containerId = "c",
  timestamp: { seconds: bigint; nanos: number } = { seconds: 1n, nanos: 2 },
): Uint8Array {
  const event = packAny(TaskExitSchema, { containerId, exitStatus });
  const envelope = {
    namespace: "default",
    topic: "/tasks/exit",
    timestamp,
    event,
  };
  return toBinary(EnvelopeSchema, create(EnvelopeSchema, envelope));
}
