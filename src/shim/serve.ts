import { Buffer } from "node:buffer";
import { setTimeout } from "node:timers";
import { closeSync, existsSync, readFileSync, writeSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { connect } from "../client/connect.js";
import { textOf, type TtrpcError } from "../error.js";
import { createPublisher, type Publisher } from "../events/index.js";
import { makeFolder } from "../make-folder.js";
import { Sandbox } from "../protos/sandbox.js";
import { Task } from "../protos/task/v3.js";
import { createServer, type Server } from "../server/server.js";
import { socketAddress } from "./address.js";
import { leavingAddress, writeAddress } from "./address-file.js";
import { NOTHING_TO_DO, type ShimArguments } from "./arguments.js";
import { type Bootstrap, readBootstrap, writeBootstrap } from "./bootstrap.js";
import { childrenOfProcess } from "./process.js";
import { logStandardStreams, ShimLog } from "./log.js";
import { publishFor } from "./publish.js";
import { notingDeletes } from "./deleted.js";
import { IdleMemory } from "./idle-memory.js";
import { LAST_ACTIONS_MS, LastActions } from "./last-actions.js";
import { outliveOwnFile } from "./own-file.js";
import {
  checkPlacement,
  type ShimContext,
  type ShimOptions,
  type ShimPlacement,
  type StartRequest,
} from "./options.js";
import { readSpec } from "./spec/index.js";
import { FAILED, STARTED, STARTER_VARIABLE } from "./start.js";
import { outlivingContainers } from "./sandboxed.js";
import { addSandbox, addTask } from "./task.js";
import { writeFile } from "./write-file.js";

/** How long a working shim may take to answer a probe, as in containerd's own. */
const PROBE_MS = 1000;
/** How long handlers, and then events, have in the end; and how long all of it may take, in which lost events are logged. */
const GRACE_MS = 500;
const EVENTS_MS = 4000;
const SHUTDOWN_MS = GRACE_MS + LAST_ACTIONS_MS + EVENTS_MS + 500;
const STDERR = 2;
/**
 * Signals that a program in Go ignores, such as containerd's own shim. They would end this one, or have Node open a
 * port for debuggers.
 */
const IGNORED = ["SIGUSR1", "SIGUSR2", "SIGALRM", "SIGVTALRM", "SIGIO", "SIGPWR", "SIGXCPU"] as const;

/** Serves one container, or a group of them, until it is shut down. */
export async function serve(name: string, args: ShimArguments, options: ShimOptions): Promise<void> {
  const log = new ShimLog(STDERR, args.debug, { runtime: name, namespace: args.namespace, id: args.id });
  const starter = new Starter(log);
  if (!starter.present && args.socket === "") throw new Error(NOTHING_TO_DO);
  try {
    if (starter.present) prepareDaemon(log, starter);
    process.on("warning", (warning) => log.warn("Node warns", { warning }));
    const bootstrap = readBootstrap(starter.input, args);
    const request: StartRequest = {
      id: args.id,
      namespace: args.namespace,
      bundle: resolve(args.bundle),
      containerdAddress: args.address,
      debug: args.debug,
      ...bootstrap,
    };
    const placement = await place(request, args.socket, options);
    if (placement.taken || !(await listen(placement.address, request, log, options))) {
      // Another process serves this group, so this one is done.
      starter.started(bootstrap, placement.address, request.bundle);
      process.exit(0);
    }
    starter.started(bootstrap, placement.address, request.bundle);
    log.debug("serving", { address: placement.address });
  } catch (error) {
    if (!starter.present) throw error;
    log.error("the shim did not start", { error });
    starter.failed(textOf(error));
    process.exit(1);
  }
}

function prepareDaemon(log: ShimLog, starter: Starter): void {
  logStandardStreams(log);
  dieBeforeContainerd();
  for (const signal of IGNORED) process.on(signal, () => undefined);
  outliveOwnFile(log);
  process.on("uncaughtException", (error, origin) => {
    // Other listeners decide for themselves.
    if (process.listenerCount("uncaughtException") === 1) endWith(error, origin, log, starter);
  });
}

/**
 * Ends the shim after an error that nobody caught. Node would print the line of the script first, which in a packed shim is
 * longer than the pipe of the log, so that nothing of the error would arrive.
 */
function endWith(error: unknown, origin: string, log: ShimLog, starter: Starter): void {
  log.error("an error that nobody caught ends the shim", { origin, error });
  // This says nothing if the shim serves already.
  starter.failed(textOf(error));
  process.exit(1);
}

/** When memory runs out, the kernel must kill the shim and its children before containerd, whose score they inherit. */
function dieBeforeContainerd(): void {
  const file = "/proc/self/oom_score_adj";
  const inherited = Number(readFileSync(file, "utf8"));
  writeFile(file, String(Math.min(inherited + 1, 1000)));
}

/** The address of the container's shim, and whether that shim already runs. */
async function place(request: StartRequest, socket: string, options: ShimOptions) {
  if (socket !== "") return { address: `unix://${resolve(socket)}`, taken: false };
  const placement =
    checkPlacement(await options.start?.(request)) ?? groupOf(request, options.groupAnnotations);
  if (placement !== undefined && "address" in placement) return { address: placement.address, taken: true };
  const { id, namespace, containerdAddress, params } = request;
  const address = socketAddress({
    address: containerdAddress,
    namespace,
    group: placement?.group ?? id,
    folder: params?.socketDir,
  });
  return { address, taken: placement !== undefined && (await isAlive(address)) };
}

/** The group that an annotation of the container names. The launcher of a packed shim has the same rules. */
function groupOf({ bundle }: StartRequest, names: readonly string[] = []): ShimPlacement | undefined {
  // containerd writes none for the sandbox of a pod.
  if (names.length === 0 || !existsSync(join(bundle, "config.json"))) return undefined;
  const { annotations = {} } = readSpec(bundle);
  const group = annotations[names.find((name) => annotations[name] !== undefined) ?? ""];
  return group ? { group } : undefined;
}

async function isAlive(address: string): Promise<boolean> {
  try {
    const connection = await connect(address, { connectTimeoutMs: PROBE_MS });
    await connection.close();
    return true;
  } catch {
    return false;
  }
}

/** Listens and serves. Resolves to false if another shim of the group was faster. */
async function listen(
  address: string,
  request: StartRequest,
  log: ShimLog,
  options: ShimOptions,
): Promise<boolean> {
  const path = address.replace(/^unix:\/\//, "");
  makeFolder(dirname(path), 0o700);
  const { namespace } = request;
  const events = eventsAddress(request) ?? (await (await import("./log-events.js")).logEvents(log));
  const publisher = createPublisher(events, { namespace });
  let server: Server | undefined;
  const lastActions = new LastActions(log);
  let ending = false;
  const shutdown = () => {
    if (ending) return;
    ending = true;
    log.debug("shutting down");
    void shutDown(server, lastActions, publisher).finally(() => process.exit(0));
  };
  const context: ShimContext = {
    ...request,
    address,
    publisher,
    publish: publishFor(publisher, log),
    log,
    children: childrenOfProcess(),
    shutdown,
    onShutdown: lastActions.add,
  };
  server = createServer({ requireSameUser: true, interceptors: await options.createInterceptors?.(context) });
  const { deleteLeavesNothing = options.delete === undefined } = options;
  const { task: own, sandbox } = outlivingContainers({
    task: await options.createTaskService(context),
    sandbox: await options.createSandboxService?.(context),
  });
  const task = leavingAddress(own, address);
  const memory = new IdleMemory();
  addTask(server, memory.watching(Task, deleteLeavesNothing ? notingDeletes(task) : task), log);
  if (sandbox !== undefined) addSandbox(server, memory.watching(Sandbox, sandbox), log);
  await options.addServices?.(server, context);
  try {
    await server.listen(address, { mode: 0o600, reclaimStale: true });
  } catch (error) {
    const inUse = ((error as TtrpcError).cause as NodeJS.ErrnoException | undefined)?.code === "EADDRINUSE";
    if (inUse && (await isAlive(address))) return false;
    throw error;
  }
  // However this process ends; after SIGKILL, `delete` does it.
  process.on("exit", () => server.removeFiles());
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, shutdown);
  return true;
}

/**
 * Where containerd takes events. A shim started by hand has no variable for it, and uses the usual address; without
 * containerd it has none.
 */
function eventsAddress({ params, containerdAddress }: StartRequest): string | undefined {
  const address = process.env["TTRPC_ADDRESS"] || params?.containerdTtrpcAddress;
  if (address) return address;
  return containerdAddress === "" ? undefined : `${containerdAddress}.ttrpc`;
}

async function shutDown(
  server: Server | undefined,
  lastActions: LastActions,
  publisher: Publisher,
): Promise<void> {
  // A handler that never ends, or a containerd that never answers, must not keep a shim alive.
  setTimeout(() => process.exit(1), SHUTDOWN_MS);
  // Who starts a shim for this container or group now gets another.
  server?.removeFiles();
  // The end of its connections makes containerd run `delete`, which must find them done.
  await lastActions.run();
  await server?.close({ graceMs: GRACE_MS });
  await publisher.close({ graceMs: EVENTS_MS });
}

/** The `start` process that waits until this one serves, if there is one. */
class Starter {
  readonly present: boolean;
  /** Open until it has been answered. */
  #wire: number | undefined;
  readonly #log: ShimLog;
  /** What containerd wrote to its stdin. */
  readonly input: Uint8Array;

  constructor(log: ShimLog) {
    this.#log = log;
    const variable = process.env[STARTER_VARIABLE];
    // The processes that this one starts must not see it.
    delete process.env[STARTER_VARIABLE];
    this.#wire = variable === undefined ? undefined : Number(variable);
    this.present = this.#wire !== undefined;
    this.input = this.#wire === undefined ? new Uint8Array() : readFileSync(this.#wire);
  }

  /** Reports the address in the form that containerd reads, and leaves it in the bundle. */
  started(bootstrap: Bootstrap, address: string, bundle: string): void {
    if (this.#wire === undefined) return;
    writeAddress(bundle, address);
    this.#answer(STARTED, writeBootstrap(bootstrap, address, bundle));
  }

  failed(why: string): void {
    this.#answer(FAILED, Buffer.from(why));
  }

  #answer(kind: number, body: Uint8Array): void {
    const wire = this.#wire;
    this.#wire = undefined;
    if (wire === undefined) return;
    try {
      writeSync(wire, Buffer.concat([Buffer.of(kind), body]));
      closeSync(wire);
    } catch (error) {
      // containerd gave up and killed `start`, so nobody knows of this shim.
      this.#log.error("start has gone", { error });
      process.exit(1);
    }
  }
}
