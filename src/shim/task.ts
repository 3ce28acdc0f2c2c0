import { listenToAbort, unlistenToAbort } from "../abort.js";
import { decode, encode } from "../codec/codec.js";
import { Sandbox } from "../protos/sandbox.js";
import { Task as TaskV2 } from "../protos/task/v2.js";
import { type PidsRequest, StateRequestSchema, Task } from "../protos/task/v3.js";
import type { HandlerContext } from "../server/context.js";
import type { Server } from "../server/server.js";
import type { ServiceImpl } from "../server/service.js";
import { type Handler, type Handlers, handlersOf } from "./handlers.js";

/**
 * Serves both versions of the task service by the handlers of version 3. They differ in nothing but the names of the
 * service and its messages, so a reply that was made with `create` loses its name for version 2.
 */
export function addTask(server: Server, service: ServiceImpl<typeof Task>): void {
  const handlers = handlersOf(Task, service);
  // By it containerd finds out, when it has been restarted, that the shim lives.
  handlers["connect"] ??= () => ({ shimPid: process.pid });
  const { state } = handlers;
  if (typeof state === "function") handlers["pids"] ??= pidsBy(state);
  endWithItsCall(handlers, "wait");
  server.add(Task, handlers as ServiceImpl<typeof Task>);
  const older: Handlers = {};
  for (const { localName } of TaskV2.methods) {
    if (handlers[localName] === undefined) continue;
    older[localName] = async (request, context) => unnamed(await handlers[localName]?.(request, context));
  }
  server.add(TaskV2, older as ServiceImpl<typeof TaskV2>);
}

/**
 * Pids by State: the task's first process, or the shim itself as long as there is none. When containerd has been restarted, it
 * takes a task without processes for one that was never created, and deletes it; up to 2.2 also one whose Pids fails.
 */
function pidsBy(state: Handler): Handler {
  return async (request, context) => {
    const { id } = request as PidsRequest;
    const asked = decode(StateRequestSchema, encode(StateRequestSchema, { id }));
    const { pid } = (await state(asked, context)) as { pid?: number };
    return { processes: [{ pid: pid || process.pid }] };
  };
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
