/** This package, called as users call it. */

import {
  connect,
  type ConnectOptions,
  createClient,
  createServer,
  releasePayload,
} from "containerd-shim-protos";
import { Events } from "containerd-shim-protos/events";
import { SERVICE } from "../job.js";
import type { Contender } from "./contender.js";
import { eventOf, handlersOf } from "./handlers.js";

/** This package, where a program releases each large payload that it has read. */
export const releasing = (): Contender => thisPackage({}, releasePayload);

/** This package with options of its own. */
export function thisPackage(
  options: ConnectOptions = {},
  release?: (payload: Uint8Array) => void,
): Contender {
  const handlers = handlersOf(release);
  return {
    async connect(path) {
      const connection = await connect(`unix://${path}`, options);
      const events = createClient(Events, connection);
      return {
        unary: (payload) => connection.unary(SERVICE, "Echo", payload),
        forward: (index) => events.forward(eventOf(index)),
        sink: (messages) => connection.clientStreaming(SERVICE, "Sink", messages),
        source: (request) => connection.serverStreaming(SERVICE, "Source", request),
        chat: (messages) => connection.bidiStreaming(SERVICE, "Chat", messages),
        release,
        close: () => connection.close(),
      };
    },
    async serve(path) {
      const server = createServer({ driver: options.driver, busyPollMs: options.busyPollMs });
      server.addRaw(SERVICE, {
        Echo: { kind: "unary", handle: handlers.echo },
        Sink: { kind: "client_streaming", handle: handlers.sink },
        Source: { kind: "server_streaming", handle: handlers.source },
        Chat: { kind: "bidi_streaming", handle: handlers.chat },
      });
      server.add(Events, { forward: handlers.ingest });
      await server.listen(`unix://${path}`);
    },
  };
}

/** Whether `connect` has the option `driver`. */
export function hasDrivers(): boolean {
  try {
    createServer({ driver: "none such" } as object);
    return false;
  } catch {
    return true;
  }
}
