import type {
  DescMethod,
  DescMethodBiDiStreaming,
  DescMethodClientStreaming,
  DescMethodServerStreaming,
  DescMethodUnary,
  Message,
} from "@bufbuild/protobuf";
import type { ContextValues } from "./context-values.js";
import type { HandlerContext } from "./server/context.js";
import type { Metadata } from "./metadata.js";
import { Opened, openedOf, reopened } from "./opened.js";
import { isArray, isPlain, kindOf } from "./value-kinds.js";

/** The kinds of methods, under protobuf-es's names. */
export type MethodKind = "unary" | "server_streaming" | "client_streaming" | "bidi_streaming";

/** Whether the client sends several messages in this kind of method. */
export function clientStreams(kind: MethodKind): boolean {
  return kind === "client_streaming" || kind === "bidi_streaming";
}

/** Whether the server sends several messages in this kind of method. */
export function serverStreams(kind: MethodKind): boolean {
  return kind === "server_streaming" || kind === "bidi_streaming";
}

/** The fields that calls of every kind have in a client's interceptors. */
export interface ClientCallBase {
  /** The address of the connection that the call is made on. */
  readonly address: string;
  /** The full name of the service. */
  readonly service: string;
  /** The name of the method, as in the .proto file. */
  readonly method: string;
  /** Metadata to send with the call; an interceptor may add to it. */
  readonly metadata: Metadata;
  /**
   * The timeout in milliseconds, counted from when the call is sent; undefined for none. The caller's timeout also ends a
   * call that an interceptor holds back for longer.
   */
  readonly timeoutMs?: number | undefined;
  /** Aborts the call. The caller's signal also ends a call that an interceptor holds back. */
  readonly signal?: AbortSignal | undefined;
  /** The values of the call's option `contextValues`, or an empty set. */
  readonly contextValues: ContextValues;
}

/** A unary call. */
export interface ClientUnaryCall extends ClientCallBase {
  /** The kind of the method; it distinguishes the types of calls. */
  readonly kind: "unary";
  /** The method's descriptor, with its options and the types of its messages. */
  readonly descriptor: DescMethodUnary;
  /** The request, as the caller gave it: a message, or the fields of one. */
  readonly request: object;
}

/** A call whose server streams. */
export interface ClientServerStreamingCall extends ClientCallBase {
  /** The kind of the method; it distinguishes the types of calls. */
  readonly kind: "server_streaming";
  /** The method's descriptor, with its options and the types of its messages. */
  readonly descriptor: DescMethodServerStreaming;
  /** The request, as the caller gave it: a message, or the fields of one. */
  readonly request: object;
}

/** A call whose client streams. */
export interface ClientClientStreamingCall extends ClientCallBase {
  /** The kind of the method; it distinguishes the types of calls. */
  readonly kind: "client_streaming";
  /** The method's descriptor, with its options and the types of its messages. */
  readonly descriptor: DescMethodClientStreaming;
  /** The requests, as the caller gave them. */
  readonly request: AsyncIterable<object> | Iterable<object>;
}

/** A call in which both sides stream. */
export interface ClientBidiStreamingCall extends ClientCallBase {
  /** The kind of the method; it distinguishes the types of calls. */
  readonly kind: "bidi_streaming";
  /** The method's descriptor, with its options and the types of its messages. */
  readonly descriptor: DescMethodBiDiStreaming;
  /** The requests, as the caller gave them. */
  readonly request: AsyncIterable<object> | Iterable<object>;
}

/** A call on its way through the interceptors of a client. Its `kind` says what `request` is, and what `next` returns. */
export type ClientCall =
  | ClientUnaryCall
  | ClientServerStreamingCall
  | ClientClientStreamingCall
  | ClientBidiStreamingCall;

/** The fields that requests of every kind have in a server's interceptors. */
export interface ServerCallBase {
  /** The full name of the service. */
  readonly service: string;
  /** The name of the method, as in the .proto file. */
  readonly method: string;
  /** The method's descriptor, with its options and the types of its messages; undefined for a raw handler. */
  readonly descriptor: DescMethod | undefined;
  /** What the handler knows about its request besides the message. */
  readonly context: HandlerContext;
}

/** A unary request. */
export interface ServerUnaryCall extends ServerCallBase {
  /** The kind of the method; it distinguishes the types of calls. */
  readonly kind: "unary";
  /** The request message; bytes for a raw handler. If the message does not decode, reading this throws. */
  readonly request: Message | Uint8Array;
}

/** A request whose server streams. */
export interface ServerServerStreamingCall extends ServerCallBase {
  /** The kind of the method; it distinguishes the types of calls. */
  readonly kind: "server_streaming";
  /** The request message; bytes for a raw handler. If the message does not decode, reading this throws. */
  readonly request: Message | Uint8Array;
}

/** A request whose client streams. */
export interface ServerClientStreamingCall extends ServerCallBase {
  /** The kind of the method; it distinguishes the types of calls. */
  readonly kind: "client_streaming";
  /** The request messages; bytes for a raw handler. */
  readonly request: AsyncIterable<Message | Uint8Array>;
}

