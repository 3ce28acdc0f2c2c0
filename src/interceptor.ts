import type { HandlerContext } from "./server/context.js";
import type { Metadata } from "./metadata.js";
import { isArray, isPlain, kindOf } from "./values.js";

/** The kinds of methods, by protobuf-es's names. */
export type MethodKind = "unary" | "server_streaming" | "client_streaming" | "bidi_streaming";

/** A call on its way through the interceptors of a client. */
export interface ClientCall {
  /** The address of the connection that the call is made on. */
  readonly address: string;
  /** The full name of the service. */
  readonly service: string;
  /** The name of the method, as in the .proto file. */
  readonly method: string;
  /** Which side streams. */
  readonly kind: MethodKind;
  /** The message, or where the client streams, an AsyncIterable of them. */
  readonly request: unknown;
  /** Metadata to send along; may be added to. */
  readonly metadata: Metadata;
  /** The deadline, in milliseconds from when it is sent. */
  readonly timeoutMs?: number;
  /** Gives the call up. */
  readonly signal?: AbortSignal;
}

/** A call on its way through the interceptors of a server. */
export interface ServerCall {
  /** The full name of the service. */
  readonly service: string;
  /** The name of the method, as in the .proto file. */
  readonly method: string;
  /** Which side streams. */
  readonly kind: MethodKind;
  /** The message, or where the client streams, an AsyncIterable of them. Bytes for raw handlers. */
  readonly request: unknown;
  /** What the handler knows of its request besides the message. */
  readonly context: HandlerContext;
}

/**
 * Sees each call of a client, and what comes back: the response, or where the server streams, an AsyncIterable. The
 * first of a list is the outermost.
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

/** Sees each request of a server and what its handler returns, as {@link ClientInterceptor} does on the other side. */
export type ServerInterceptor = (
  next: (call: ServerCall) => Promise<unknown>,
) => (call: ServerCall) => Promise<unknown>;

type Next<Call> = (call: Call) => Promise<unknown>;

/** Puts interceptors around what is done in the end. */
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

/** A list of interceptors as it is now. Throws a TypeError that names what is wrong. */
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

/** The call that an interceptor hands on. Throws a TypeError if it is none. */
export function checkedCall<Call extends object>(call: Call): Call {
  if (isPlain(call)) return call;
  throw new TypeError(`call must be what the interceptor was given, or a copy of it, not ${kindOf(call)}`);
}
