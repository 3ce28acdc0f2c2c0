import { checkSignal } from "../abort.js";
import { types } from "node:util";
import type {
  DescMethod,
  DescMethodBiDiStreaming,
  DescMethodClientStreaming,
  DescMethodServerStreaming,
  DescMethodUnary,
  DescService,
  MessageInitShape,
  MessageShape,
} from "@bufbuild/protobuf";
import { type CallOptions, callOptions, checkTimeout } from "./call-options.js";
import { messageDecoder, OutgoingMessage } from "../codec/payload.js";
import { setEntry } from "../codec/read.js";
import { Connection } from "./connection.js";
import {
  checkedCall,
  checkedInterceptors,
  type ClientCall,
  type ClientInterceptor,
  intercept,
  serverStreams,
} from "../interceptor.js";
import { ContextValues } from "../context-values.js";
import { addMetadata, type Metadata, metadataPairs } from "../metadata.js";
import { checkOptions } from "../options.js";
import { checkDescriptor, isDescriptor, isInstance, kindBut } from "../value-kinds.js";
import type { Bridge } from "../native/bridge.js";
import { InterceptedCall } from "./intercepted-call.js";
import { type Opened, openedOf } from "../opened.js";
import { failedStream } from "./stream-call.js";

/**
 * A client of a service: a function for each of its methods, with protobuf-es's name for the method. The one exception is a
 * method `Then`, whose function is `then$`: JavaScript treats an object with a function `then` as a promise, so no async
 * function could return the client.
 */
export type Client<Service extends DescService> = {
  [Name in keyof Service["method"] as ClientName<Name>]: ClientMethod<Service["method"][Name]>;
};

/** The name of a client's function. */
export type ClientName<Name> = Name extends "then" ? "then$" : Name;

type ClientMethod<Method> =
  Method extends DescMethodUnary<infer Input, infer Output>
    ? (request: MessageInitShape<Input>, options?: CallOptions) => Promise<MessageShape<Output>>
    : Method extends DescMethodServerStreaming<infer Input, infer Output>
      ? (request: MessageInitShape<Input>, options?: CallOptions) => AsyncIterable<MessageShape<Output>>
      : Method extends DescMethodClientStreaming<infer Input, infer Output>
        ? (
            requests: Messages<MessageInitShape<Input>>,
            options?: CallOptions,
          ) => Promise<MessageShape<Output>>
        : Method extends DescMethodBiDiStreaming<infer Input, infer Output>
          ? (
              requests: Messages<MessageInitShape<Input>>,
              options?: CallOptions,
            ) => AsyncIterable<MessageShape<Output>>
          : never;

/** The requests of a call: made as they are asked for, or an array. */
type Messages<Message> = AsyncIterable<Message> | Iterable<Message>;

/** Options of {@link createClient}. */
export interface ClientOptions {
  /** Interceptors that wrap each call and its response. The first is the outermost. */
  readonly interceptors?: readonly ClientInterceptor[] | undefined;
}

const OPTIONS = ["interceptors"] as const satisfies readonly (keyof ClientOptions)[];

/**
 * Makes a client of a service on a connection. Any number of clients may share a connection.
 *
 * ```ts
 * const task = createClient(Task, connection);
 * const { shimPid } = await task.connect({ id: "1" }, { timeoutMs: 500 });
 * for await (const event of feed.watch({ topic: "/tasks" })) console.log(event);
 * ```
 *
 * If the server streams, the method returns an AsyncIterable: the call starts at once, and leaving its `for await` ends
 * it. If the client streams, the method takes an AsyncIterable or an Iterable, such as an array; its end half-closes the
 * call.
 *
 * A method rejects, or its iterable throws, with a TypeError that names the wrong field of a request or the wrong
 * option, and otherwise with a {@link TtrpcError}.
 *
 * Throws a TypeError if the service, the connection or an option is wrong.
 *
 * @param service - A service of this package, or of your own protoc-gen-es output.
 */
export function createClient<Service extends DescService>(
  service: Service,
  connection: Connection,
  options: ClientOptions = {},
): Client<Service> {
  checkOptions("createClient", options, OPTIONS);
  const interceptors = checkedInterceptors(options.interceptors);
  checkConnection(connection, Connection, "Connection", "connect() resolves to");
  return methodsOf(service, connection.bridge, (method, route) => {
    const start = starter(method, route, connection);
    if (interceptors.length > 0) return intercepted(method, route, connection, interceptors, start);
    if (serverStreams(method.methodKind)) return start;
    return (request, given) => {
      try {
        return start(request, given);
      } catch (error) {
        // A wrong argument rejects, like any other failure of the call.
        return Promise.reject(error);
      }
    };
  }) as Client<Service>;
}

