import { transportError, type TtrpcError } from "../error.js";
import { BatchReader } from "./reader.js";
import { BATCH_SIZE, Event, FLAG_SERVED } from "./records.js";
import { Methods } from "./routes.js";
import { Slots } from "./slots.js";
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
  readonly calls = new Slots<PendingCall | PendingStream>();
  readonly methods = new Methods<MethodSink>();
  readonly connections = new Map<number, ConnectionSink>();
  readonly listeners = new Map<number, ListenerSink>();
  /** Requests that need an answer. */
  readonly requests = new Slots<ActiveRequest>();
  /** What is put off until the batch is read: requests to run, and other things to do. */
  #after: (ActiveRequest | (() => void))[] = [];

  /** `takeWhole` gives the next payload that does not lie in its record. */
  constructor(takeWhole: () => Uint8Array) {
    this.#reader = new BatchReader(BATCH_SIZE, takeWhole);
  }

  /** Where the addon puts events. */
  get bytes(): Uint8Array {
    return this.#reader.bytes;
  }

  /** Reads the events in the inbound buffer, then does what they call for. */
  read(size: number): void {
    const reader = this.#reader;
    reader.rewind();
    while (reader.next(size)) this.#event(reader);
    if (this.#after.length === 0) return;
    const after = this.#after;
    this.#after = [];
    for (const action of after) {
      if (typeof action === "function") action();
      else action.run();
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
    const { connection, call } = reader;
    switch (reader.operation) {
      case Event.Response:
      case Event.Status:
      case Event.Failed: {
        const pending = this.calls.get(call);
        if (pending === undefined) return;
        this.calls.free(call);
        this.#settle(pending);
        return;
      }
      case Event.Request: {
        const active = this.methods.get(reader.route)?.(reader);
        if (active === undefined) return;
        this.requests.set(call, active);
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
        this.#stream(reader)?.end();
        if (reader.flags !== FLAG_SERVED) this.calls.free(call);
        return;
      }
      case Event.Aborted: {
        const deadline = reader.flags === 1;
        // At once: the slot may have a new user in this very batch.
        const request = this.requests.get(call);
        this.requests.delete(call);
        if (request !== undefined) this.#after.push(() => request.abort(deadline));
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
        this.listeners.get(call)?.accepted(connection, peer);
        this.#after.push(() => this.connections.get(connection)?.accepted?.());
        return;
      }
      case Event.AcceptFailed: {
        const error = transportError("cannot accept a connection", reader.i32(), reader.string());
        this.#after.push(() => this.listeners.get(call)?.acceptFailed(error));
        return;
      }
      case Event.ListenerClosed: {
        const listener = this.listeners.get(call);
        this.listeners.delete(call);
        listener?.closed();
      }
    }
  }

  #stream({ flags, call }: BatchReader): PendingStream | ActiveRequest | undefined {
    return flags === FLAG_SERVED
      ? this.requests.get(call)
      : (this.calls.get(call) as PendingStream | undefined);
  }

  #settle(pending: PendingCall): void {
    const reader = this.#reader;
    if (reader.operation === Event.Response) pending.succeed(reader);
    else pending.fail(reader.operation === Event.Status ? reader.status() : this.#failure(reader));
  }

  #failure(reader: BatchReader): TtrpcError {
    const failure = reader.failure();
    // Where the connection failed, what it runs over may know more.
    return (reader.flags === 0 ? undefined : this.connections.get(reader.connection)?.failure?.()) ?? failure;
  }
}
