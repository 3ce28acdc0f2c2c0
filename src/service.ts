import type { DescMethodUnary, DescService, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import { checkPayload } from "./call.js";
import { decode, encode } from "./codec/codec.js";
import { Code } from "./code.js";
import type { HandlerContext } from "./context.js";
import { TtrpcError } from "./error.js";

/**
 * The handlers of a service, under the names that protobuf-es gives its methods. One that is left out answers
 * `Unimplemented`.
 */
export type ServiceImpl<Service extends DescService> = {
  [
    Name in keyof Service["method"] as Service["method"][Name] extends DescMethodUnary ? Name : never
  ]?: Service["method"][Name] extends DescMethodUnary<infer Input, infer Output>
    ? (
        request: MessageShape<Input>,
        context: HandlerContext,
      ) => Promise<MessageInitShape<Output>> | MessageInitShape<Output>
    : never;
};

/** A handler of bytes. */
export interface RawUnaryMethod {
  readonly kind: "unary";
  /** Gets the payload, which is its own to keep, and returns the reply's. */
  readonly handle: (payload: Uint8Array, context: HandlerContext) => Promise<Uint8Array> | Uint8Array;
}

/** Handlers of bytes, by the names of the methods. */
export type RawMethods = Readonly<Record<string, RawUnaryMethod>>;

/** One method of a server: from payload to payload. */
export interface ServedMethod {
  readonly service: string;
  readonly method: string;
  readonly handle: (payload: Uint8Array, context: HandlerContext) => Promise<Uint8Array>;
}

/** The methods that an implementation of a service has. Throws a TypeError that names what does not fit. */
export function typedMethods<Service extends DescService>(
  service: Service,
  implementation: ServiceImpl<Service>,
): ServedMethod[] {
  if (service?.kind !== "service") throw new TypeError("service must be a service descriptor of protobuf-es");
  if (typeof implementation !== "object" || implementation === null) {
    throw new TypeError(`the implementation of ${service.typeName} must be an object of handlers`);
  }
  const handlers = implementation as Record<string, unknown>;
  // A class may have members of its own; in a plain object an unknown name is a typing error.
  if (Object.getPrototypeOf(handlers) === Object.prototype) {
    const known = new Set(service.methods.map((method) => method.localName));
    const unknown = Object.keys(handlers).find((name) => !known.has(name));
    if (unknown !== undefined) throw new TypeError(`${service.typeName} has no method ${unknown}`);
  }
  const methods: ServedMethod[] = [];
  for (const { localName, methodKind, input, output, name } of service.methods) {
    const handler = handlers[localName];
    if (handler === undefined) continue;
    if (typeof handler !== "function") throw new TypeError(`${service.typeName}/${name} must be a function`);
    if (methodKind !== "unary")
      throw new TypeError(`${service.typeName}/${name} is ${methodKind}, not unary`);
    methods.push({
      service: service.typeName,
      method: name,
      async handle(payload, context) {
        const response: unknown = await handler.call(handlers, decode(input, payload), context);
        return checkedResponse(service.typeName, name, () =>
          encode(output, response as MessageInitShape<typeof output>),
        );
      },
    });
  }
  return methods;
}

/** The methods of raw handlers. Throws a TypeError that names what does not fit. */
export function rawMethods(service: string, methods: RawMethods): ServedMethod[] {
  if (typeof service !== "string" || service === "")
    throw new TypeError("service must be a non-empty string");
  return Object.entries(methods).map(([method, raw]) => {
    if (typeof raw?.handle !== "function")
      throw new TypeError(`${service}/${method} must have a function handle`);
    if (raw.kind !== "unary")
      throw new TypeError(`${service}/${method} has the kind ${String(raw.kind)}, not "unary"`);
    return {
      service,
      method,
      async handle(payload, context) {
        const response = await raw.handle(payload, context);
        return checkedResponse(service, method, () => {
          checkPayload(response, "the response");
          return response;
        });
      },
    };
  });
}

/** A response that cannot be sent is a fault of this side, and the caller's to know. */
function checkedResponse(service: string, method: string, encoded: () => Uint8Array): Uint8Array {
  try {
    return encoded();
  } catch (cause) {
    const text = `the handler of ${service}/${method} returned a wrong response: ${(cause as Error).message}`;
    throw new TtrpcError(text, Code.Internal, { cause });
  }
}