/** A request in which both sides stream. */
export interface ServerBidiStreamingCall extends ServerCallBase {
  /** The kind of the method; it distinguishes the types of calls. */
  readonly kind: "bidi_streaming";
  /** The request messages; bytes for a raw handler. */
  readonly request: AsyncIterable<Message | Uint8Array>;
}

/** A request on its way through the interceptors of a server. Its `kind` says what `request` is, and what `next` returns. */
export type ServerCall =
  | ServerUnaryCall
  | ServerServerStreamingCall
  | ServerClientStreamingCall
  | ServerBidiStreamingCall;

/** What a call of this kind resolves to: one message, or an AsyncIterable of messages if the server streams. */
export type ReplyOf<Kind extends MethodKind, Reply> = Kind extends "server_streaming" | "bidi_streaming"
  ? AsyncIterable<Reply>
  : Reply;

/** Makes the call, and resolves to its reply, or to an AsyncIterable of replies if the server streams. */
export type ClientNext = <Call extends ClientCall>(call: Call) => Promise<ReplyOf<Call["kind"], Message>>;

/**
 * Runs the handler, and resolves to its response, or to an AsyncIterable of responses if the server streams. These are
 * what the handler returned: messages, the fields of messages, or bytes. Rejects with the error that the caller gets, if
 * the response cannot be sent or if nobody waits for it any more.
 */
export type ServerNext = <Call extends ServerCall>(call: Call) => Promise<ReplyOf<Call["kind"], object>>;

/**
 * Wraps each call of a client. `next` makes the call and returns the response, or an AsyncIterable of responses if the
 * server streams. The first interceptor of a list is the outermost.
 *
 * ```ts
 * const logging: ClientInterceptor = (next) => async (call) => {
 *   const start = performance.now();
 *   try {
 *     return await next(call);
 *   } finally {
 *     console.log(`${call.service}/${call.method}: ${performance.now() - start} ms`);
 *   }
 * };
 * const task = createClient(Task, connection, { interceptors: [logging] });
 * ```
 *
 * `call.kind` narrows the types: after `if (call.kind === "server_streaming")`, `await next(call)` is an
 * AsyncIterable.
 */
export type ClientInterceptor = (next: ClientNext) => (call: ClientCall) => Promise<unknown>;

/**
 * Wraps each request of a server, as {@link ClientInterceptor} does on the client. `next` runs the handler. An
 * AsyncLocalStorage store that is set around `next` stays set for the handler as long as it runs, streams included.
 *
 * ```ts
 * const authenticate: ServerInterceptor = (next) => async (call) => {
 *   if (call.context.metadata["authorization"]?.[0] !== token) throw new TtrpcError("who are you?", Code.Unauthenticated);
 *   return next(call);
 * };
 * const server = createServer({ interceptors: [authenticate] });
 * ```
 */
export type ServerInterceptor = (next: ServerNext) => (call: ServerCall) => Promise<unknown>;

type Next<Call> = (call: Call) => Promise<unknown>;

/**
 * Wraps interceptors of calls of a kind around the innermost function. Throws a TypeError if one does not return a
 * function.
 */
export function intercept<Call extends object>(
  interceptors: readonly ((next: never) => Next<Call>)[],
  innermost: Next<Call>,
  kind: MethodKind,
): Next<Call> {
  const tracked = serverStreams(kind) ? owned : kind === "client_streaming" ? heard : undefined;
  return interceptors.reduceRight((inner, interceptor, index) => {
    const around = interceptor((tracked === undefined ? inner : tracked(inner)) as never);
    if (typeof around === "function") return around;
    throw new TypeError(`interceptors[${index}] must return a function, not ${kindOf(around)}`);
  }, innermost);
}

/** A `next` whose streams are left if the interceptor that calls it does not pass them on. */
function owned<Call extends object>(inner: Next<Call>): Next<Call> {
  return async (call) => {
    const owner = openedOf(call);
    if (owner === undefined) return inner(call);
    const below = new Opened(owner);
    const reply = await below.run(() => inner(reopened(call, below)));
    owner.add(reply, below);
    return reply;
  };
}

/** A `next` whose outcome counts as handled if the interceptor that calls it gives the call up without it. */
function heard<Call extends object>(inner: Next<Call>): Next<Call> {
  return (call) => {
    const outcome = inner(call);
    openedOf(call)?.hear(outcome);
    return outcome;
  };
}

/** Copies a list of interceptors. Throws a TypeError that names what is wrong. */
export function checkedInterceptors<Interceptor>(
  interceptors: readonly Interceptor[] | undefined,
): readonly Interceptor[] {
  if (interceptors === undefined) return [];
  if (!isArray(interceptors))
    throw new TypeError(`interceptors must be an array, not ${kindOf(interceptors)}`);
  const checked = Array.from(interceptors);
  for (const [index, interceptor] of checked.entries()) {
    if (typeof interceptor !== "function")
      throw new TypeError(`interceptors[${index}] must be a function, not ${kindOf(interceptor)}`);
  }
  return checked;
}

/** Checks the call that an interceptor passes to `next`. Throws a TypeError if it is not a call. */
export function checkedCall<Call extends object>(call: Call): Call {
  if (isPlain(call)) return call;
  throw new TypeError(`call must be what the interceptor was given, or a copy of it, not ${kindOf(call)}`);
}
