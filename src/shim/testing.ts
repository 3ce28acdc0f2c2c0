/**
 * A harness for tests of a shim. It runs the task service without containerd, and gives the test a client, the events in
 * order, and the log. It works with any test runner.
 *
 * ```ts
 * import { createTestShim } from "containerd-shim-protos/shim/testing";
 *
 * await using shim = await createTestShim(createService);
 * await shim.task.create({ id: shim.id, bundle: shim.bundle });
 * const { topic } = await shim.nextEvent();
 * ```
 *
 * @module
 */

/// <reference types="node" preserve="true" />

import { closeSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { clearTimeout, setTimeout } from "node:timers";
import type { Any } from "@bufbuild/protobuf/wkt";
import { makeSocketFolder } from "../socket-folder.js";
import { checkAny } from "../any.js";
import { type Client, createClient } from "../client/client.js";
import { connect } from "../client/connect.js";
import type { Connection } from "../client/connection.js";
import { Code } from "../code.js";
import { TtrpcError } from "../error.js";
import { type ContainerdEvent, createPublisher, type EventSink, listenEvents } from "../events/index.js";
import { checkedMs, checkOptions, LONGEST_TIMER_MS } from "../options.js";
import { Task } from "../protos/task/v3.js";
import { createServer, type Server } from "../server/server.js";
import type { MaybePromise, ServiceImpl } from "../server/service.js";
import { isPlain, isRevoked, kindOf, shown, textOf } from "../value-kinds.js";
import { LastActions } from "./last-actions.js";
import { ShimLog } from "./log.js";
import { unmountAll } from "./mount.js";
import type { ShimContext, ShimOptions } from "./options.js";
import { childrenOfProcess } from "./process.js";
import { publishFor } from "./publish.js";
import { outlivingContainers } from "./sandboxed.js";
import { addSandbox, addTask } from "./task.js";

/** Options of {@link createTestShim}. */
export interface TestShimOptions {
  /** The id in the context. Default `test`. */
  readonly id?: string | undefined;
  /** The namespace in the context. Default `default`. */
  readonly namespace?: string | undefined;
  /** What is written to the bundle as `config.json`. Nothing by default. */
  readonly spec?: object | undefined;
  /** The runtime's options in the context. */
  readonly options?: Any | undefined;
  /** Creates the sandbox service, as the option of `runShim` does. */
  createSandboxService?: ShimOptions["createSandboxService"];
  /** Creates interceptors, as the option of `runShim` does. */
  createInterceptors?: ShimOptions["createInterceptors"];
  /** Adds other services, as the option of `runShim` does. Call them over {@link TestShim.connection}. */
  addServices?: ShimOptions["addServices"];
}

/** Creates the task service under test, as `createTaskService` of `runShim` does. */
export interface CreateTaskService {
  /** Creates the service with the context of a shim. */
  (context: ShimContext): MaybePromise<ServiceImpl<typeof Task>>;
}

/** A line of a shim's log. */
export interface LogLine {
  /** How serious it is. */
  readonly level: "debug" | "info" | "warning" | "error";
  /** The message. */
  readonly message: string;
  /** The fields as text. */
  readonly fields: Readonly<Record<string, string>>;
}

const OPTIONS = [
  "id",
  "namespace",
  "spec",
  "options",
  "createSandboxService",
  "createInterceptors",
  "addServices",
] as const satisfies readonly (keyof TestShimOptions)[];

/** How long {@link TestShim.nextEvent} waits. */
const EVENT_TIMEOUT_MS = 5000;

/** A shim under test, made by {@link createTestShim}. */
export class TestShim implements AsyncDisposable {
  /** The id in the context. */
  readonly id: string;
  /**
   * The bundle: a folder of its own, with an empty `rootfs`. At the end, whatever the service has left mounted there is
   * unmounted, and the folder is removed.
   */
  readonly bundle: string;
  /** What the service was created with. */
  readonly context: ShimContext;
  /** A client of the task service. */
  readonly task: Client<typeof Task>;
  /** The connection to the shim, for clients of other services. */
  readonly connection: Connection;
  /** Resolves once the service has called `context.shutdown()`. */
  readonly shutdown: Promise<void>;
  readonly #parts: Parts;
  readonly #events: ContainerdEvent[] = [];
  readonly #collected: Promise<void>;
  readonly #unread: ContainerdEvent[] = [];
  /** Those who wait for an event, in order; undefined tells them that none will come. */
  readonly #waiting = new Set<(event: ContainerdEvent | undefined) => void>();
  #closing: Promise<void> | undefined;
  /** The log, once its file has gone. */
  #logged: readonly LogLine[] | undefined;
  #collecting = true;

  /** @internal */
  constructor(parts: Parts) {
    const { context, connection } = parts;
    this.#parts = parts;
    this.id = context.id;
    this.bundle = context.bundle;
    this.context = context;
    this.connection = connection;
    this.task = createClient(Task, connection);
    this.shutdown = parts.shutdown;
    this.#collected = this.#collect();
  }

  async #collect(): Promise<void> {
    for await (const event of this.#parts.sink) {
      this.#events.push(event);
      const [waiter] = this.#waiting;
      if (waiter === undefined) this.#unread.push(event);
      else {
        this.#waiting.delete(waiter);
        waiter(event);
      }
    }
    this.#collecting = false;
    for (const waiter of this.#waiting) waiter(undefined);
  }

  /** The events that have arrived, in order. */
  get events(): readonly ContainerdEvent[] {
    return [...this.#events];
  }

  /**
   * The next event that has not been read yet, in order. Waits for it for up to `timeoutMs` milliseconds (default 5 000),
   * and then rejects with a {@link TtrpcError} of code `DeadlineExceeded`, or of code `Canceled` if the shim is closed.
   */
  async nextEvent(options: { readonly timeoutMs?: number | undefined } = {}): Promise<ContainerdEvent> {
    checkOptions("nextEvent", options, ["timeoutMs"]);
    const { timeoutMs = EVENT_TIMEOUT_MS } = options;
    checkedMs(timeoutMs, "timeoutMs", "above 0");
    const event = this.#unread.shift();
    if (event !== undefined) return event;
    const none = "the shim was closed, and there is no other event";
    if (!this.#collecting) throw new TtrpcError(none, Code.Canceled);
    return new Promise((resolve, reject) => {
      const waiter = (arrived: ContainerdEvent | undefined) => {
        clearTimeout(timer);
        if (arrived !== undefined) resolve(arrived);
        else reject(new TtrpcError(none, Code.Canceled));
      };
      const timer = setTimeout(
        () => {
          this.#waiting.delete(waiter);
          reject(new TtrpcError(`no event arrived within ${timeoutMs} ms`, Code.DeadlineExceeded));
        },
        Math.min(timeoutMs, LONGEST_TIMER_MS),
      );
      this.#waiting.add(waiter);
    });
  }

  /** The lines that were logged so far. */
  get log(): readonly LogLine[] {
    if (this.#logged !== undefined) return this.#logged;
    return readFileSync(this.#parts.logFile, "utf8")
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => logLine(line));
  }

  /**
   * Runs the actions that the service has registered by `context.onShutdown`, delivers waiting events, and ends the
   * server and everything else. A second call returns the same promise.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    const { context, connection, server, sink, folder, logDescriptor, lastActions } = this.#parts;
    await lastActions.run();
    await context.publisher.close();
    await connection.close();
    await server.close({ graceMs: 0 });
    await sink.close();
    await this.#collected;
    this.#logged = this.log;
    context.log.end();
    closeSync(logDescriptor);
    await remove(folder);
  }

  /** Closes it, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

interface Parts {
  readonly context: ShimContext;
  readonly connection: Connection;
  readonly server: Server;
  readonly sink: EventSink;
  readonly folder: string;
  readonly logFile: string;
  readonly logDescriptor: number;
  readonly shutdown: Promise<void>;
  readonly lastActions: LastActions;
}

/**
 * Serves a task service in this process, over a socket, as `runShim` does, but without containerd: the events and the log
 * come to the test.
 *
 * ```ts
 * test("Create publishes an event", async () => {
 *   await using shim = await createTestShim(createService, { spec: { process: { args: ["true"] } } });
 *   await shim.task.create({ id: shim.id, bundle: shim.bundle });
 *   expect((await shim.nextEvent()).topic).toBe(TASK_CREATE_EVENT_TOPIC);
 *   expect(shim.log).toContainEqual(expect.objectContaining({ level: "info", message: "created" }));
 * });
 * ```
 *
 * `context.children` makes the process a child subreaper, and works on the main thread only: with vitest, use the pool
 * `forks`. `context.shutdown()` ends nothing; it only resolves `shutdown`.
 *
 * Rejects with a TypeError if an argument is wrong, and with whatever `createTaskService` throws.
 */
export async function createTestShim(
  createTaskService: CreateTaskService,
  options: TestShimOptions = {},
): Promise<TestShim> {
  if (typeof createTaskService !== "function" || isRevoked(createTaskService)) {
    throw new TypeError(`createTaskService must be a function, not ${kindOf(createTaskService)}`);
  }
  checkOptions("createTestShim", options, OPTIONS);
  const { id = "test", namespace = "default", spec, options: given } = options;
  for (const [name, value] of Object.entries({ id, namespace })) {
    if (typeof value !== "string" || value === "")
      throw new TypeError(`${name} must be a non-empty string, not ${shown(value)}`);
  }
  if (given !== undefined) checkAny(given, "options");
  const { createSandboxService, createInterceptors, addServices } = options;
  for (const [name, hook] of Object.entries({ createSandboxService, createInterceptors, addServices })) {
    if (hook !== undefined && (typeof hook !== "function" || isRevoked(hook)))
      throw new TypeError(`${name} must be a function, not ${kindOf(hook)}`);
  }
  const config = spec === undefined ? undefined : jsonOf(spec);
  const folder = makeSocketFolder("test-shim-");
  const ended: (() => unknown)[] = [() => remove(folder)];
  try {
    const logFile = join(folder, "log");
    const logDescriptor = openSync(logFile, "a");
    const log = new ShimLog(logDescriptor, true, { namespace, id });
    ended.unshift(() => {
      log.end();
      closeSync(logDescriptor);
    });
    mkdirSync(join(folder, "rootfs"), { mode: 0o711 });
    if (config !== undefined) writeFileSync(join(folder, "config.json"), config);
    const sink = listenEvents(join(folder, "events"), { requireSameUser: true });
    ended.unshift(() => sink.close());
    const publisher = createPublisher(join(folder, "events"), { namespace });
    ended.unshift(() => publisher.close({ graceMs: 0 }));
    const lastActions = new LastActions(log);
    ended.unshift(() => lastActions.run());
    let tellShutdown!: () => void;
    const shutdown = new Promise<void>((resolve) => (tellShutdown = resolve));
    const context: ShimContext = {
      id,
      namespace,
      bundle: folder,
      containerdAddress: join(folder, "containerd.sock"),
      debug: true,
      options: given,
      params: undefined,
      address: `unix://${join(folder, "shim")}`,
      publisher,
      publish: publishFor(publisher, log),
      log,
      get children() {
        return childrenOfProcess();
      },
      shutdown: tellShutdown,
      onShutdown: lastActions.add,
    };
    const interceptors = await createInterceptors?.(context);
    const server = createServer({ requireSameUser: true, interceptors });
    ended.unshift(() => server.close({ graceMs: 0 }));
    const { task, sandbox } = outlivingContainers({
      task: await createTaskService(context),
      sandbox: await createSandboxService?.(context),
    });
    addTask(server, task, log);
    if (sandbox !== undefined) addSandbox(server, sandbox, log);
    await addServices?.(server, context);
    const connection = await connect(await server.listen(context.address, { mode: 0o600 }));
    return new TestShim({
      context,
      connection,
      server,
      sink,
      folder,
      logFile,
      logDescriptor,
      shutdown,
      lastActions,
    });
  } catch (error) {
    for (const end of ended) await end();
    throw error;
  }
}

/** Removes a bundle, but nothing of what the service has left mounted there. */
async function remove(folder: string): Promise<void> {
  await unmountAll(folder, { busyTimeoutMs: 0, detach: true });
  rmSync(folder, { recursive: true, force: true });
}

/** The text of a config.json. */
function jsonOf(spec: object): string {
  if (!isPlain(spec)) throw new TypeError(`spec must be an object, not ${kindOf(spec)}`);
  try {
    return JSON.stringify(spec);
  } catch (cause) {
    throw new TypeError(`spec has no JSON: ${textOf(cause)}`, { cause });
  }
}

/** A line in the form that containerd reads, `name=value` with JSON's quotes. */
function logLine(line: string): LogLine {
  const fields: Record<string, string> = {};
  for (const [, name = "", value = ""] of line.matchAll(/([^\s=]+)=("(?:[^"\\]|\\.)*"|\S*)/g)) {
    fields[name] = value.startsWith('"') ? (JSON.parse(value) as string) : value;
  }
  const { time: _time, level, msg: message = "", ...others } = fields;
  return { level: level as LogLine["level"], message, fields: others };
}
