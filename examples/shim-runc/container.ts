import { rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Any } from "@bufbuild/protobuf/wkt";
import {
  TASK_EXEC_STARTED_EVENT_TOPIC,
  TASK_EXIT_EVENT_TOPIC,
  TASK_OOM_EVENT_TOPIC,
  TASK_START_EVENT_TOPIC,
  TaskExecStartedSchema,
  TaskExitSchema,
  TaskOOMSchema,
  TaskStartSchema,
} from "containerd-shim-protos/events";
import type { CheckpointOptions, Options } from "containerd-shim-protos/runc";
import type { AdoptedChild, ChildExit, ShimContext } from "containerd-shim-protos/shim";
import { type Process, processOf, specJson } from "containerd-shim-protos/shim/spec";
import {
  type CreateTaskRequest,
  type ExecProcessRequest,
  type KillRequest,
  Status,
} from "containerd-shim-protos/task/v3";
import { attempt, failureOf } from "./attempt.js";
import { ownsItsPids, pidFile, writeExit, writeOptions, writeProcess } from "./bundle.js";
import { checkpoint, restore } from "./checkpoint.js";
import { ContainerCgroup } from "./container-cgroup.js";
import { alreadyExists, deleted, failedPrecondition, notFound, wrongState } from "./errors.js";
import { checkExecId } from "./exec-id.js";
import { mountAll, unmountAll } from "./mounts.js";
import { ContainerProcess, killExec, type ProcessIo } from "./process.js";
import { resourcesJson } from "./resources.js";
import { criuPathOf, optionsOf } from "./runtime-options.js";
import { Runc } from "./runc.js";

const SIGKILL = 9;
/** How long Delete waits for the exit of a first process that was killed before it was started. */
const EXIT_MS = 10_000;

/** A container with its first process and those of its execs. */
export class Container {
  readonly id: string;
  readonly bundle: string;
  readonly init: ContainerProcess;
  readonly cgroup: ContainerCgroup;
  readonly execs = new Map<string, Exec>();
  readonly #context: ShimContext;
  readonly #runc: Runc;
  readonly #request: CreateTaskRequest;
  readonly #options: Options;
  readonly #ownsItsPids: boolean;
  #paused = false;
  /** What calls are answered with that have waited for their turn while this was deleted, or could not be created. */
  #gone: ((what: string) => Error) | undefined;
  /** Set when the first process has ended, before its exit is published: from then on nothing starts. */
  #initEnded = false;
  /** Settles when the exit of the first process has been published. Undefined before there is one. */
  #launched: Promise<void> | undefined;
  /** Execs whose start has begun and whose exit has not been published. */
  readonly #running = new Set<Promise<void>>();

  constructor(context: ShimContext, request: CreateTaskRequest) {
    this.#context = context;
    this.#request = request;
    this.id = request.id;
    this.bundle = request.bundle;
    this.#options = optionsOf(request.options);
    this.#ownsItsPids = ownsItsPids(request.bundle);
    this.#runc = new Runc(request.id, context.namespace, request.bundle, this.#options);
    this.cgroup = new ContainerCgroup(
      () => context.publish(TASK_OOM_EVENT_TOPIC, TaskOOMSchema, { containerId: this.id }),
      (what, error) => this.#report(what, error),
    );
    this.init = this.#process(request.id, request, pidFile(request.bundle));
  }

  #process(id: string, io: ProcessIo, file: string): ContainerProcess {
    const { ioUid: uid, ioGid: gid } = this.#options;
    return new ContainerProcess(id, io, file, { uid, gid, namespace: this.#context.namespace });
  }

  get #rootfs(): string {
    return join(this.bundle, "rootfs");
  }

  /**
   * Mounts the root filesystem and has runc create the container, whose first process then waits to be started. A Delete
   * that comes meanwhile waits, and `created` is called before anything else can happen to the container.
   */
  create(created: () => void, signal: AbortSignal): Promise<void> {
    return this.init.inTurn(async () => {
      try {
        await this.#create(this.#runc.during(signal));
      } catch (error) {
        // There is nothing to delete or to wait for.
        this.#gone = () => notFound("container not created");
        this.init.release();
        throw error;
      }
      created();
    });
  }

