import { listenToAbort, unlistenToAbort } from "../abort.js";
import type { HandlerContext } from "../server/context.js";
import type { Server } from "../server/server.js";
import type { ServiceImpl } from "../server/service.js";
import { Task as TaskV2 } from "../protos/task/v2.js";
import { Task } from "../protos/task/v3.js";
import { type Handler, handlersOf } from "./handlers.js";

/**
 * Serves both versions of the task service by the handlers of version 3. They differ in nothing but the names of the
 * service and its messages, so a reply that was made with `create` loses its name for version 2.
 */
export function addTask(server: Server, service: ServiceImpl<typeof Task>): void {
  const handlers = handlersOf(Task, service);
  const { wait } = handlers;
  if (typeof wait === "function") handlers["wait"] = endingWithItsCall(wait);
  server.add(Task, handlers as ServiceImpl<typeof Task>);
  const older: Record<string, Handler> = {};
  for (const { localName } of TaskV2.methods) {
    if (handlers[localName] === undefined) continue;
    older[localName] = async (request, context) => unnamed(await handlers[localName]?.(request, context));
  }
  server.add(TaskV2, older as ServiceImpl<typeof TaskV2>);
}

/**
 * A Wait that ends when nobody waits for its answer any more, whatever the handler waits for. Clients ask again and again,
 * with short deadlines, and a server that has no room left for requests would let nobody end the container.
 */
function endingWithItsCall(wait: Handler): Handler {
  return async (request, context) => {
    const { signal } = context as HandlerContext;
    let giveUp!: () => void;
    const givenUp = new Promise((_, reject) => (giveUp = () => reject(signal.reason as Error)));
    const listener = { aborted: giveUp };
    if (signal.aborted) giveUp();
    else listenToAbort(signal, listener);
    try {
      return await Promise.race([wait(request, context), givenUp]);
    } finally {
      unlistenToAbort(signal, listener);
    }
  };
}

function unnamed(reply: unknown): unknown {
  if (typeof reply !== "object" || reply === null || !("$typeName" in reply)) return reply;
  const { $typeName: _name, ...fields } = reply;
  return fields;
}
