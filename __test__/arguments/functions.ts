import { isUint8Array } from "node:util/types";
import {
  type ClientInterceptor,
  Code,
  codeName,
  connect,
  type Connection,
  connectSync,
  createClient,
  createServer,
  createSyncClient,
  packAny,
  releasePayload,
  type Server,
  type SyncConnection,
  type SyncConnectOptions,
  TtrpcError,
  unpackAny,
} from "containerd-shim-protos";
import {
  createPublisher,
  type EventSink,
  type EventSubscription,
  forwardEvents,
  listenEvents,
  type Publisher,
  TASK_EXIT_EVENT_TOPIC,
  TaskExitSchema,
} from "containerd-shim-protos/events";
import type { PodSandbox, RunningPlugin, TestRuntime } from "containerd-shim-protos/nri";
import { otelClientInterceptor, otelServerInterceptor } from "containerd-shim-protos/otel";
import { registry } from "containerd-shim-protos/registry";
import type { TestShim } from "containerd-shim-protos/shim/testing";
import type { OpenTask } from "containerd-shim-protos/shims";
import { Task } from "containerd-shim-protos/task/v3";
import {
  type Argument,
  argument,
  optionsOf,
  limit,
  text,
  left,
  isEmpty,
  payload,
  requests,
  message,
  address,
  callOptions,
  syncCallOptions,
  connectOptions,
  reconnectOptions,
  serverOptions,
  listenOptions,
  closeOptions,
  errorOptions,
  sinkOptions,
  publisherOptions,
  publishOptions,
  otelOptions,
  clientOptions,
  type Options,
} from "./options.js";
import { ADJUSTMENT_FUNCTIONS } from "./adjustment-functions.js";
import { CONTEXT_FUNCTIONS } from "./context-functions.js";
import { NRI_FUNCTIONS } from "./nri-functions.js";
import { PROCESS_FUNCTIONS } from "./process-functions.js";
import { SHIMS_FUNCTIONS } from "./shims-functions.js";
import { SHIM_FUNCTIONS } from "./shim-functions.js";
import { Streaming } from "../helpers/streaming.js";

/** What the functions are called with. */
export interface World {
  /** An address where nobody listens. */
  readonly free: () => string;
  readonly connection: Connection;
  readonly syncConnection: SyncConnection;
  readonly publisher: Publisher;
  readonly sink: EventSink;
  readonly subscription: EventSubscription;
  readonly runtime: TestRuntime;
  readonly plugin: RunningPlugin;
  readonly pod: PodSandbox;
  readonly task: OpenTask;
  readonly shim: TestShim;
}

/** A function of the package, its arguments, and how to call it. */
export interface PublicFunction {
  readonly name: string;
  /** The name of the type of its options, if it has one. */
  readonly optionsType?: string;
  readonly call: (world: World, args: readonly unknown[]) => unknown;
  readonly args: readonly Argument[];
  /** The place of the options among the arguments, and each option. */
  readonly options?: { readonly at: number; readonly of: Readonly<Record<string, Argument>> };
}

const schema = argument(TaskExitSchema, /schema/);
const server = (): Server => createServer().addRaw("a.B", {});
const raw = [text(/service/), text(/method/)];

/** A call by the typed client. It must refuse the same values without an interceptor and with one. */
function typed(
  method: "echo" | "echoStream" | "sumStream" | "divideStream",
  request: Argument,
): PublicFunction[] {
  const through: ClientInterceptor = (next) => (call) => next(call);
  return [[], [through]].map((list) => ({
    name: `a method of createClient: ${method}${list.length > 0 ? ", intercepted" : ""}`,
    optionsType: "CallOptions",
    call: ({ connection }, args) => {
      const client = createClient(Streaming, connection, { interceptors: list });
      return (client[method] as (...args: unknown[]) => unknown)(...args);
    },
    args: [request, optionsOf("a call")],
    options: { at: 1, of: callOptions },
  }));
}

