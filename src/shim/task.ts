import type { Server } from "../server/server.js";
import type { ServiceImpl } from "../server/service.js";
import { Task as TaskV2 } from "../protos/task/v2.js";
import { Task } from "../protos/task/v3.js";

type Handler = (request: unknown, context: unknown) => unknown;

/**
 * Serves both versions of the task service by the handlers of version 3. They differ in nothing but the names of the
 * service and its messages, so a reply that was made with `create` loses its name for version 2.
 */
export function addTask(server: Server, service: ServiceImpl<typeof Task>): void {
  server.add(Task, service);
  const handlers = service as Record<string, Handler | undefined>;
  const older: Record<string, Handler> = {};
  for (const { localName } of TaskV2.methods) {
    if (handlers[localName] === undefined) continue;
    older[localName] = async (request, context) => unnamed(await handlers[localName]?.(request, context));
  }
  server.add(TaskV2, older as ServiceImpl<typeof TaskV2>);
}

function unnamed(reply: unknown): unknown {
  if (typeof reply !== "object" || reply === null || !("$typeName" in reply)) return reply;
  const { $typeName: _name, ...fields } = reply;
  return fields;
}
