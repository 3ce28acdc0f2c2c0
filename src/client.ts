import type { DescMethodUnary, DescService, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import type { CallOptions, SyncCallOptions } from "./call.js";
import { decode, encode } from "./codec/codec.js";
import type { Caller } from "./connection.js";
import { port } from "./port/port.js";

/** A client of a service: a function for each of its unary methods. */
export type Client<Service extends DescService> = {
  [
    Name in keyof Service["method"] as Service["method"][Name] extends DescMethodUnary ? Name : never
  ]: Service["method"][Name] extends DescMethodUnary<infer Input, infer Output>
    ? (request: MessageInitShape<Input>, options?: CallOptions) => Promise<MessageShape<Output>>
    : never;
};

/** A blocking client of a service: a function for each of its unary methods. */
export type SyncClient<Service extends DescService> = {
  [
    Name in keyof Service["method"] as Service["method"][Name] extends DescMethodUnary ? Name : never
  ]: Service["method"][Name] extends DescMethodUnary<infer Input, infer Output>
    ? (request: MessageInitShape<Input>, options?: SyncCallOptions) => MessageShape<Output>
    : never;
};

/**
 * Makes a client of a service on a connection. Any number of clients may share one.
 *
 * ```ts
 * const task = createClient(Task, connection);
 * const { shimPid } = await task.connect({ id: "1" }, { timeoutMs: 500 });
 * ```
 *
 * A method rejects with a TypeError that names the field if the request is wrong, otherwise with a
 * {@link TtrpcError}.
 *
 * @param service - A service of this package, or of your own protoc-gen-es output.
 */
export function createClient<Service extends DescService>(
  service: Service,
  connection: Caller,
): Client<Service> {
  return unaryMethods(service, ({ input, output }, route) => async (request, options) => {
    const payload = encode(input, request);
    return connection.call(route, payload, options as CallOptions, (reader) =>
      decode(output, reader.payload()),
    );
  }) as Client<Service>;
}

type Call = (request: MessageInitShape<DescMethodUnary["input"]>, options?: SyncCallOptions) => unknown;

/** Makes a function for each unary method of a service, under the name that protobuf-es gives it. */
export function unaryMethods(
  service: DescService,
  make: (method: DescMethodUnary, route: number) => Call,
): Record<string, Call> {
  if (service?.kind !== "service") throw new TypeError("service must be a service descriptor of protobuf-es");
  const client: Record<string, Call> = {};
  for (const method of service.methods) {
    if (method.methodKind === "unary") {
      client[method.localName] = make(method as DescMethodUnary, port().route(service.typeName, method.name));
    }
  }
  return client;
}