  /**
   * Does something with the first process or an exec, in turn. Whether that is there is looked at in its turn: what comes
   * before may delete it, or fail to create it, and nobody could reach what is started then. It is not begun, and its runc is
   * ended, when nobody waits for it any more: others wait for their turn.
   */
  #inTurn<T>(
    what: string,
    process: ContainerProcess,
    signal: AbortSignal,
    work: (runc: Runc) => Promise<T>,
  ): Promise<T> {
    return process.inTurn(async () => {
      if (this.#gone !== undefined) throw this.#gone(what);
      if (process !== this.init && this.#exec(process.id).process !== process) throw noExec(process.id);
      signal.throwIfAborted();
      return work(this.#runc.during(signal));
    });
  }

  async #create(runc: Runc): Promise<void> {
    writeOptions(this.bundle, this.#options);
    try {
      await mountAll(this.#request.rootfs, this.#rootfs);
      // What is restored from a checkpoint runs at once, so it is made by Start.
      if (this.#request.checkpoint === "") await this.#launchInit(runc);
    } catch (error) {
      await this.#try("unmount its root filesystem", () => this.#unmount());
      throw error;
    }
  }

  /** What a client has mounted there itself, it unmounts itself. */
  async #unmount(): Promise<void> {
    if (this.#request.rootfs.length > 0) await unmountAll(this.#rootfs);
  }

  async #launchInit(runc: Runc): Promise<void> {
    const { exited } = await this.#makeInit(runc);
    this.#launched = exited.then((exit) => this.#initHasEnded(exit));
    this.#launched.catch((error: unknown) => this.#report("publish its exit", error));
    await this.cgroup.find(this.init.pid);
  }

  /**
   * Has runc make the first process. If that fails after runc has succeeded or was killed, what runc has left of the container
   * is deleted: its id would be taken, and in a group nobody else clears up. What runc has refused may be another's.
   */
  async #makeInit(runc: Runc): Promise<AdoptedChild> {
    let isOurs = false;
    try {
      return await this.init.launch(this.#context.children, async (launch) => {
        await (this.#request.checkpoint === ""
          ? runc.create(launch)
          : restore(runc, this.#request, this.#options, launch));
        isOurs = true;
      });
    } catch (error) {
      if (isOurs || runc.wasKilled)
        await this.#try("delete what is left of it", () => this.#runc.delete(true));
      throw error;
    }
  }

  /** The first process, or the one of an exec. */
  process(execId: string): ContainerProcess {
    return execId === "" ? this.init : this.#exec(execId).process;
  }

  status(execId: string): Status {
    const { status } = this.process(execId);
    // Whatever is or was in a paused container is paused with it.
    return this.#paused ? Status.PAUSED : status;
  }

  /** Starts the first process or an exec, and says so before its end can be told. Resolves to the pid. */
  async start(execId: string, signal: AbortSignal): Promise<number> {
    if (execId === "") return this.#startInit(signal);
    this.#requireInit();
    return this.#startExec(this.#exec(execId), signal);
  }

  #startInit(signal: AbortSignal): Promise<number> {
    return this.#inTurn("start", this.init, signal, async (runc) => {
      this.#require("start", Status.CREATED);
      if (this.#request.checkpoint === "") await runc.start();
      else await this.#launchInit(runc);
      // It may have ended by now, and that waits for its turn.
      this.init.status = Status.RUNNING;
      const event = { containerId: this.id, pid: this.init.pid };
      this.#context.publish(TASK_START_EVENT_TOPIC, TaskStartSchema, event);
      return this.init.pid;
    });
  }

  async #startExec({ process, spec }: Exec, signal: AbortSignal): Promise<number> {
    let finish!: () => void;
    const running = new Promise<void>((resolve) => (finish = resolve));
    this.#running.add(running);
    void running.then(() => this.#running.delete(running));
    try {
      return await this.#inTurn("start", process, signal, async (runc) => {
        if (process.status !== Status.CREATED) throw wrongState("start", process.status);
        this.#requireInit();
        const { exited } = await this.#launchExec(runc, process, spec).catch((error: unknown) => {
          process.release();
          throw error;
        });
        // The first process may have ended too early to end this one.
        if (this.#initEnded && !this.#ownsItsPids) process.kill(SIGKILL);
        void exited
          .then((exit) => process.inTurn(async () => this.#processHasEnded(process, exit)))
          .finally(finish);
        process.status = Status.RUNNING;
        const event = { containerId: this.id, execId: process.id, pid: process.pid };
        this.#context.publish(TASK_EXEC_STARTED_EVENT_TOPIC, TaskExecStartedSchema, event);
        return process.pid;
      });
    } catch (error) {
      finish();
      throw error;
    }
  }

  async #launchExec(runc: Runc, process: ContainerProcess, spec: Process) {
    const file = join(this.bundle, `${process.id}.process.json`);
    const log = join(this.bundle, `${process.id}.log.json`);
    try {
      writeProcess(file, specJson(spec));
      return await process.launch(this.#context.children, (launch) => runc.exec(launch, file, log));
    } finally {
      await this.#remove(file, log);
    }
  }

  /** Adds an exec, to be started later. */
  addExec(request: ExecProcessRequest): void {
    const { execId, terminal, spec } = request;
    checkExecId(execId);
    if (this.execs.has(execId)) throw alreadyExists(`id ${execId}`);
    this.#require("exec", Status.RUNNING, Status.CREATED);
    const process = this.#process(execId, request, pidFile(this.bundle, execId));
    this.execs.set(execId, { process, spec: { ...processOf(spec), terminal } });
  }

  #exec(execId: string): Exec {
    const exec = this.execs.get(execId);
    if (exec === undefined) throw noExec(execId);
    return exec;
  }

  /** Deletes an exec that does not run. */
  deleteExec(execId: string, signal: AbortSignal): Promise<ContainerProcess> {
    const { process } = this.#exec(execId);
    return this.#inTurn("delete", process, signal, async () => {
      if (process.status === Status.RUNNING) throw wrongState("delete", process.status);
      await process.closeIo();
      await this.#remove(pidFile(this.bundle, execId));
      this.execs.delete(execId);
      process.release();
      return process;
    });
  }

  /** Deletes the container, whose first process must not run. Its exit has been published by then. */
  async delete(signal: AbortSignal): Promise<void> {
    await this.#inTurn("delete", this.init, signal, async (runc) => {
      this.#require("delete", Status.CREATED, Status.STOPPED);
      // A process that was not started is killed by this, and its streams end with it.
      const error = await failureOf(runc.delete(false));
      await this.init.closeIo();
      const busy = await failureOf(this.#unmount());
      // After a checkpoint runc has deleted it already.
      if (error !== undefined && !String(error).includes("does not exist")) throw error;
      if (busy !== undefined) throw busy;
      this.#gone = deleted;
    });
    await Promise.race([this.#launched, sleep(EXIT_MS, undefined, { ref: false })]);
    this.cgroup.close();
    this.init.release();
    await Promise.all(
      Array.from(this.execs.values(), async ({ process }) => {
        process.release();
        await process.closeIo();
      }),
    );
  }

  /** Sends a signal to a process, or to all of them. To one that is being started, it is sent once that has been. */
  async kill({ execId, signal, all }: KillRequest, given: AbortSignal): Promise<void> {
    const process = this.process(execId);
    await this.#inTurn("kill", process, given, async (runc) => {
      if (process === this.init) await runc.kill(signal, all);
      else killExec(process, signal);
    });
  }

  pause(signal: AbortSignal): Promise<void> {
    return this.#inTurn("pause", this.init, signal, async (runc) => {
      this.#require("pause", Status.RUNNING);
      await runc.pause();
      this.#paused = true;
    });
  }

  resume(signal: AbortSignal): Promise<void> {
    return this.#inTurn("resume", this.init, signal, async (runc) => {
      this.#require("resume", Status.PAUSED);
      await runc.resume();
      this.#paused = false;
    });
  }

  update(resources: Any | undefined, signal: AbortSignal): Promise<void> {
    return this.#inTurn("update", this.init, signal, async (runc) => {
      this.#require("update", Status.CREATED, Status.RUNNING, Status.PAUSED);
      await runc.update(resourcesJson(resources));
    });
  }

  checkpoint(path: string, options: CheckpointOptions, signal: AbortSignal): Promise<void> {
    return this.#inTurn("checkpoint", this.init, signal, async (runc) => {
      this.#require("checkpoint", Status.RUNNING, Status.PAUSED);
      await checkpoint(runc, this.bundle, path, options, criuPathOf(this.#options));
    });
  }

  pids(signal: AbortSignal): Promise<number[]> {
    return this.#runc.during(signal).pids();
  }

  /** The first process has ended. Its exit is the last that is published, whatever fails on the way. */
  async #initHasEnded(exit: ChildExit): Promise<void> {
    this.#initEnded = true;
    if (!this.#ownsItsPids) {
      // Nothing else ends the others: no pid namespace dies with its first process.
      await this.#try("kill its other processes", () => this.#runc.kill(SIGKILL, true));
      for (const { process } of this.execs.values()) {
        await this.#try("kill an exec", async () => process.kill(SIGKILL));
      }
    }
    await Promise.all(this.#running);
    await this.init.inTurn(async () => {
      this.#paused = false;
      await this.#try("keep how it ended", async () => writeExit(this.bundle, exit));
      await this.#processHasEnded(this.init, exit);
    });
  }

  async #processHasEnded(process: ContainerProcess, exit: ChildExit): Promise<void> {
    await this.#try("look for OOM kills", async () => this.cgroup.look());
    process.ended(exit);
    // A client may stop reading once it hears of the exit.
    await process.flush();
    process.closeTerminal();
    this.#context.publish(TASK_EXIT_EVENT_TOPIC, TaskExitSchema, {
      containerId: this.id,
      id: process.id,
      pid: process.pid,
      ...process.exit,
    });
    process.release();
  }

  #requireInit(): void {
    if (this.#initEnded) throw failedPrecondition(`container ${this.id} init process is not running`);
  }

  #require(what: string, ...statuses: Status[]): void {
    const status = this.status("");
    if (!statuses.includes(status)) throw wrongState(what, status);
  }

  /** Does something whose failure must keep nothing else from being done. */
  async #try(what: string, work: () => Promise<unknown>): Promise<void> {
    await attempt(work, (error) => this.#report(what, error));
  }

  /** Removes files that nobody needs any more. They go with the bundle at the latest. */
  async #remove(...files: string[]): Promise<void> {
    // Node's promises need threads, and Node aborts where it may have none.
    await this.#try("remove files", async () => files.forEach((file) => rmSync(file, { force: true })));
  }

  #report(what: string, error: unknown): void {
    this.#context.log.error(`could not ${what}`, { container: this.id, error });
  }
}

/** A process that was or will be run in a container, and how. */
interface Exec {
  readonly process: ContainerProcess;
  readonly spec: Process;
}

const noExec = (execId: string) => notFound(`process does not exist ${execId}`);
