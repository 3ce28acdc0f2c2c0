import { connect, type NetConnectOpts, type Socket } from "node:net";
import type { Sender } from "./decoder.js";
import { type Frame, FrameScanner } from "./frames.js";

/** What a relay tells of the connection that it passes through. */
export interface RelayEvents {
  frame(frame: Frame, from: Sender): void;
  /** A side sends bytes that are not ttrpc, which pass all the same. */
  lost(from: Sender): void;
  /** Both sides are gone. */
  closed(bytes: Readonly<Record<Sender, number>>, error?: Error): void;
}

/**
 * Passes the bytes of a connection to another one and back, as they are: each side is read only as fast as the other
 * takes it, and an end of one direction is the end of that direction only. Frames are looked at in passing.
 */
export function relay(client: Socket, target: NetConnectOpts, events: RelayEvents): void {
  const server = connect({ ...target, allowHalfOpen: true });
  const bytes = { client: 0, server: 0 };
  let open = 2;
  let failure: Error | undefined;
  const watch = (socket: Socket, from: Sender, other: Socket) => {
    const scanner = new FrameScanner();
    socket.on("data", (chunk: Buffer) => {
      bytes[from] += chunk.length;
      if (scanner.lost) return;
      try {
        for (const frame of scanner.push(chunk)) events.frame(frame, from);
      } catch {
        // Whatever goes wrong with looking, the bytes pass.
        scanner.giveUp();
      }
      if (scanner.lost) events.lost(from);
    });
    socket.pipe(other);
  };
  for (const [socket, other] of [
    [client, server],
    [server, client],
  ] as const) {
    socket.once("error", (error) => {
      failure ??= error;
      // Passed on as a reset, which TCP has: an orderly end would tell the other side that all had arrived.
      if (other.remoteFamily === undefined) other.destroy();
      else other.resetAndDestroy();
    });
    socket.once("close", () => {
      // One that did not come to its end has nothing to hand over.
      if (!socket.readableEnded) other.destroy();
      if (--open === 0) events.closed(bytes, failure);
    });
  }
  server.once("connect", () => {
    watch(client, "client", server);
    watch(server, "server", client);
  });
}
