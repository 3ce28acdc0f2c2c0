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
import { type AdoptedChild, type ShimContext, timestampFromDate } from "containerd-shim-protos/shim";
import { openStdio, type Stdio } from "containerd-shim-protos/shim/io";
import { startProcess } from "containerd-shim-protos/shim/process";
import { readSpec } from "containerd-shim-protos/shim/spec";
import { type CreateTaskRequest, Status, type Task } from "containerd-shim-protos/task/v3";

/** The state from Create to Delete. */
interface Process {
  readonly request: CreateTaskRequest;
  readonly stdio: Stdio;
  readonly exited: Promise<Exit>;
  readonly tellExit: (exit: Exit) => void;
  child?: AdoptedChild;
  /** 0 until the process has been started: only then do clients delete a container whose program cannot be started. */
  pid: number;
  status: Status;
  exit?: Exit;
}

interface Exit {
  readonly exitStatus: number;
  readonly exitedAt: Timestamp;
}

/** The task service for one process. */
export function createSkeleton({ namespace, publish, shutdown }: ShimContext): ServiceImpl<typeof Task> {
  let process_: Process | undefined;

  const get = (): Process => {
    if (process_ === undefined) throw new TtrpcError("there is no task", Code.NotFound);
    return process_;
  };

  return {
    async create(request) {
      const { id, bundle, terminal } = request;
      if (terminal) throw new TtrpcError("there are no terminals", Code.Unimplemented);
      // Not in start: CloseIO may come before it.
      const stdio = await openStdio(request, { id, namespace });
      let tellExit!: (exit: Exit) => void;
      const exited = new Promise<Exit>((resolve) => (tellExit = resolve));
      process_ = { request, stdio, exited, tellExit, pid: 0, status: Status.CREATED };
      publish(TASK_CREATE_EVENT_TOPIC, TaskCreateSchema, { containerId: id, bundle });
      return {};
    },
    async start({ id }) {
      const task = get();
      if (task.child !== undefined) {
        throw new TtrpcError("the process has been started already", Code.FailedPrecondition);
      }
      const { stdio, request } = task;
      const {
        args: [program = "", ...args] = [],
        env = [],
        cwd = "/",
      } = readSpec(request.bundle).process ?? {};
      const child = await startProcess(program, args, {
        cwd,
        env: Object.fromEntries(env.map((entry) => entry.split(/=(.*)/s, 2))),
        stdio: stdio.descriptors,
        // Otherwise it lives on if the shim is killed.
        endsWithShim: true,
      });
      stdio.handedOver();
      const { pid } = child;
      Object.assign(task, { child, pid, status: Status.RUNNING });
      publish(TASK_START_EVENT_TOPIC, TaskStartSchema, { containerId: id, pid });
      void child.exited.then(async ({ status: exitStatus, exitedAt }) => {
        // A client may stop reading once it hears of the exit.
        await stdio.flush();
        stdio.close();
        const exit = { exitStatus, exitedAt: timestampFromDate(exitedAt) };
        Object.assign(task, { exit, status: Status.STOPPED });
        publish(TASK_EXIT_EVENT_TOPIC, TaskExitSchema, { containerId: id, id, pid, ...exit });
        task.tellExit(exit);
      });
      return { pid };
    },
    state() {
      const { request, pid, status, exit } = get();
      const { id, bundle, stdin, stdout, stderr } = request;
      return { id, bundle, stdin, stdout, stderr, pid, status, ...exit };
    },
    kill({ signal }) {
      const { child } = get();
      if (child === undefined) {
        throw new TtrpcError("the process has not been started", Code.FailedPrecondition);
      }
      if (!child.kill(signal)) throw new TtrpcError("the process has ended", Code.NotFound);
      return {};
    },
    closeIO() {
      get().stdio.closeStdin();
      return {};
    },
    wait: async () => get().exited,
    delete({ id }) {
      const { child, stdio, pid, exit, status } = get();
      if (status === Status.RUNNING) throw new TtrpcError("the process is running", Code.FailedPrecondition);
      if (child === undefined) stdio.abandon();
      process_ = undefined;
      publish(TASK_DELETE_EVENT_TOPIC, TaskDeleteSchema, { containerId: id, pid, ...exit });
      return { pid, ...exit };
    },
    shutdown() {
      if (process_ === undefined) shutdown();
      return {};
    },
  };
}
