import { connect, connectSync, createServer } from "containerd-shim-protos";
import { createPublisher, listenEvents } from "containerd-shim-protos/events";
import { temporaryAddress } from "../helpers/temp.js";
import type { World } from "./functions.js";

/** What the functions are called with. Disposing closes it. */
export async function makeWorld(): Promise<World & AsyncDisposable> {
  const server = createServer();
  const address = await server.listen(temporaryAddress());
  const connection = await connect(address);
  // Even right calls fail on this one, because the server runs on the thread that would block.
  const syncConnection = connectSync(address);
  const sink = listenEvents(temporaryAddress());
  void (async () => {
    for await (const _ of sink);
  })();
  const publisher = createPublisher(sink.address, { namespace: "default" });
  return {
    free: temporaryAddress,
    connection,
    syncConnection,
    publisher,
    sink,
    async [Symbol.asyncDispose]() {
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
