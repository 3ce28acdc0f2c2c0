import { listenToAbort, unlistenToAbort } from "../abort.js";
import { decode, encode } from "../codec/codec.js";
import { fulfilledWithin } from "../pause.js";
import { Sandbox } from "../protos/sandbox.js";
import { StateRequestSchema, Task } from "../protos/task/v3.js";
import type { HandlerContext } from "../server/context.js";
import type { Server } from "../server/server.js";
import type { ServiceImpl } from "../server/service.js";
import { TaskV2 } from "../protos/task/v2-as-v3.js";
import { type Handler, type Handlers, handlersOf } from "./handlers.js";
import { logFailures } from "./log-failures.js";
import type { ShimLog } from "./log.js";

/** How long Connect waits for State: a shim whose State hangs is alive all the same. */
const STATE_MS = 1000;

/** Serves both versions of the task service by the same handlers. */
export function addTask(server: Server, service: ServiceImpl<typeof Task>, log: ShimLog): void {
  const handlers = handlersOf(Task, service);
  logFailures(handlers, Task, log);
  const { state } = handlers;
  const pidOf = typeof state === "function" ? pidBy(state) : undefined;
  handlers["connect"] ??= connectBy(pidOf);
  if (pidOf !== undefined) handlers["pids"] ??= pidsBy(pidOf);
  endWithItsCall(handlers, "wait");
  for (const version of [Task, TaskV2]) server.add(version, handlers as ServiceImpl<typeof Task>);
}

/** Tells the first process of the task that a request names; 0 if it has none yet. Rejects as State does. */
type PidOf = (request: unknown, context: unknown) => Promise<number>;

function pidBy(state: Handler): PidOf {
  return async (request, context) => {
    const { id } = request as { readonly id: string };
    const asked = decode(StateRequestSchema, encode(StateRequestSchema, { id }));
    const { pid = 0 } = (await state(asked, context)) as { pid?: number };
    return pid;
  };
}

/**
 * Connect, by which containerd learns the pid of a task that it has created, and, when it has been restarted, that the shim
 * lives. So it answers in any case, for the id of a sandbox, too.
 */
function connectBy(pidOf: PidOf = () => Promise.resolve(0)): Handler {
  return async (request, context) => {
    let taskPid = 0;
    const told = pidOf(request, context).then(
      (pid) => (taskPid = pid),
      () => undefined,
    );
    await fulfilledWithin(told, STATE_MS);
    return { shimPid: process.pid, taskPid };
  };
}

/**
 * Pids: the task's first process, or the shim itself as long as there is none. When containerd has been restarted, it
 * takes a task without processes for one that was never created, and deletes it; up to 2.2 also one whose Pids fails.
 */
function pidsBy(pidOf: PidOf): Handler {
  return async (request, context) => {
    const pid = (await pidOf(request, context)) || process.pid;
    return { processes: [{ pid }] };
  };
}

/** Serves the sandbox service. */
export function addSandbox(server: Server, service: ServiceImpl<typeof Sandbox>, log: ShimLog): void {
  const handlers = handlersOf(Sandbox, service);
  logFailures(handlers, Sandbox, log);
  handlers["platform"] ??= platformOfHost;
  endWithItsCall(handlers, "waitSandbox");
  server.add(Sandbox, handlers as ServiceImpl<typeof Sandbox>);
}

/** Platform, without which containerd's CRI creates no container in a sandbox. */
function platformOfHost(): object {
  return { platform: { os: "linux", architecture: GO_NAMES[process.arch] ?? process.arch } };
}

/** What Go calls the architectures for which Node has other names. */
const GO_NAMES: Partial<Record<string, string>> = { x64: "amd64", ia32: "386" };

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
