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
import { type Decode, messageDecoder, OutgoingMessage, type Payload, rawPayload } from "../codec/payload.js";
import { Code } from "../code.js";
import type { HandlerContext } from "./context.js";
import { textOf, TtrpcError } from "../error.js";
import type { MethodKind } from "../interceptor.js";
import { hintFor } from "../options.js";
import { checkBytes, checkDescriptor, isPlain, isRevoked, kindOf, memberOf, shown } from "../value-kinds.js";

/**
 * The handlers of a service, under protobuf-es's names for its methods. A method without a handler answers
 * `Unimplemented`. If the client streams, the handler takes an AsyncIterable; if the server streams, it returns one.
 */
export type ServiceImpl<Service extends DescService> = {
  [Name in keyof Service["method"]]?: MethodImpl<Service["method"][Name]> | undefined;
};

type MethodImpl<Method> =
  Method extends DescMethodUnary<infer Input, infer Output>
    ? (request: MessageShape<Input>, context: HandlerContext) => MaybePromise<MessageInitShape<Output>>
    : Method extends DescMethodServerStreaming<infer Input, infer Output>
      ? (request: MessageShape<Input>, context: HandlerContext) => AsyncIterable<MessageInitShape<Output>>
      : Method extends DescMethodClientStreaming<infer Input, infer Output>
        ? (
            requests: AsyncIterable<MessageShape<Input>>,
            context: HandlerContext,
          ) => MaybePromise<MessageInitShape<Output>>
        : Method extends DescMethodBiDiStreaming<infer Input, infer Output>
          ? (
              requests: AsyncIterable<MessageShape<Input>>,
              context: HandlerContext,
            ) => AsyncIterable<MessageInitShape<Output>>
          : never;

/** A value, or a promise of it. */
export type MaybePromise<T> = T | Promise<T>;

/**
 * A method with a handler of bytes. The `kind` decides what that takes and returns: bytes, or an AsyncIterable of bytes.
 */
export type RawMethod =
  | {
      readonly kind: "unary";
      readonly handle: (payload: Uint8Array, context: HandlerContext) => MaybePromise<Uint8Array>;
    }
  | {
      readonly kind: "server_streaming";
      readonly handle: (payload: Uint8Array, context: HandlerContext) => AsyncIterable<Uint8Array>;
    }
  | {
      readonly kind: "client_streaming";
      readonly handle: (
        requests: AsyncIterable<Uint8Array>,
        context: HandlerContext,
      ) => MaybePromise<Uint8Array>;
    }
  | {
      readonly kind: "bidi_streaming";
      readonly handle: (
        requests: AsyncIterable<Uint8Array>,
        context: HandlerContext,
      ) => AsyncIterable<Uint8Array>;
    };

/** Handlers of bytes, by the names of the methods. */
export type RawMethods = Readonly<Record<string, RawMethod>>;

/** One method of a server: how to decode its requests, its handler, and how to encode its responses. */
export interface ServedMethod {
  readonly service: string;
  readonly method: string;
  readonly kind: MethodKind;
  /** Undefined if its handler takes and returns bytes. */
  readonly descriptor: DescMethod | undefined;
  readonly decode: Decode<unknown>;
  readonly encode: (message: unknown) => Payload;
  readonly handle: (request: unknown, context: HandlerContext) => unknown;
}

/** The methods that an implementation has. Throws a TypeError that names what does not fit the service. */
export function typedMethods<Service extends DescService>(
  service: Service,
  implementation: ServiceImpl<Service>,
): ServedMethod[] {
  checkDescriptor(service, "service", "service");
  const handlers: object = checkedHandlers(service.typeName, implementation);
  // An instance of a class may have other members; in a plain object an unknown name is a typo.
  if (Object.getPrototypeOf(handlers) === Object.prototype) {
    const known = service.methods.map((method) => method.localName);
    const unknown = Object.keys(handlers).find((name) => !known.includes(name));
    if (unknown !== undefined)
      throw new TypeError(`${service.typeName} has no method ${unknown}; ${hintFor(unknown, known)}`);
  }
  const methods: ServedMethod[] = [];
  for (const descriptor of service.methods) {
    const { localName, methodKind: kind, input, output, name } = descriptor;
    const handler = memberOf(handlers, localName);
    if (handler === undefined) continue;
    if (typeof handler !== "function")
      throw new TypeError(`${service.typeName}/${name} must be a function, not ${kindOf(handler)}`);
    const wrong = wrongResponse(service.typeName, name);
    methods.push({
      service: service.typeName,
      method: name,
      kind,
      descriptor,
      decode: messageDecoder(input),
      encode: (message) => new OutgoingMessage(output, message, wrong),
      handle: (request, context) => handler.call(handlers, request, context) as unknown,
    });
  }
  return methods;
}

/** Checks that it can have handlers, as an instance of any class can. Throws a TypeError that names the service. */
export function checkedHandlers<T>(service: string, implementation: T): T & object {
  if (typeof implementation === "object" && implementation !== null && !isRevoked(implementation)) {
    if (!Array.isArray(implementation)) return implementation;
  }
  throw new TypeError(
    `the implementation of ${service} must be an object of handlers, not ${kindOf(implementation)}`,
  );
}

const KINDS: readonly MethodKind[] = ["unary", "server_streaming", "client_streaming", "bidi_streaming"];

/** The methods of raw handlers. Throws a TypeError that names what is wrong. */
export function rawMethods(service: string, methods: RawMethods): ServedMethod[] {
  if (typeof service !== "string" || service === "")
    throw new TypeError(`service must be a non-empty string, not ${shown(service)}`);
  if (!isPlain(methods)) throw new TypeError(`methods must be an object of handlers, not ${kindOf(methods)}`);
  return Object.entries(methods as RawMethods).map(([method, raw]) => {
    const { kind, handle } = isRevoked(raw) ? ({} as RawMethod) : (raw ?? {});
    if (typeof handle !== "function")
      throw new TypeError(`${service}/${method} must have a function handle, not ${kindOf(handle)}`);
    if (!KINDS.includes(kind)) {
      throw new TypeError(
        `${service}/${method} has the kind ${shown(kind)}, which is not one of ${KINDS.join(", ")}`,
      );
    }
    const wrong = wrongResponse(service, method);
    return {
      service,
      method,
      kind,
      descriptor: undefined,
      decode: rawPayload,
      encode: (response) => {
        try {
          checkBytes(response as Uint8Array, "the response");
        } catch (cause) {
          throw wrong(cause);
        }
        return response as Uint8Array;
      },
      handle: (request, context) => Reflect.apply(handle, raw, [request, context]) as unknown,
    };
  });
}

/** Makes the error that tells the caller that the handler's response cannot be sent. */
function wrongResponse(service: string, method: string): (cause: unknown) => TtrpcError {
  return (cause) => {
    const text = `the handler of ${service}/${method} returned a wrong response: ${textOf(cause)}`;
    return new TtrpcError(text, Code.Internal, { cause });
  };
}
