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
import { checkpointOptionsOf, optionsOf } from "./runtime-options.js";

/** The task service for the containers of one shim. */
export function createRuncService(context: ShimContext): ServiceImpl<typeof Task> {
  const containers = new Map<string, Container>();
  const { shimCgroup } = optionsOf(context.options);
  if (shimCgroup !== "") Cgroup.at(shimCgroup).add(process.pid);

  const get = (id: string): Container => {
    const container = containers.get(id);
    if (container === undefined) throw notFound("container not created");
    return container;
  };

  return {
    async create(request) {
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
        });
      } catch (error) {
        if (containers.get(id) === container) containers.delete(id);
        throw error;
      }
      return { pid: container.init.pid };
    },

    async start({ id, execId }) {
      return { pid: await get(id).start(execId) };
    },

    async delete({ id, execId }) {
      const container = get(id);
      if (execId !== "") {
        const { pid, exit } = await container.deleteExec(execId);
        return { pid, ...exit };
      }
      await container.delete();
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

    async wait({ id, execId }) {
      const process = get(id).process(execId);
      await process.waited;
      return process.exit;
    },

    async kill({ id, execId, signal, all }) {
      await get(id).kill(execId, signal, all);
      return {};
    },

    async pause({ id }) {
      await get(id).pause();
      context.publish(TASK_PAUSED_EVENT_TOPIC, TaskPausedSchema, { containerId: id });
      return {};
    },

    async resume({ id }) {
      await get(id).resume();
      context.publish(TASK_RESUMED_EVENT_TOPIC, TaskResumedSchema, { containerId: id });
      return {};
    },

    async pids({ id }) {
      const container = get(id);
      const execs = [...container.execs.values()];
      const processes = (await container.pids()).map((pid) => {
        const exec = execs.find(({ process }) => process.pid === pid)?.process.id;
        return {
          pid,
          info: exec === undefined ? undefined : packAny(ProcessDetailsSchema, { execId: exec }),
        };
      });
      return { processes };
    },

    async checkpoint({ id, path, options }) {
      const container = get(id);
      await container.checkpoint(path, checkpointOptionsOf(options));
      return {};
    },

    async update({ id, resources }) {
      await get(id).update(resources);
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
      return { stats: get(id).stats() };
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
