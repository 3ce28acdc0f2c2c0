import { connect, connectSync, createServer } from "containerd-shim-protos";
import { createPublisher, listenEvents, subscribeEvents } from "containerd-shim-protos/events";
import { createTestRuntime } from "containerd-shim-protos/nri";
import { createTestShim } from "containerd-shim-protos/shim/testing";
import { openTask } from "containerd-shim-protos/shims";
import { Task } from "containerd-shim-protos/task/v3";
import { temporaryAddress } from "../helpers/temp.js";
import type { World } from "./functions.js";

/** What the functions are called with. Disposing closes it. */
export async function makeWorld(): Promise<World & AsyncDisposable> {
  const server = createServer().add(Task, { connect: () => ({}) });
  const address = await server.listen(temporaryAddress());
  const connection = await connect(address);
  // Even right calls fail on this one, because the server runs on the thread that would block.
  const syncConnection = connectSync(address);
  const sink = listenEvents(temporaryAddress());
  void (async () => {
    for await (const _ of sink);
  })();
  const publisher = createPublisher(sink.address, { namespace: "default" });
  const subscription = subscribeEvents(temporaryAddress());
  const runtime = await createTestRuntime();
  const plugin = await runtime.start("world", "10", {});
  const pod = await runtime.runPod();
  const task = await openTask(address, { id: "web" });
  const shim = await createTestShim(() => ({}));
  return {
    subscription,
    runtime,
    plugin,
    pod,
    task,
    shim,
    free: temporaryAddress,
    connection,
    syncConnection,
    publisher,
    sink,
    async [Symbol.asyncDispose]() {
      await shim.close();
      await task.close();
      await runtime.close();
      await subscription.close();
      await publisher.close({ graceMs: 0 });
      await sink.close({ graceMs: 0 });
      syncConnection.close();
      await connection.close();
      await server.close({ graceMs: 0 });
    },
  };
}

/** The error of a function: thrown, rejected with, or thrown by an iterable. Undefined if there is none. */
export async function errorOf(run: () => unknown): Promise<unknown> {
  try {
    const result = await run();
    if (typeof result === "object" && result !== null && Symbol.asyncIterator in result) {
      const iterator = (result as AsyncIterable<unknown>)[Symbol.asyncIterator]();
      await iterator.next();
      await iterator.return?.();
    }
    return undefined;
  } catch (error) {
    return error ?? new Error("undefined or null was thrown");
  }
}
