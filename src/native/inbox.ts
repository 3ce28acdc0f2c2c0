import { SLAB_OWNERS } from "../codec/slab.js";
import { throwLater, type TtrpcError } from "../error.js";
import { BatchReader } from "./batch-reader.js";
import { BATCH_SIZE, Event, FLAG_SERVED } from "./records.js";
import { ServedMethods } from "./routes.js";
import { CallSlots, type Named, RequestSlots } from "./slots.js";
import type {
  ActiveRequest,
  ConnectionObserver,
  ListenerObserver,
  RequestReceiver,
  PendingCall,
  PendingStream,
} from "./types.js";

/**
 * Reads the events of a bridge and delivers them.
 *
 * While a batch is read, no user code runs: promises are settled, whose reactions run later, and everything else goes
 * through {@link Inbox.defer} until the buffer is free. So user code may use the bridge at any time.
 */
export class Inbox {
  readonly #reader: BatchReader;
  readonly calls = new CallSlots<PendingCall | PendingStream>();
  readonly methods = new ServedMethods<RequestReceiver>();
  readonly connections = new Map<number, ConnectionObserver>();
  readonly listeners = new Map<number, ListenerObserver>();
  /** Requests that still need an answer. */
  readonly requests = new RequestSlots<ActiveRequest>();
  /** Deferred until the batch has been read: requests to run, and other actions. */
  #after: (ActiveRequest | (() => void))[] = [];
  #reading = false;

  readonly #forget: (request: Readonly<Named>) => void;

  /**
   * `takeWhole` returns the next payload that crossed whole; `forget` is called for a request that was answered
   * and aborted at the same time.
   */
  constructor(takeWhole: () => Uint8Array, forget: (request: Readonly<Named>) => void) {
    this.#forget = forget;
    this.#reader = new BatchReader(BATCH_SIZE, takeWhole);
  }

  /** The buffer into which the addon writes events. */
  get bytes(): Uint8Array {
    return this.#reader.bytes;
  }

  /**
   * Reads the events in the inbound buffer, then runs the actions that they deferred. If one throws, the others still
   * take effect, and the error is rethrown on its own, for the process to see.
   */
  read(size: number): void {
    const reader = this.#reader;
    this.#reading = true;
    reader.isCrowded = this.requests.held >= SLAB_OWNERS;
    reader.rewind();
    while (reader.next(size)) {
      try {
        this.#event(reader);
      } catch (error) {
        throwLater(error);
      }
    }
    this.#reading = false;
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

  /** Whether nothing is in the buffer that must still be read. */
  get isEmpty(): boolean {
    return !this.#reading;
  }

  /** See {@link Bridge.defer}. */
  defer(action: () => void): void {
    if (this.#reading) this.#after.push(action);
    else void Promise.resolve().then(action).catch(throwLater);
  }

  /** Settles a blocking call with the only event in the buffer. */
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
          // The answer and this event crossed each other.
          this.defer(() => this.#forget({ slot, generation }));
          return;
        }
        // At once: the slot may get a new user in this batch.
        this.requests.aborted(request);
        this.defer(() => request.abort(deadline));
        return;
      }
      case Event.Connected:
        this.defer(() => this.connections.get(connection)?.connected?.());
        return;
      case Event.Closed: {
        const why = reader.closed();
        this.defer(() => {
          const observer = this.connections.get(connection);
          this.connections.delete(connection);
          observer?.closed(why);
        });
        return;
      }
      case Event.Accepted: {
        const peer =
          reader.flags === 1 ? { pid: reader.i32(), uid: reader.u32(), gid: reader.u32() } : undefined;
        // At once: the batch may go on with a request of this connection.
        this.listeners.get(slot)?.accepted(connection, peer);
        this.defer(() => this.connections.get(connection)?.accepted?.());
        return;
      }
      case Event.AcceptFailed: {
        const [errno, text] = [reader.i32(), reader.string()];
        this.defer(() => this.listeners.get(slot)?.acceptFailed(errno, text));
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
    const failure = reader.failure();
    if (reader.flags === 0) return failure;
    // If the connection failed, the transport under it may know more.
    return this.connections.get(reader.connection)?.failure?.() ?? failure;
  }
}
