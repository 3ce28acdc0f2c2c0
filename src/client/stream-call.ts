import { type AbortListener, listenToAbort, unlistenToAbort } from "../abort.js";
import type { Decode, Payload } from "../codec/payload.js";
import type { Port } from "../native/bridge.js";
import type { CallFields, PendingStream } from "../native/types.js";
import type { BatchReader } from "../native/batch-reader.js";
import { canceledError, textOf, TtrpcError } from "../error.js";
import { Code } from "../code.js";
import { MessageQueue, type QueueOwner } from "../stream/message-queue.js";
import { checkedResult, type Outgoing } from "../stream/outgoing.js";
import { SendWindow } from "../stream/send-window.js";

/** What a streaming call is made of. */
export interface StreamInit<O> {
  readonly port: Port;
  readonly route: number;
  /** The kind, as flags of the port. */
  readonly kind: number;
  readonly fields: CallFields;
  readonly signal: AbortSignal | undefined;
  /** The request of a server-streaming call. */
  readonly payload: Payload;
  /** The requests of the other kinds. */
  readonly requests: Outgoing | undefined;
  readonly decode: Decode<O>;
  /** Hears how the call ended, undefined if in order. */
  readonly settled?: (error: unknown) => void;
}

/**
 * One streaming call. It settles once, whichever comes first: the peer's end, a status, a failure, the caller's signal,
 * the reader that leaves, or a request iterable that throws.
 */
export class StreamCall<O> implements PendingStream, QueueOwner, AbortListener {
  readonly served = false;
  /** The server's messages. */
  readonly replies: MessageQueue<O>;
  /** The single response of a client-streaming call. */
  readonly response: Promise<O>;
  readonly #init: StreamInit<O>;
  readonly #window = new SendWindow();
  #resolve!: (response: O) => void;
  #reject!: (error: unknown) => void;
  #settled = false;
  /** Whether the request iterable ended, or threw: then it is not to be ended. */
  #requestsOver = false;
  slot = 0;
  generation = 0;

  /** @param connection - The engine's connection, or one that is still to come and how long it took. */
  constructor(init: StreamInit<O>, connection: number | Promise<{ id: number; waitedMs: number }>) {
    this.#init = init;
    this.replies = new MessageQueue(this, init.decode);
    this.response = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    // Whoever calls looks at one of the two; the other must not count as unhandled.
    this.response.catch(() => undefined);
    const { signal } = init;
    if (signal?.aborted) this.#settle(canceledError(signal));
    else if (typeof connection === "number") this.#start(connection, init.fields);
    else {
      connection.then(
        ({ id, waitedMs }) => this.#settled || this.#start(id, shortened(init.fields, waitedMs)),
        (error: unknown) => this.#settle(error),
      );
    }
  }

  #start(connection: number, fields: CallFields): void {
    const { port, route, kind, payload, signal, requests } = this.#init;
    try {
      port.open(connection, route, kind, fields, payload, this);
    } catch (error) {
      this.#settle(error);
      return;
    }
    if (signal !== undefined) {
      // A getter of the request may have aborted it.
      if (signal.aborted) {
        this.aborted(signal);
        return;
      }
      listenToAbort(signal, this);
    }
    if (requests !== undefined) void this.#pump(requests);
  }

  message(reader: BatchReader): void {
    this.replies.push(reader);
  }

  end(): void {
    this.#settle(undefined);
  }

  sent(messages: number, bytes: number): void {
    this.#window.sent(messages, bytes);
  }

  succeed(reader: BatchReader): void {
    try {
      this.#resolve(reader.read(this.#init.decode));
      this.#settle(undefined);
    } catch (error) {
      this.#settle(error);
    }
  }

  fail(error: TtrpcError): void {
    this.#settle(error);
  }

  aborted(signal: AbortSignal): void {
    this.#giveUp(canceledError(signal));
  }

  taken(queue: MessageQueue<unknown>): void {
    this.#init.port.noteTaken(queue);
  }

  /** The reader left. */
  abandoned(): void {
    this.#init.port.cancel(this, true);
    this.#settle(undefined);
  }

  /** Ends the call from this side. What the reader has not taken is dropped. */
  #giveUp(error: unknown): void {
    if (this.#settled) return;
    this.#init.port.cancel(this);
    if (error !== undefined) this.replies.fail(error);
    this.#settle(error);
  }

  #settle(error: unknown): void {
    if (this.#settled) return;
    this.#settled = true;
    const { signal, requests, settled } = this.#init;
    if (settled !== undefined) queueMicrotask(() => settled(error));
    if (signal !== undefined) unlistenToAbort(signal, this);
    this.#window.close();
    this.replies.end(error);
    if (error === undefined)
      this.#reject(new TtrpcError("the stream ended without a response", Code.Internal));
    else this.#reject(error);
    if (requests === undefined || this.#requestsOver) return;
    this.#requestsOver = true;
    // The generator's own code must not run while a batch is read; what it throws now concerns nobody.
    Promise.resolve()
      .then(() => requests.iterator.return?.())
      .catch(() => undefined);
  }

  async #pump({ iterator, encode }: Outgoing): Promise<void> {
    const { port } = this.#init;
    // The caller has its call before its own code runs.
    await Promise.resolve();
    try {
      for (;;) {
        // Whatever is awaited takes a turn of its own, for each message.
        const room = this.#window.room();
        if (room !== undefined) await room;
        if (this.#settled) return;
        let result: unknown;
        try {
          result = await iterator.next();
        } catch (error) {
          // As in a `for await`: an iterator that throws is over, and not to be ended.
          this.#requestsOver = true;
          throw error;
        }
        if (this.#settled) return;
        const { value, done } = checkedResult(result, "requests");
        if (done === true) break;
        this.#window.add(port.send(this, encode(value)));
      }
      this.#requestsOver = true;
      port.halfClose(this);
    } catch (cause) {
      const reason = cause instanceof TtrpcError || cause instanceof TypeError ? cause : undefined;
      const text = `the requests of the call failed: ${textOf(cause)}`;
      this.#giveUp(reason ?? new TtrpcError(text, Code.Canceled, { cause }));
    }
  }
}

/** A call's fields with the time taken off its deadline that it waited to be sent. */
export function shortened<Fields extends CallFields>(fields: Fields, waitedMs: number): Fields {
  if (fields.timeoutNs === 0) return fields;
  return { ...fields, timeoutNs: Math.max(fields.timeoutNs - waitedMs * 1e6, 1) };
}

/** A call that failed before it started. */
export function failedStream(error: unknown): {
  replies: AsyncIterableIterator<never>;
  response: Promise<never>;
} {
  const owner = { served: false, slot: 0, generation: 0, taken: () => {}, abandoned: () => {} };
  const replies = new MessageQueue<never>(owner, () => {
    throw error;
  });
  replies.end(error);
  const response = Promise.reject(error);
  response.catch(() => undefined);
  return { replies, response };
}
