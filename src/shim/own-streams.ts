import type { Socket } from "node:net";
import type { Readable, Writable } from "node:stream";
import { socketOf } from "../native/socket.js";
import { fulfilledWithin } from "../pause.js";

/** The process's ends of its streams, as Node streams. Made by {@link Stdio.streams}. */
export interface StdioStreams {
  /** What containerd's client writes; undefined if there is no input. */
  readonly stdin: Readable | undefined;
  /** Undefined if there is no such output. */
  readonly stdout: Writable | undefined;
  /** Undefined if there is no such output, as with a terminal. */
  readonly stderr: Writable | undefined;
}

/** Streams that this process has in place of another. It owns their descriptors. */
export class OwnStreams implements StdioStreams {
  readonly stdin: Socket | undefined;
  readonly stdout: Socket | undefined;
  readonly stderr: Socket | undefined;

  /** Takes over each end as soon as it has called `release` with it. Throws if Node makes no socket of it. */
  constructor(
    [stdin, stdout, stderr]: readonly (number | "ignore" | undefined)[],
    release: (end: number) => number,
  ) {
    const streamOf = (end: number | "ignore" | undefined, readable: boolean) =>
      typeof end === "number" ? newSocket(release(end), readable) : undefined;
    try {
      this.stdin = streamOf(stdin, true);
      this.stdout = streamOf(stdout, false);
      this.stderr = streamOf(stderr, false);
    } catch (error) {
      this.destroy();
      throw error;
    }
  }

  /** Resolves once what has been written so far has left for the outputs, or when the time is up. */
  async flush(milliseconds: number): Promise<void> {
    const written = this.#outputs.map((output) => {
      if (output.writableEnded || output.destroyed) return closed(output);
      return new Promise<void>((resolve) => output.write("", () => resolve()));
    });
    await fulfilledWithin(Promise.all(written), milliseconds);
  }

  /** Ends all of them. Resolves once what has been written has left for the outputs, or when the time is up. */
  async end(milliseconds: number): Promise<void> {
    this.stdin?.destroy();
    for (const output of this.#outputs) output.end();
    await fulfilledWithin(Promise.all(this.#outputs.map(closed)), milliseconds);
    this.destroy();
  }

  /** Ends all of them at once. */
  destroy(): void {
    for (const stream of [this.stdin, ...this.#outputs]) stream?.destroy();
  }

  get #outputs(): Socket[] {
    return [this.stdout, this.stderr].filter((output) => output !== undefined);
  }
}

function newSocket(end: number, readable: boolean): Socket {
  const socket = socketOf(end, { readable, writable: !readable });
  // A logging program may go. To a process that is a signal, which must not end the shim.
  socket.on("error", () => undefined);
  return socket;
}

function closed(socket: Socket): Promise<void> {
  return new Promise((resolve) => (socket.closed ? resolve() : socket.once("close", () => resolve())));
}