/** Makes the function that calls a method through interceptors. */
function intercepted(
  method: DescMethod,
  route: number,
  connection: Connection,
  interceptors: readonly ClientInterceptor[],
  start: Start,
): (request: unknown, given?: CallOptions) => unknown {
  const innermost = async (call: ClientCall) => {
    const { request, timeoutMs, metadata, signal } = checkedCall(call);
    const fields = { timeoutMs, metadata, signal };
    const owner = openedOf(call);
    if (owner === undefined) return start(request, fields);
    return (owner.root as InterceptedCall).make(() => start(request, fields, owner));
  };
  const chain = intercept(interceptors, innermost, method.methodKind);
  const names = connection.bridge.nameOf(route);
  const made = (request: unknown, given: CallOptions = {}) => {
    // Copied now, because an interceptor may delay the call.
    const { timeoutMs, metadata: pairs, signal, contextValues = new ContextValues() } = callOptions(given);
    checkTimeout(timeoutMs);
    checkSignal(signal);
    const metadata: Metadata = {};
    if (pairs !== undefined) {
      for (const [key, value] of metadataPairs(pairs)) addMetadata(metadata, key, value);
    }
    return {
      address: connection.address,
      service: names.service,
      method: names.method,
      kind: method.methodKind,
      request,
      metadata,
      timeoutMs,
      signal,
      contextValues,
      descriptor: method,
    } as ClientCall;
  };
  if (serverStreams(method.methodKind)) {
    return (request, given) => {
      try {
        return new InterceptedCall(connection, route, chain, made(request, given)).messages();
      } catch (error) {
        // The caller gets the error with the first message.
        return failedStream(error).replies;
      }
    };
  }
  return async (request, given) => {
    const call = made(request, given);
    // Nothing but its interceptors ends such a call, and it opens no stream.
    if (call.kind === "unary" && call.signal === undefined && !call.timeoutMs) return chain(call);
    return new InterceptedCall(connection, route, chain, call).outcome;
  };
}

/** Calls a method. A stream that gives no iterable is added to `opened`. */
type Start = (request: unknown, options?: CallOptions, opened?: Opened) => unknown;

/** Makes the function that calls a method. */
function starter({ methodKind, input, output }: DescMethod, route: number, connection: Connection): Start {
  const toPayload = (message: unknown) => new OutgoingMessage(input, message);
  const decode = messageDecoder(output);
  const find = () => route;
  switch (methodKind) {
    case "unary":
      return (request, options) => connection.call({ route, payload: toPayload(request), options, decode });
    case "server_streaming":
      return (request, options) => {
        const first = () => toPayload(request);
        return connection.stream({ kind: methodKind, route: find, request: first, options, decode }).replies;
      };
    case "client_streaming":
      return async (messages, options, opened) => {
        const requests = { messages, encode: toPayload };
        const call = connection.stream({ kind: methodKind, route: find, requests, options, decode });
        opened?.add(call.replies);
        return call.response;
      };
    case "bidi_streaming":
      return (messages, options) => {
        const requests = { messages, encode: toPayload };
        return connection.stream({ kind: methodKind, route: find, requests, options, decode }).replies;
      };
  }
}

/** Checks that a client gets its kind of connection. Throws a TypeError that says what it got. */
export function checkConnection<T extends object>(
  connection: T,
  kind: abstract new (...parts: never) => T,
  className: string,
  made: string,
): void {
  if (isInstance(connection, kind)) return;
  const given: unknown = connection;
  const what = types.isPromise(given)
    ? "a Promise"
    : isDescriptor(given, "service")
      ? "a service, which comes first"
      : kindBut(given, className);
  throw new TypeError(`connection must be the ${className} that ${made}, not ${what}`);
}

/** Makes a function for each method of a service, under its name in a client. */
export function methodsOf(
  service: DescService,
  bridge: Bridge,
  make: (method: DescMethod, route: number) => ((request: never, options?: never) => unknown) | undefined,
): Record<string, unknown> {
  checkDescriptor(service, "service", "service");
  const client: Record<string, unknown> = {};
  for (const method of service.methods) {
    const call = make(method, bridge.route(service.typeName, method.name));
    const name = method.localName === "then" ? "then$" : method.localName;
    if (call !== undefined) setEntry(client, name, call);
  }
  return client;
}
