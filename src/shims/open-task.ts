import { shown } from "../value-kinds.js";
import { currentMs } from "../clock.js";
import { checkSignal, following } from "../abort.js";
import { type CallOptions } from "../client/call-options.js";
import type { Client } from "../client/client.js";
import { connect } from "../client/connect.js";
import type { Connection } from "../client/connection.js";
import { Code } from "../code.js";
import { TtrpcError } from "../error.js";
import { Status, type Task } from "../protos/task/v3.js";
import type { FoundTask } from "./bundles.js";
import { ANSWER_TIMEOUT_MS } from "./list.js";
import { pause } from "../pause.js";
import { checkShimOptions, type ContainerdPlaces, PLACES, placesOf } from "./places.js";
import { findTaskById, isAddress, tasksAt, type TargetOptions } from "./target.js";
import { sampleOf, type Usage, usageOf, type UsageSample } from "./usage.js";
import { findTask, limitsOf, type TaskVersion, type VersionedTask } from "./versioned-task.js";

/** Options of {@link openTask}. */
export interface OpenTaskOptions extends ContainerdPlaces {
  /** Looks only in this namespace. Needed if several namespaces have a container of this id. */
  readonly namespace?: string | undefined;
  /**
   * The container's id, if the target is an address. Default: the container whose shim has the address, unless several
   * share it.
   */
  readonly id?: string | undefined;
  /** How long the shim may take to answer, in milliseconds. Default 2 000. */
  readonly timeoutMs?: number | undefined;
  /** Aborts the attempt, which then rejects with `Canceled`. */
  readonly signal?: AbortSignal | undefined;
}

/** Options of {@link OpenTask.samples}. */
export interface SamplesOptions {
  /** How often to read, in milliseconds. Default 1 000. */
  readonly intervalMs?: number | undefined;
  /** How long the shim may take to answer, in milliseconds. Default 2 000. */
  readonly timeoutMs?: number | undefined;
  /** Ends the iteration. */
  readonly signal?: AbortSignal | undefined;
}

/** A connection to the shim of a container, made by {@link openTask}. */
export class OpenTask implements AsyncDisposable {
  /** The container's id; empty if the target was an address and it is not known which container was meant. */
  readonly id: string;
  /** The container's namespace, if the container was found in containerd's state folder; otherwise that of the options. */
  readonly namespace: string | undefined;
  /** The address of the shim. */
  readonly address: string;
  /** The version of the Task service that the shim serves. */
  readonly version: TaskVersion;
  /** A client of the Task service with the messages of version 3, whichever version the shim serves. */
  readonly client: Client<typeof Task>;
  /** The connection, for clients of other services. */
  readonly connection: Connection;
  /** The shim's process id; 0 if the shim does not say. */
  readonly shimPid: number;

  /** @internal */
  constructor(
    { id = "", namespace }: { readonly id?: string; readonly namespace?: string },
    connection: Connection,
    { version, client, connected }: VersionedTask,
  ) {
    this.id = id;
    this.namespace = namespace;
    this.address = connection.address;
    this.connection = connection;
    this.version = version;
    this.client = client;
    this.shimPid = connected?.shimPid ?? 0;
  }

  /**
   * Reads what the container has used so far, with cgroup v1 or v2.
   *
   * Rejects with a TypeError if an option is wrong, and with a {@link TtrpcError} if the call fails or its answer holds
   * no metrics of cgroups.
   */
  async usage(options: CallOptions = {}): Promise<Usage> {
    const { stats } = await this.client.stats({ id: this.id }, options);
    const usage = stats && usageOf(stats);
    if (usage !== undefined) return usage;
    const what = stats === undefined ? "nothing" : stats.typeUrl;
    throw new TtrpcError(`the shim answered ${what} for the metrics of ${this.id}`, Code.Internal);
  }

