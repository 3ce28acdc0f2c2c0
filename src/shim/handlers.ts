import type { DescService } from "@bufbuild/protobuf";
import { checkedHandlers, type ServiceImpl } from "../server/service.js";
import { memberOf } from "../value-kinds.js";

/** A method of a service, whatever its messages are. */
export type Handler = (request: unknown, context: unknown) => unknown;

/** Handlers by the names of their methods. */
export type Handlers = Record<string, Handler | undefined>;

/**
 * The handlers of a service, some of which can then be replaced. Methods of a class keep their `this`, and what else its
 * instances have is left out. A name that the service does not have stays for the server to refuse. Throws a TypeError for what
 * is no service.
 */
export function handlersOf<Service extends DescService>(
  { typeName, methods }: Service,
  service: ServiceImpl<Service>,
): Handlers {
  checkedHandlers(typeName, service);
  const isPlain = Object.getPrototypeOf(service) === Object.prototype;
  const handlers: Handlers = isPlain ? { ...(service as object) } : {};
  for (const { localName } of methods) {
    const handler = memberOf(service, localName) as Handler | undefined;
    if (handler === undefined) continue;
    handlers[localName] = typeof handler === "function" ? handler.bind(service) : handler;
  }
  return handlers;
}
