import type { DescService } from "@bufbuild/protobuf";
import type { ServiceImpl } from "../server/service.js";
import { isRevoked, memberOf } from "../value-kinds.js";

/** A method of a service, whatever its messages are. */
export type Handler = (request: unknown, context: unknown) => unknown;

/**
 * The handlers of a service, some of which can then be replaced. Methods of a class keep their `this`, and what else its
 * instances have is left out. What is no service, or has a name that the service does not have, stays for the server to refuse.
 */
export function handlersOf<Service extends DescService>(
  { methods }: Service,
  service: ServiceImpl<Service>,
): Record<string, Handler | undefined> {
  if (typeof service !== "object" || isRevoked(service) || Array.isArray(service) || service === null)
    return service as Record<string, never>;
  const isPlain = Object.getPrototypeOf(service) === Object.prototype;
  const handlers: Record<string, Handler | undefined> = isPlain ? { ...(service as object) } : {};
  for (const { localName } of methods) {
    const handler = memberOf(service, localName) as Handler | undefined;
    if (handler === undefined) continue;
    handlers[localName] = typeof handler === "function" ? handler.bind(service) : handler;
  }
  return handlers;
}
