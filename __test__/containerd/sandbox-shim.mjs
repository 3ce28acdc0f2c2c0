#!/usr/bin/env node
/** A shim for sandboxes, whose containers are processes of the host without streams. */
import { Code, TtrpcError } from "containerd-shim-protos";
import { runShim } from "containerd-shim-protos/shim";
import { startProcess } from "containerd-shim-protos/shim/process";
import { readSpec } from "containerd-shim-protos/shim/spec";
import { Status } from "containerd-shim-protos/task/v3";

/** A promise that is resolved later. */
function later() {
  const one = {};
  one.promise = new Promise((resolve) => (one.resolve = resolve));
  return one;
}

void runShim("io.containerd.sandboxed.v1", {
  createTaskService(context) {
    const tasks = new Map();
    const get = (id) => {
      const task = tasks.get(id);
      if (task === undefined) throw new TtrpcError(`there is no ${id}`, Code.NotFound);
      return task;
    };
    return {
      create({ id, bundle }) {
        tasks.set(id, { bundle, status: Status.CREATED, ...later() });
        return { pid: process.pid };
      },
      async start({ id }) {
        const task = get(id);
        const [program, ...args] = readSpec(task.bundle).process.args;
        task.child = await startProcess(program, args, { endsWithShim: true });
        task.status = Status.RUNNING;
        void task.child.exited.then(({ status }) => {
          task.status = Status.STOPPED;
          task.resolve({ exitStatus: status });
        });
        return { pid: task.child.pid };
      },
      state({ id }) {
        const { bundle, status, child } = get(id);
        return { id, bundle, status, pid: child?.pid ?? process.pid };
      },
      wait: ({ id }) => get(id).promise,
      kill({ id, signal }) {
        get(id).child.kill(signal);
        return {};
      },
      async delete({ id }) {
        const { child, promise } = get(id);
        const exit = await promise;
        tasks.delete(id);
        return { pid: child.pid, ...exit };
      },
      shutdown() {
        if (tasks.size === 0) context.shutdown();
        return {};
      },
    };
  },
  createSandboxService(context) {
    const stopped = later();
    return {
      createSandbox: () => ({}),
      startSandbox: () => ({ pid: process.pid }),
      sandboxStatus: ({ sandboxId }) => ({ sandboxId, pid: process.pid, state: "SANDBOX_READY" }),
      waitSandbox: () => stopped.promise,
      stopSandbox() {
        stopped.resolve({});
        return {};
      },
      shutdownSandbox() {
        context.shutdown();
        return {};
      },
    };
  },
});
