import { packAny, type ServiceImpl } from "containerd-shim-protos";
import {
  TASK_CREATE_EVENT_TOPIC,
  TASK_DELETE_EVENT_TOPIC,
  TASK_EXEC_ADDED_EVENT_TOPIC,
  TASK_PAUSED_EVENT_TOPIC,
  TASK_RESUMED_EVENT_TOPIC,
  TaskCreateSchema,
  TaskDeleteSchema,
  TaskExecAddedSchema,
  TaskPausedSchema,
  TaskResumedSchema,
} from "containerd-shim-protos/events";
import { ProcessDetailsSchema } from "containerd-shim-protos/runc";
import type { ShimContext } from "containerd-shim-protos/shim";
import { Status, type Task } from "containerd-shim-protos/task/v3";
import { Cgroup } from "containerd-shim-protos/shim/cgroup";
import { Container } from "./container.js";
import { alreadyExists, notFound, unknown } from "./errors.js";
import { checkpointOptionsOf, startOptionsOf } from "./runtime-options.js";

/** The task service for the containers of one shim. */
export function createRuncService(context: ShimContext): ServiceImpl<typeof Task> {
  const containers = new Map<string, Container>();
  const { shimCgroup } = startOptionsOf(context);
  if (shimCgroup !== "") Cgroup.at(shimCgroup).add(process.pid);

  const get = (id: string): Container => {
    const container = containers.get(id);
    if (container === undefined) throw notFound("container not created");
    return container;
  };

  return {
    async create(request, { signal }) {
      const { id, bundle, rootfs, checkpoint, stdin, stdout, stderr, terminal } = request;
      if (containers.has(id)) throw alreadyExists(`container ${id}`);
      const container = new Container(context, request);
      // There from now on, so that a second Create fails and Shutdown does not end the shim.
      containers.set(id, container);
      const io = { stdin, stdout, stderr, terminal };
      try {
        await container.create(() => {
          const { pid } = container.init;
          const event = { containerId: id, bundle, rootfs, io, checkpoint, pid };
          context.publish(TASK_CREATE_EVENT_TOPIC, TaskCreateSchema, event);
        }, signal);
      } catch (error) {
        if (containers.get(id) === container) containers.delete(id);
        throw error;
      }
      return { pid: container.init.pid };
    },

    async start({ id, execId }, { signal }) {
      return { pid: await get(id).start(execId, signal) };
    },

    async delete({ id, execId }, { signal }) {
      const container = get(id);
      if (execId !== "") {
        const { pid, exit } = await container.deleteExec(execId, signal);
        return { pid, ...exit };
      }
      await container.delete(signal);
      if (containers.get(id) === container) containers.delete(id);
      const { pid, exit } = container.init;
      context.publish(TASK_DELETE_EVENT_TOPIC, TaskDeleteSchema, { containerId: id, pid, ...exit });
      return { pid, ...exit };
    },

    exec(request) {
      const { id, execId } = request;
      get(id).addExec(request);
      context.publish(TASK_EXEC_ADDED_EVENT_TOPIC, TaskExecAddedSchema, { containerId: id, execId });
      return {};
    },

    state({ id, execId }) {
      const container = get(id);
      const process = container.process(execId);
      const { pid, io, exit } = process;
      return {
        id: process.id,
        bundle: container.bundle,
        pid,
        status: container.status(execId),
        ...io,
        ...exit,
      };
    },

    async wait({ id, execId }, { signal }) {
      const process = get(id).process(execId);
      await process.wait(signal);
      return process.exit;
    },

    async kill(request, { signal }) {
      await get(request.id).kill(request, signal);
      return {};
    },

    async pause({ id }, { signal }) {
      await get(id).pause(signal);
      context.publish(TASK_PAUSED_EVENT_TOPIC, TaskPausedSchema, { containerId: id });
      return {};
    },

    async resume({ id }, { signal }) {
      await get(id).resume(signal);
      context.publish(TASK_RESUMED_EVENT_TOPIC, TaskResumedSchema, { containerId: id });
      return {};
    },

    async pids({ id }, { signal }) {
      const container = get(id);
      const execs = [...container.execs.values()];
      const processes = (await container.pids(signal)).map((pid) => {
        const exec = execs.find(({ process }) => process.pid === pid)?.process.id;
        return {
          pid,
          info: exec === undefined ? undefined : packAny(ProcessDetailsSchema, { execId: exec }),
        };
      });
      return { processes };
    },

    async checkpoint({ id, path, options }, { signal }) {
      const container = get(id);
      await container.checkpoint(path, checkpointOptionsOf(options), signal);
      return {};
    },

    async update({ id, resources }, { signal }) {
      await get(id).update(resources, signal);
      return {};
    },

    resizePty({ id, execId, width, height }) {
      const process = get(id).process(execId);
      // Of a container's first process it does nothing, as with containerd's own shim.
      if (execId !== "" && process.status === Status.STOPPED)
        throw unknown("cannot resize a stopped container");
      process.resize(width, height);
      return {};
    },

    closeIO({ id, execId, stdin }) {
      const process = get(id).process(execId);
      if (stdin) process.closeStdin();
      return {};
    },

    stats({ id }) {
      return { stats: get(id).cgroup.stats() };
    },

    connect({ id }) {
      return { shimPid: process.pid, taskPid: containers.get(id)?.init.pid ?? 0 };
    },

    shutdown() {
      if (containers.size === 0) context.shutdown();
      return {};
    },
  };
}
