import { TextDecoder } from "node:util";
import { type ClientHttp2Session, connect as http2 } from "node:http2";
import { connect as dial, type Socket } from "node:net";
import type { DescMessage, DescMethodServerStreaming, Message } from "@bufbuild/protobuf";
import { following } from "../abort.js";
import { Code } from "../code.js";
import { decode } from "../codec/codec.js";
import { copyFor } from "../codec/slab.js";
import { AnySchema, TimestampSchema } from "../descriptors/well-known.js";
import { textOf, transportError, TtrpcError } from "../error.js";
import { fulfilledWithin } from "../pause.js";
import type { ArrivedEvent } from "./event.js";
import type { SubscriptionPlan } from "./subscribe-options.js";

/**
 * An envelope whose fields are bytes, which its own are on the wire. So one that does not decode costs one event, not
 * the stream.
 */
export interface RawEnvelope extends Message {
  readonly timestamp: Uint8Array;
  readonly namespace: Uint8Array;
  readonly topic: Uint8Array;
  readonly event: Uint8Array;
}

const PACKAGE = "containerd.services.events.v1";
/** The name of a host, which HTTP/2 requires. */
const AUTHORITY = "http://localhost";
const GREETING_MS = 5000;
/** What containerd's gRPC server sends at most in one message. */
const MESSAGE_LIMIT = 16 << 20;

/** `Events/Subscribe`, which returns raw envelopes. The gRPC client loads protobuf-es too. */
async function subscribeMethod(): Promise<DescMethodServerStreaming<DescMessage, DescMessage>> {
  const [
    { create, createFileRegistry },
    { FieldDescriptorProto_Label, FieldDescriptorProto_Type, FileDescriptorProtoSchema },
  ] = await Promise.all([import("@bufbuild/protobuf"), import("@bufbuild/protobuf/wkt")]);
  const { BYTES, STRING } = FieldDescriptorProto_Type;
  const { OPTIONAL, REPEATED } = FieldDescriptorProto_Label;
  const field = (name: string, number: number, type = BYTES, label = OPTIONAL) => ({
    name,
    jsonName: name,
    number,
    type,
    label,
  });
  const file = create(FileDescriptorProtoSchema, {
    name: "subscribe.proto",
    package: PACKAGE,
    syntax: "proto3",
    messageType: [
      { name: "SubscribeRequest", field: [field("filters", 1, STRING, REPEATED)] },
      {
        name: "Envelope",
        field: ["timestamp", "namespace", "topic", "event"].map((name, index) => field(name, index + 1)),
      },
    ],
    service: [
      {
        name: "Events",
        method: [
          {
            name: "Subscribe",
            inputType: `.${PACKAGE}.SubscribeRequest`,
            outputType: `.${PACKAGE}.Envelope`,
            serverStreaming: true,
          },
        ],
      },
    ],
  });
  const service = createFileRegistry(file, () => undefined).getService(`${PACKAGE}.Events`);
  return service?.method["subscribe"] as DescMethodServerStreaming<DescMessage, DescMessage>;
}

/**
 * The gRPC client, which only a program that subscribes needs. The comments, and for esbuild the `catch`, keep bundlers
 * from failing where its packages are not installed.
 */
async function loadClient() {
  const [{ createGrpcTransport }, { ConnectError }] = await Promise.all([
    import(/* webpackIgnore: true */ /* @vite-ignore */ "@connectrpc/connect-node").catch(refuse),
    import(/* webpackIgnore: true */ /* @vite-ignore */ "@connectrpc/connect").catch(refuse),
  ]);
  return { createGrpcTransport, ConnectError, method: await subscribeMethod() };
}

function refuse(cause: unknown): never {
  throw new TtrpcError(
    "subscribeEvents needs the packages @connectrpc/connect and @connectrpc/connect-node: " +
      `npm install @connectrpc/connect @connectrpc/connect-node (${textOf(cause)})`,
    Code.FailedPrecondition,
    { cause },
  );
}

let client: ReturnType<typeof loadClient> | undefined;

/** Loads the gRPC client once. A failure is not remembered: the packages may be installed meanwhile. */
async function grpcClient(): Promise<Awaited<ReturnType<typeof loadClient>>> {
  try {
    return await (client ??= loadClient());
  } catch (error) {
    client = undefined;
    throw error;
  }
}

/**
 * One stream of events, until it ends. Throws a TtrpcError that says why it did, unless containerd ended it. Nothing of it
 * is left at the signal, which outlives many.
 */
