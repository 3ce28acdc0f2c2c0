import { Code } from "../code.js";
import { TtrpcError } from "../error.js";
import { Sandbox } from "../protos/sandbox.js";
import { Task } from "../protos/task/v3.js";
import type { ServiceImpl } from "../server/service.js";
import { handlersOf } from "./handlers.js";

/** The services of a shim, if it has both. */
export interface Services {
  readonly task: ServiceImpl<typeof Task>;
  readonly sandbox: ServiceImpl<typeof Sandbox> | undefined;
}

/**
 * Keeps Shutdown of the task service from a shim that has a sandbox, which outlives its containers and ends by
 * ShutdownSandbox. containerd calls Shutdown when a container could not be created, and from 2.4 on after each Delete, which
 * fails if Shutdown does; and to a task service that has no container left it is the end.
 */
export function outlivingContainers({ task, sandbox }: Services): Services {
  if (sandbox === undefined) return { task, sandbox };
  const [tasks, sandboxes] = [handlersOf(Task, task), handlersOf(Sandbox, sandbox)];
  const { shutdown } = tasks;
  const { createSandbox, shutdownSandbox } = sandboxes;
  // What is no handler is the server's to refuse.
  if (typeof createSandbox !== "function" || typeof (shutdown ?? createSandbox) !== "function")
    return { task, sandbox };
  let lives = false;
  sandboxes["createSandbox"] = async (request, context) => {
    const reply = await createSandbox(request, context);
    lives = true;
    return reply;
  };
  if (typeof shutdownSandbox === "function") {
    sandboxes["shutdownSandbox"] = (request, context) => {
      lives = false;
      return shutdownSandbox(request, context);
    };
  }
  tasks["shutdown"] = (request, context) => {
    if (lives) return {};
    if (typeof shutdown === "function") return shutdown(request, context);
    throw new TtrpcError("Shutdown method", Code.Unimplemented);
  };
  return { task: tasks as Services["task"], sandbox: sandboxes as Services["sandbox"] };
}
