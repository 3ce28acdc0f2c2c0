import { connect, connectSync, createServer } from "containerd-shim-protos";
import { createPublisher, listenEvents } from "containerd-shim-protos/events";
import { temporaryAddress } from "../helpers/temp.js";
import type { World } from "./functions.js";

/** What the functions are tried with, and how to be done with it. */
export async function makeWorld(): Promise<World & AsyncDisposable> {
  const server = createServer();
  const address = await server.listen(temporaryAddress());
  const connection = await connect(address);
  // What is right of it fails all the same: this thread serves what it would wait for.
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

/** What comes of a function: what it throws, rejects with, or throws as an iterable. Undefined if nothing is wrong. */
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
    return error ?? new Error("nothing was thrown, as an error");
  }
}
