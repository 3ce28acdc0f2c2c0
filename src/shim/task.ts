import { listenToAbort, unlistenToAbort } from "../abort.js";
import { Sandbox } from "../protos/sandbox.js";
import { Task as TaskV2 } from "../protos/task/v2.js";
import { Task } from "../protos/task/v3.js";
import type { HandlerContext } from "../server/context.js";
import type { Server } from "../server/server.js";
import type { ServiceImpl } from "../server/service.js";
import { type Handlers, handlersOf } from "./handlers.js";

/**
 * Serves both versions of the task service by the handlers of version 3. They differ in nothing but the names of the
 * service and its messages, so a reply that was made with `create` loses its name for version 2.
 */
export function addTask(server: Server, service: ServiceImpl<typeof Task>): void {
  const handlers = handlersOf(Task, service);
  // By it containerd finds out, when it has been restarted, that the shim lives.
  handlers["connect"] ??= () => ({ shimPid: process.pid });
  endWithItsCall(handlers, "wait");
  server.add(Task, handlers as ServiceImpl<typeof Task>);
  const older: Handlers = {};
  for (const { localName } of TaskV2.methods) {
    if (handlers[localName] === undefined) continue;
    older[localName] = async (request, context) => unnamed(await handlers[localName]?.(request, context));
  }
  server.add(TaskV2, older as ServiceImpl<typeof TaskV2>);
}

/** Serves the sandbox service. */
export function addSandbox(server: Server, service: ServiceImpl<typeof Sandbox>): void {
  const handlers = handlersOf(Sandbox, service);
  endWithItsCall(handlers, "waitSandbox");
  server.add(Sandbox, handlers as ServiceImpl<typeof Sandbox>);
}

/**
 * Ends a Wait when nobody waits for its answer any more, whatever the handler waits for. Clients ask again and again, with
 * short deadlines, and a server that has no room left for requests would let nobody end the container.
 */
function endWithItsCall(handlers: Handlers, name: "wait" | "waitSandbox"): void {
  const wait = handlers[name];
  if (typeof wait !== "function") return;
  handlers[name] = async (request, context) => {
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
