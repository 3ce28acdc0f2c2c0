import { transportError, type TtrpcError, withoutFrames } from "../error.js";
import { BatchReader } from "./reader.js";
import { BATCH_SIZE, Event, FLAG_SERVED } from "./records.js";
import { Methods } from "./routes.js";
import { CallSlots, type Named, RequestSlots } from "./slots.js";
import type {
  ActiveRequest,
  ConnectionSink,
  ListenerSink,
  MethodSink,
  PendingCall,
  PendingStream,
} from "./types.js";

/**
 * The events of a port, and who hears of them.
 *
 * While a batch is read, no code of the user runs: promises are settled (their reactions run later) and everything
 * else is put off until the buffer is free. So a user's code may call back into the port at any time.
 */
export class Inbox {
  readonly #reader: BatchReader;
  readonly calls = new CallSlots<PendingCall | PendingStream>();
  readonly methods = new Methods<MethodSink>();
  readonly connections = new Map<number, ConnectionSink>();
  readonly listeners = new Map<number, ListenerSink>();
  /** Requests that need an answer. */
  readonly requests = new RequestSlots<ActiveRequest>();
  /** What is put off until the batch is read: requests to run, and other things to do. */
  #after: (ActiveRequest | (() => void))[] = [];

  readonly #letGo: (request: Readonly<Named>) => void;

  /**
   * `takeWhole` gives the next payload that does not lie in its record; `letGo` is told of a request that was aborted and of
   * which nothing is held.
   */
  constructor(takeWhole: () => Uint8Array, letGo: (request: Readonly<Named>) => void) {
    this.#letGo = letGo;
    this.#reader = new BatchReader(BATCH_SIZE, takeWhole);
  }

  /** Where the addon puts events. */
  get bytes(): Uint8Array {
    return this.#reader.bytes;
  }

  /**
   * Reads the events in the inbound buffer, then does what they call for. What throws costs no other event its effect:
   * the error is thrown again by itself, for the process to see.
   */
  read(size: number): void {
    const reader = this.#reader;
    reader.rewind();
    while (reader.next(size)) {
      try {
        this.#event(reader);
      } catch (error) {
        throwLater(error);
      }
    }
    if (this.#after.length === 0) return;
    const after = this.#after;
    this.#after = [];
    for (const action of after) {
      try {
        if (typeof action === "function") action();
        else action.run();
      } catch (error) {
        throwLater(error);
      }
    }
  }

  /** Settles a call with the only event there is. */
  settle(size: number, pending: PendingCall): void {
    const reader = this.#reader;
    reader.rewind();
    reader.next(size);
    this.#settle(pending);
  }

  #event(reader: BatchReader): void {
    const { connection, slot, generation } = reader;
    switch (reader.operation) {
      case Event.Response:
      case Event.Status:
      case Event.Failed: {
        const pending = this.calls.get(slot, generation);
        if (pending === undefined) return;
        this.calls.delete(pending);
        this.#settle(pending);
        return;
      }
      case Event.Request: {
        const active = this.methods.get(reader.route)?.(reader);
        if (active === undefined) return;
        this.requests.add(active);
        this.#after.push(active);
        return;
      }
      case Event.Message:
        this.#stream(reader)?.message(reader);
        return;
      case Event.Sent:
        this.#stream(reader)?.sent(reader.u32(), reader.u32());
        return;
      case Event.End: {
        const stream = this.#stream(reader);
        if (stream === undefined) return;
        if (reader.flags !== FLAG_SERVED) this.calls.delete(stream as PendingStream);
        stream.end();
        return;
      }
      case Event.Aborted: {
        const deadline = reader.flags === 1;
        const request = this.requests.get(slot, generation);
        if (request === undefined) {
          // Its answer and this crossed.
          this.#after.push(() => this.#letGo({ slot, generation }));
          return;
        }
        // At once: the slot may have a new user in this very batch.
        this.requests.delete(request);
        this.#after.push(() => request.abort(deadline));
        return;
      }
      case Event.Connected:
        this.#after.push(() => this.connections.get(connection)?.connected?.());
        return;
      case Event.Closed: {
        const why = reader.closed();
        this.#after.push(() => {
          const sink = this.connections.get(connection);
          this.connections.delete(connection);
          sink?.closed(why);
        });
        return;
      }
      case Event.Accepted: {
        const peer =
          reader.flags === 1 ? { pid: reader.i32(), uid: reader.u32(), gid: reader.u32() } : undefined;
        // At once: a request of it may be next in the batch.
        this.listeners.get(slot)?.accepted(connection, peer);
        this.#after.push(() => this.connections.get(connection)?.accepted?.());
        return;
      }
      case Event.AcceptFailed: {
        const error = transportError("cannot accept a connection", reader.i32(), reader.string());
        this.#after.push(() => this.listeners.get(slot)?.acceptFailed(error));
        return;
      }
      case Event.ListenerClosed: {
        const listener = this.listeners.get(slot);
        this.listeners.delete(slot);
        listener?.closed();
      }
    }
  }

  #stream({ flags, slot, generation }: BatchReader): PendingStream | ActiveRequest | undefined {
    return flags === FLAG_SERVED
      ? this.requests.get(slot, generation)
      : (this.calls.get(slot, generation) as PendingStream | undefined);
  }

  #settle(pending: PendingCall): void {
    const reader = this.#reader;
    if (reader.operation === Event.Response) pending.succeed(reader);
    else pending.fail(reader.operation === Event.Status ? reader.status() : this.#failure(reader));
  }

  #failure(reader: BatchReader): TtrpcError {
    if (reader.flags === 0) return reader.failure();
    const failure = withoutFrames(() => reader.failure());
    // Where the connection failed, what it runs over may know more.
    return this.connections.get(reader.connection)?.failure?.() ?? failure;
  }
}

/** Nobody here can deal with an error of code that was called; it must be seen all the same. */
function throwLater(error: unknown): void {
  queueMicrotask(() => {
    throw error;
  });
}
