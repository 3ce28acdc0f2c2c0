import type { HandlerContext } from "./server/context.js";
import type { Metadata } from "./metadata.js";
import { isArray, isPlain, kindOf } from "./value-kinds.js";

/** The kinds of methods, under protobuf-es's names. */
export type MethodKind = "unary" | "server_streaming" | "client_streaming" | "bidi_streaming";

/** A call on its way through the interceptors of a client. */
export interface ClientCall {
  /** The address of the connection that the call is made on. */
  readonly address: string;
  /** The full name of the service. */
  readonly service: string;
  /** The name of the method, as in the .proto file. */
  readonly method: string;
  /** The method's kind: unary, or which side streams. */
  readonly kind: MethodKind;
  /** The request message, or an AsyncIterable of messages if the client streams. */
  readonly request: unknown;
  /** Metadata to send with the call; an interceptor may add to it. */
  readonly metadata: Metadata;
  /** The timeout in milliseconds, counted from when the call is sent; undefined for none. */
  readonly timeoutMs?: number;
  /** Aborts the call. */
  readonly signal?: AbortSignal;
}

/** A call on its way through the interceptors of a server. */
export interface ServerCall {
  /** The full name of the service. */
  readonly service: string;
  /** The name of the method, as in the .proto file. */
  readonly method: string;
  /** The method's kind: unary, or which side streams. */
  readonly kind: MethodKind;
  /** The request message, or an AsyncIterable of messages if the client streams. Raw handlers get bytes. */
  readonly request: unknown;
  /** What the handler knows about its request besides the message. */
  readonly context: HandlerContext;
}

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
 */
export type ClientInterceptor = (
  next: (call: ClientCall) => Promise<unknown>,
) => (call: ClientCall) => Promise<unknown>;

/** Wraps each request of a server, as {@link ClientInterceptor} does on the client. `next` runs the handler. */
export type ServerInterceptor = (
  next: (call: ServerCall) => Promise<unknown>,
) => (call: ServerCall) => Promise<unknown>;

type Next<Call> = (call: Call) => Promise<unknown>;

/** Wraps interceptors around the innermost function. Throws a TypeError if one does not return a function. */
export function intercept<Call>(
  interceptors: readonly ((next: Next<Call>) => Next<Call>)[],
  innermost: Next<Call>,
): Next<Call> {
  return interceptors.reduceRight((next, interceptor, index) => {
    const around = interceptor(next);
    if (typeof around === "function") return around;
    throw new TypeError(`interceptors[${index}] must return a function, not ${kindOf(around)}`);
  }, innermost);
}

/** Copies a list of interceptors. Throws a TypeError that names what is wrong. */
export function checkedInterceptors<Interceptor>(
  interceptors: readonly Interceptor[] | undefined,
): readonly Interceptor[] {
  if (interceptors === undefined) return [];
  if (!isArray(interceptors)) throw new TypeError("interceptors must be an array");
  const checked = Array.from(interceptors);
  for (const [index, interceptor] of checked.entries()) {
    if (typeof interceptor !== "function") throw new TypeError(`interceptors[${index}] must be a function`);
  }
  return checked;
}

/** Checks the call that an interceptor passes to `next`. Throws a TypeError if it is not a call. */
export function checkedCall<Call extends object>(call: Call): Call {
  if (isPlain(call)) return call;
  throw new TypeError(`call must be what the interceptor was given, or a copy of it, not ${kindOf(call)}`);
}
