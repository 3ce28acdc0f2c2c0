import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { constants } from "node:os";
import type { Writable } from "node:stream";
import type { Timestamp } from "@bufbuild/protobuf/wkt";
import { Code, type ServiceImpl, TtrpcError } from "containerd-shim-protos";
import {
  TASK_CREATE_EVENT_TOPIC,
  TASK_DELETE_EVENT_TOPIC,
  TASK_EXIT_EVENT_TOPIC,
  TASK_START_EVENT_TOPIC,
  TaskCreateSchema,
  TaskDeleteSchema,
  TaskExitSchema,
  TaskStartSchema,
} from "containerd-shim-protos/events";
import { type ShimContext, timestampFromDate } from "containerd-shim-protos/shim";
import { openStdio, type Stdio } from "containerd-shim-protos/shim/io";
import { readSpec } from "containerd-shim-protos/shim/spec";
import { type CreateTaskRequest, type KillRequest, Status, type Task } from "containerd-shim-protos/task/v3";

/** The state from Create to Delete. */
interface Process {
  readonly request: CreateTaskRequest;
  readonly child: ChildProcess;
  readonly pid: number;
  readonly stdio: Stdio;
  readonly exited: Promise<Exit>;
  status: Status;
  exit?: Exit;
}

interface Exit {
  readonly exitStatus: number;
  readonly exitedAt: Timestamp;
}

/** Arguments for a shell that waits for a line, and then becomes the program. */
const HELD = ["-c", 'read -r _ <&3 && exec "$@" 3<&-', "sh"];

/** The task service for one process. */
export function createSkeleton({ namespace, publish, shutdown }: ShimContext): ServiceImpl<typeof Task> {
  let process_: Process | undefined;

  const get = (): Process => {
    if (process_ === undefined) throw new TtrpcError("there is no task", Code.NotFound);
    return process_;
  };

  return {
    async create(request) {
      const { id, bundle } = request;
      const { args = [], env = [], cwd = "/" } = readSpec(bundle).process ?? {};
      const stdio = await openStdio(request, { id, namespace });
      const child = spawn("/bin/sh", [...HELD, ...args], {
        cwd,
        env: Object.fromEntries(env.map((entry) => entry.split(/=(.*)/s, 2))),
        stdio: [...stdio.descriptors, "pipe"],
      });
      try {
        await once(child, "spawn");
      } catch (error) {
        stdio.abandon();
        throw new TtrpcError(`cannot run a shell in ${cwd}: ${(error as Error).message}`, Code.Unknown);
      }
      stdio.handedOver();
      const { pid = 0 } = child;
      const exited = once(child, "exit").then(async ([code, signal]): Promise<Exit> => {
        // A client may stop reading once it hears of the exit.
        await stdio.flush();
        stdio.close();
        const exitStatus = (code as number | null) ?? 128 + constants.signals[signal as NodeJS.Signals];
        const exit = { exitStatus, exitedAt: timestampFromDate(new Date()) };
        Object.assign(get(), { exit, status: Status.STOPPED });
        publish(TASK_EXIT_EVENT_TOPIC, TaskExitSchema, { containerId: id, id, pid, ...exit });
        return exit;
      });
      process_ = { request, child, pid, stdio, exited, status: Status.CREATED };
      publish(TASK_CREATE_EVENT_TOPIC, TaskCreateSchema, { containerId: id, bundle, pid });
      return { pid };
    },
    start({ id }) {
      const { child, pid, status } = get();
      if (status !== Status.CREATED) {
        throw new TtrpcError("the process has been started already", Code.FailedPrecondition);
      }
      (child.stdio[3] as Writable).end("\n");
      get().status = Status.RUNNING;
      publish(TASK_START_EVENT_TOPIC, TaskStartSchema, { containerId: id, pid });
      return { pid };
    },
    state() {
      const { request, pid, status, exit } = get();
      const { id, bundle, stdin, stdout, stderr, terminal } = request;
      return { id, bundle, stdin, stdout, stderr, terminal, pid, status, ...exit };
    },
    pids: () => ({ processes: [{ pid: get().pid }] }),
    kill({ signal }: KillRequest) {
      if (!get().child.kill(signal)) throw new TtrpcError("the process has ended", Code.NotFound);
      return {};
    },
    closeIO() {
      get().stdio.closeStdin();
      return {};
    },
    wait: async () => get().exited,
    connect: () => ({ shimPid: process.pid, taskPid: process_?.pid ?? 0 }),
    async delete({ id }) {
      const { child, pid, exit, status } = get();
      if (status === Status.RUNNING) throw new TtrpcError("the process is running", Code.FailedPrecondition);
      child.kill("SIGKILL");
      const ended = exit ?? (await get().exited);
      process_ = undefined;
      publish(TASK_DELETE_EVENT_TOPIC, TaskDeleteSchema, { containerId: id, pid, ...ended });
      return { pid, ...ended };
    },
    shutdown() {
      if (process_ === undefined) shutdown();
      return {};
    },
  };
}