/** Every function of every entry that takes an argument. */
export const PUBLIC_FUNCTIONS: readonly PublicFunction[] = [
  {
    name: "packAny",
    call: (_, [type, value]) => packAny(type as never, value as never),
    args: [schema, message(/TaskExit/)],
  },
  {
    name: "unpackAny",
    call: (_, [any, type]) => unpackAny(any as never, type as never),
    args: [argument(() => packAny(TaskExitSchema, {}), /any/), argument(TaskExitSchema, /schema.*registry/)],
  },
  {
    name: "unpackAny, of a registry",
    call: (_, [any, types]) => unpackAny(any as never, types as never),
    args: [argument(() => packAny(TaskExitSchema, {}), /any/), argument(registry, /schema.*registry/)],
  },
  {
    name: "releasePayload",
    call: (_, [value]) => releasePayload(value as never),
    // One without its bytes may have been released before.
    args: [argument(new Uint8Array(8), /payload/, isUint8Array)],
  },
  {
    name: "codeName",
    call: (_, [code]) => codeName(code as never),
    args: [argument(5, /code/, (v) => typeof v === "number")],
  },
  {
    name: "TtrpcError",
    optionsType: "TtrpcErrorOptions",
    call: (_, [words, code, options]) => new TtrpcError(words as never, code as never, options as never),
    args: [
      argument("words", /message/, (value) => typeof value === "string"),
      argument(Code.NotFound, /code/, (value) => left(value) || (Number.isInteger(value) && value !== 0)),
      optionsOf("TtrpcError"),
    ],
    options: { at: 2, of: errorOptions },
  },
  {
    name: "connect",
    optionsType: "ConnectOptions",
    call: (_, [to, options]) => connect(to as never, options as never),
    args: [address(/address/), optionsOf("connect")],
    options: { at: 1, of: connectOptions },
  },
  {
    name: "connect, its reconnect",
    optionsType: "ReconnectOptions",
    call: (_, [to, options]) => connect(to as never, { reconnect: options as never }),
    args: [
      address(/address/),
      argument(true, /reconnect/, (value) => left(value) || typeof value === "boolean" || isEmpty(value)),
    ],
    options: { at: 1, of: reconnectOptions },
  },
  {
    name: "connectSync",
    optionsType: "SyncConnectOptions",
    call: (_, [to, options]) => connectSync(to as never, options as never),
    args: [address(/address/), optionsOf("connectSync")],
    options: {
      at: 1,
      of: {
        connectTimeoutMs: connectOptions.connectTimeoutMs,
        busyPollMs: connectOptions.busyPollMs,
      } satisfies Options<SyncConnectOptions>,
    },
  },
  {
    name: "createClient",
    optionsType: "ClientOptions",
    call: (_, [service, to, options]) => createClient(service as never, to as never, options as never),
    args: [
      argument(Task, /service/),
      argument((world: World) => world.connection, /connection/),
      optionsOf("createClient"),
    ],
    options: { at: 2, of: clientOptions },
  },
  {
    name: "createSyncClient",
    call: (_, [service, to]) => createSyncClient(service as never, to as never),
    args: [argument(Task, /service/), argument((world: World) => world.syncConnection, /connection/)],
  },
  ...typed("echo", message(/EchoPayload/)),
  ...typed("divideStream", message(/Sum/)),
  ...typed("sumStream", requests),
  ...typed("echoStream", requests),
  {
    name: "a method of createSyncClient",
    optionsType: "SyncCallOptions",
    call: ({ syncConnection }, [request, options]) =>
      createSyncClient(Streaming, syncConnection).echo(request as never, options as never),
    args: [message(/EchoPayload/), optionsOf("a blocking call")],
    options: { at: 1, of: syncCallOptions },
  },
  ...(["unary", "serverStreaming", "clientStreaming", "bidiStreaming"] as const).map(
    (name): PublicFunction => ({
      name: `Connection.${name}`,
      optionsType: "CallOptions",
      call: ({ connection }, args) => (connection[name] as (...args: unknown[]) => unknown)(...args),
      args: [
        ...raw,
        name === "unary" || name === "serverStreaming" ? payload : requests,
        optionsOf("a call"),
      ],
      options: { at: 3, of: callOptions },
    }),
  ),
  {
    name: "SyncConnection.unary",
    optionsType: "SyncCallOptions",
    call: ({ syncConnection }, args) => (syncConnection.unary as (...args: unknown[]) => unknown)(...args),
    args: [...raw, payload, optionsOf("a blocking call")],
    options: { at: 3, of: syncCallOptions },
  },
  {
    name: "createServer",
    optionsType: "ServerOptions",
    call: (_, [options]) => createServer(options as never),
    args: [optionsOf("createServer")],
    options: { at: 0, of: serverOptions },
  },
  {
    name: "Server.add",
    call: (_, [service, implementation]) => createServer().add(service as never, implementation as never),
    args: [
      argument(Task, /service/),
      argument({}, /implementation/, (value) => typeof value === "object" && isAnObject(value)),
    ],
  },
  {
    name: "Server.addRaw",
    call: (_, [service, methods]) => createServer().addRaw(service as never, methods as never),
    args: [text(/service/), argument({}, /methods|a\.B\/|text\//, isEmpty)],
  },
  {
    name: "Server.addRaw, a method",
    call: (_, [method]) => createServer().addRaw("a.B", { C: method as never }),
    args: [argument({ kind: "unary", handle: (bytes: unknown) => bytes }, /a\.B\/C/)],
  },
  {
    name: "Server.listen",
    optionsType: "ListenOptions",
    call: async (_, [on, options]) => {
      const listening = server();
      await listening.listen(on as never, options as never);
      await listening.close({ graceMs: 0 });
    },
    args: [address(/address/), optionsOf("listen")],
    options: { at: 1, of: listenOptions },
  },
  {
    name: "Server.close",
    optionsType: "CloseOptions",
    call: (_, [options]) => server().close(options as never),
    args: [optionsOf("close")],
    options: { at: 0, of: closeOptions },
  },
  {
    name: "listenEvents",
    optionsType: "EventSinkOptions",
    call: async (_, [on, options]) => listenEvents(on as never, options as never).close({ graceMs: 0 }),
    args: [address(/address/), optionsOf("listenEvents")],
    options: { at: 1, of: sinkOptions },
  },
  {
    name: "forwardEvents",
    optionsType: "EventSinkOptions",
    call: async (_, [on, to, options]) =>
      forwardEvents(on as never, to as never, options as never).close({ graceMs: 0 }),
    args: [address(/address/), address(/containerd|address/), optionsOf("forwardEvents")],
    options: { at: 2, of: sinkOptions },
  },
  {
    name: "EventSink.batches",
    call: ({ sink }, [options]) => {
      sink.batches(options as never);
    },
    args: [optionsOf("batches")],
    options: { at: 0, of: { maxEvents: limit(/maxEvents/) } },
  },
  {
    name: "EventSink.close",
    call: async ({ free }, [options]) => {
      const sink = listenEvents(free());
      try {
        await sink.close(options as never);
      } finally {
        await sink.close({ graceMs: 0 });
      }
    },
    args: [optionsOf("close")],
    options: { at: 0, of: closeOptions },
  },
  {
    name: "createPublisher",
    optionsType: "PublisherOptions",
    call: (_, [to, options]) => createPublisher(to as never, options as never),
    args: [
      address(/address/),
      argument(
        { namespace: "default" },
        /the options of createPublisher|namespace|is not an option of createPublisher/,
      ),
    ],
    options: { at: 1, of: publisherOptions },
  },
  {
    name: "Publisher.publish",
    optionsType: "PublishOptions",
    call: ({ publisher }, [topic, type, content, options]) =>
      publisher.publish(topic as never, type as never, content as never, options as never),
    args: [argument(TASK_EXIT_EVENT_TOPIC, /topic/), schema, message(/TaskExit/), optionsOf("publish")],
    options: { at: 3, of: publishOptions },
  },
  {
    name: "Publisher.close",
    call: ({ free }, [options]) => createPublisher(free(), { namespace: "default" }).close(options as never),
    args: [optionsOf("close")],
    options: { at: 0, of: closeOptions },
  },
  {
    name: "otelClientInterceptor",
    optionsType: "OtelOptions",
    call: (_, [options]) => otelClientInterceptor(options as never),
    args: [optionsOf("otelClientInterceptor")],
    options: { at: 0, of: otelOptions },
  },
  {
    name: "otelServerInterceptor",
    optionsType: "OtelOptions",
    call: (_, [options]) => otelServerInterceptor(options as never),
    args: [optionsOf("otelServerInterceptor")],
    options: { at: 0, of: otelOptions },
  },
  ...SHIM_FUNCTIONS,
  ...CONTEXT_FUNCTIONS,
  ...NRI_FUNCTIONS,
  ...ADJUSTMENT_FUNCTIONS,
  ...SHIMS_FUNCTIONS,
  ...PROCESS_FUNCTIONS,
];

function isAnObject(value: unknown): boolean {
  try {
    return value !== null && !Array.isArray(value);
  } catch {
    return false;
  }
}