  /**
   * Reads what the container uses, at an interval, until the container has ended. The first sample comes after one
   * interval, because a rate needs two readings.
   *
   * ```ts
   * for await (const { cpuPercent, memoryBytes } of task.samples()) console.log(cpuPercent, memoryBytes);
   * ```
   *
   * Throws a TypeError if an option is wrong, and a {@link TtrpcError} if a reading fails while the container runs.
   */
  async *samples(options: SamplesOptions = {}): AsyncGenerator<UsageSample, void> {
    checkShimOptions("samples", options, ["intervalMs", "timeoutMs", "signal"]);
    const { intervalMs = 1000, timeoutMs = ANSWER_TIMEOUT_MS, signal } = options;
    checkSignal(signal);
    const limits = { timeoutMs, signal };
    const over = following(signal);
    // The shim answers when the container ends, before it may end itself. Some shims have no Wait.
    let [answered, ended] = [false, false];
    const wait = this.client.wait({ id: this.id }, { signal: over.signal }).then(
      async () => {
        answered = true;
        ended = await this.#hasEnded(limits, true);
        if (ended) over.end();
      },
      () => undefined,
    );
    try {
      let [before, at] = [await this.usage(limits), currentMs()];
      for (;;) {
        await pause(intervalMs, over.signal);
        if (over.signal.aborted) return;
        const [usage, now] = [await this.usage(limits), currentMs()];
        yield sampleOf(before, usage, (now - at) / 1000);
        [before, at] = [usage, now];
      }
    } catch (error) {
      // The connection may end together with the container.
      if (answered) await wait;
      if (ended || signal?.aborted || (await this.#hasEnded(limits, false))) return;
      throw error;
    } finally {
      over.end();
      await wait;
    }
  }

  /**
   * Whether the shim says that the container is stopped.
   *
   * @param otherwise - The answer if the shim says nothing, because it may have ended itself.
   */
  async #hasEnded(limits: CallOptions, otherwise: boolean): Promise<boolean> {
    try {
      const { status } = await this.client.state({ id: this.id }, limits);
      return status === Status.STOPPED;
    } catch {
      return otherwise;
    }
  }

  /** Closes the connection. */
  close(): Promise<void> {
    return this.connection.close();
  }

  /** Closes the connection, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/**
 * Connects to the shim of a container, and finds out which version of the Task service it serves.
 *
 * ```ts
 * await using task = await openTask("web", { namespace: "default" });
 * const { status, pid } = await task.client.state({ id: task.id });
 * ```
 *
 * Rejects with a TypeError if an argument is wrong, and with a {@link TtrpcError}: `NotFound` if there is no such
 * container, `FailedPrecondition` if the id is ambiguous or the shim does not speak ttrpc, `Unavailable` if it cannot be
 * reached.
 *
 * @param target - The address of a shim, or a container's id or the beginning of one.
 */
export async function openTask(target: string, options: OpenTaskOptions = {}): Promise<OpenTask> {
  checkShimOptions("openTask", options, [...PLACES, "namespace", "id", "timeoutMs", "signal"]);
  if (typeof target !== "string" || target === "") {
    throw new TypeError(`target must be an address or the id of a container, not ${shown(target)}`);
  }
  const { namespace, id, timeoutMs = ANSWER_TIMEOUT_MS, signal } = options;
  checkSignal(signal);
  const { state } = placesOf(options);
  const where = { state, namespace };
  const found: Partial<FoundTask> & { readonly address: string } = isAddress(target)
    ? { ...namedAt(target, id, where), address: target }
    : findTaskById(target, where);
  const limits = limitsOf(timeoutMs, signal);
  const connection = await connect(found.address, { connectTimeoutMs: timeoutMs, signal });
  try {
    const task = await findTask(connection, found.id ?? "", limits, found.version);
    return new OpenTask({ namespace, ...found }, connection, task);
  } catch (error) {
    await connection.close();
    throw error;
  }
}

/** What is known of a container, or only of its shim, by the shim's address. */
function namedAt(address: string, id: string | undefined, where: TargetOptions): Partial<FoundTask> {
  const tasks = tasksAt(address, where);
  const task = id === undefined && tasks.length === 1 ? tasks[0] : tasks.find((each) => each.id === id);
  // A shim serves all of its containers in the same version.
  return task ?? { ...(id !== undefined && { id }), version: tasks[0]?.version };
}
