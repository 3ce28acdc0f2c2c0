import type { Socket } from "node:net";
import type { Sender } from "./decoder.js";
import type { Dial } from "./dial.js";
import { type Frame, FrameScanner } from "./frames.js";

/** Called with what happens on a relayed connection. */
export interface RelayEvents {
  frame(frame: Frame, from: Sender): void;
  /** One side sends bytes that are not ttrpc. They pass all the same. */
  lost(from: Sender): void;
  /** Both sides are gone. */
  closed(bytes: Readonly<Record<Sender, number>>, error?: Error): void;
}

/**
 * Passes the bytes of a connection on to another one and back, unchanged. Each side is read only as fast as the other
 * accepts, and a half-close ends only its own direction. Frames are inspected in passing.
 */
export function relay(client: Socket, dial: Dial, events: RelayEvents): void {
  const server = dial(() => {
    watch(client, "client", server);
    watch(server, "server", client);
  });
  const bytes = { client: 0, server: 0 };
  let open = 2;
  let failure: Error | undefined;
  const watch = (socket: Socket, from: Sender, other: Socket) => {
    const scanner = new FrameScanner();
    // Before the inspection, for which the bytes need not wait.
    socket.pipe(other);
    socket.on("data", (chunk: Buffer) => {
      bytes[from] += chunk.length;
      if (scanner.lost) return;
      try {
        for (const frame of scanner.push(chunk)) events.frame(frame, from);
      } catch {
        // Whatever goes wrong in the inspection, the bytes pass.
        scanner.giveUp();
      }
      if (scanner.lost) events.lost(from);
    });
  };
  for (const [socket, other] of [
    [client, server],
    [server, client],
  ] as const) {
    socket.once("error", (error) => {
      failure ??= error;
      // Over TCP, passed on as a reset: an orderly end would mean that everything had arrived.
      if (other.remoteFamily === undefined) other.destroy();
      else other.resetAndDestroy();
    });
    socket.once("close", () => {
      // A socket that closed before its end does not end the other through the pipe.
      if (!socket.readableEnded) other.destroy();
      if (--open === 0) events.closed(bytes, failure);
    });
  }
}