export async function* envelopes(
  plan: SubscriptionPlan,
  signal: AbortSignal,
  connected: () => void,
): AsyncGenerator<RawEnvelope, void> {
  const own = following(signal);
  try {
    yield* stream(plan, own.signal, connected);
  } finally {
    own.end();
  }
}

async function* stream(
  { address, path, filters }: SubscriptionPlan,
  signal: AbortSignal,
  connected: () => void,
): AsyncGenerator<RawEnvelope, void> {
  const { createGrpcTransport, ConnectError, method } = await grpcClient();
  const session = await connectedSession(address, path, signal);
  // No pings: a unix socket tells at once that its peer has ended, and gRPC servers in Go end a connection on which
  // pings are frequent.
  const transport = createGrpcTransport({
    baseUrl: AUTHORITY,
    sessionManager: {
      authority: AUTHORITY,
      request: (verb, route, headers, options) =>
        Promise.resolve(session.request({ ...headers, ":method": verb, ":path": route }, options)),
      notifyResponseByteRead: () => undefined,
    },
    readMaxBytes: MESSAGE_LIMIT,
    acceptCompression: [],
  });
  async function* request() {
    yield { $typeName: method.input.typeName, filters } as never;
  }
  try {
    connected();
    const { message } = await transport.stream(method, signal, undefined, undefined, request());
    yield* message as AsyncIterable<RawEnvelope>;
  } catch (error) {
    if (!(error instanceof ConnectError)) throw error;
    const code: Code = error.code as number;
    // What Node's http2 says of a stream whose connection was lost.
    if (code === Code.Canceled)
      throw new TtrpcError(`${address}: the connection was lost`, Code.Unavailable, { cause: error });
    throw new TtrpcError(`${address}: ${error.rawMessage}`, code, { cause: error });
  } finally {
    session.destroy();
  }
}

/** An HTTP/2 connection on which the peer has greeted, as no other kind of server does. */
async function connectedSession(
  address: string,
  path: string,
  signal: AbortSignal,
): Promise<ClientHttp2Session> {
  const socket = await connectedSocket(address, path, signal);
  // gRPC pushes nothing.
  const session = http2(AUTHORITY, { createConnection: () => socket, settings: { enablePush: false } });
  let why = "it sent no HTTP/2 settings";
  // Kept for good: an error without a listener would end the process.
  session.on("error", (error: Error) => (why = error.message));
  const greeted = new Promise<void>((resolve) => {
    session.once("remoteSettings", () => resolve());
    session.once("close", () => resolve());
  });
  const isInTime = await fulfilledWithin(greeted, GREETING_MS, signal);
  if (session.remoteSettings !== undefined && !session.destroyed && isInTime && !signal.aborted)
    return session;
  session.destroy();
  throw new TtrpcError(`${address} is not a gRPC server: ${why}`, Code.Unavailable);
}

/** A socket that is connected, so that a failure to do so is the system's error. */
function connectedSocket(address: string, path: string, signal: AbortSignal): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = dial({ path });
    const failed = (error: NodeJS.ErrnoException) =>
      reject(transportError(`connecting to ${address}`, -(error.errno ?? 0), error.message));
    const aborted = () => {
      socket.destroy();
      reject(new TtrpcError("the subscription was closed", Code.Canceled));
    };
    signal.addEventListener("abort", aborted, { once: true });
    if (signal.aborted) aborted();
    socket.once("error", failed);
    socket.once("connect", () => {
      socket.off("error", failed);
      // The session hears of its errors; after it, nobody needs to.
      socket.on("error", () => undefined);
      signal.removeEventListener("abort", aborted);
      resolve(socket);
    });
    socket.once("close", () => signal.removeEventListener("abort", aborted));
  });
}

const text = new TextDecoder("utf-8", { ignoreBOM: true });

/** The event in an envelope, whose message is not unpacked. `queued` others wait. Throws if it does not decode. */
export function eventIn({ timestamp, namespace, topic, event }: RawEnvelope, queued: number): ArrivedEvent {
  // A copy, because a view would keep the whole chunk that it came in.
  const any = decode(AnySchema, copyFor(queued)(event, 0, event.length));
  return {
    namespace: text.decode(namespace),
    topic: text.decode(topic),
    timestamp: decode(TimestampSchema, timestamp),
    type: any.typeUrl.slice(any.typeUrl.lastIndexOf("/") + 1),
    message: undefined,
    any,
  };
}
