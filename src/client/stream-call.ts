import type { AsyncResource } from "node:async_hooks";
import { type AbortListener, listenToAbort, unlistenToAbort } from "../abort.js";
import type { Decode, Payload } from "../codec/payload.js";
import type { CallFields, OutgoingCall, PendingStream } from "../native/types.js";
import type { CallOptions } from "./call-options.js";
import { FLAG_CLIENT_STREAM, FLAG_SERVER_STREAM } from "../native/records.js";
import type { BatchReader } from "../native/batch-reader.js";
import { callError, canceledError, ofCall, textOf, thrown, TtrpcError } from "../error.js";
import { callerContext, type CallSite, named, rejectLater } from "./call-site.js";
import { Code } from "../code.js";
import type { Place } from "./reconnect.js";
import { MessageQueue, type QueueOwner } from "../stream/message-queue.js";
import { checkedResult, leave, type Outgoing } from "../stream/outgoing.js";
import { SendWindow } from "../stream/send-window.js";
import { isInstance } from "../value-kinds.js";

/** What a connection needs to make a streaming call. */
export interface StreamInit<O> {
  readonly kind: keyof typeof STREAM_FLAGS;
  /** Finds the method's route. Throws a TypeError if a name is invalid. */
  readonly route: () => number;
  /** Makes the request of a server-streaming call. */
  readonly request?: (() => Payload) | undefined;
  /** The requests of the other kinds, not yet checked, and how each becomes a payload. */
  readonly requests?: { readonly messages: unknown; readonly encode: (message: unknown) => Payload };
  readonly options: CallOptions | undefined;
  readonly decode: Decode<O>;
}

/** The result of a streaming call: its messages, or its one response. */
export interface StreamResult<O> {
  readonly replies: AsyncIterableIterator<O>;
  readonly response: Promise<O>;
}

/** A connection that was made again, and how long a call waited for it. */
export interface Reconnected {
  readonly id: number;
  readonly waitedMs: number;
}

/** What a {@link StreamCall} is made of. */
interface StreamParts<O> {
  readonly site: CallSite;
  readonly call: OutgoingCall;
  readonly kind: keyof typeof STREAM_FLAGS;
  readonly signal: AbortSignal | undefined;
  readonly requests: Outgoing | undefined;
  readonly decode: Decode<O>;
  /** Called with how the call ended; undefined if without an error. */
  readonly settled?: ((error: unknown) => void) | undefined;
}

const STREAM_FLAGS = {
  server_streaming: FLAG_SERVER_STREAM,
  client_streaming: FLAG_CLIENT_STREAM,
  bidi_streaming: FLAG_CLIENT_STREAM | FLAG_SERVER_STREAM,
} as const;

/**
 * One streaming call. It settles once, at whichever comes first: the peer's end, a status, a failure, the caller's
 * signal, a reader that leaves, or a request iterable that throws.
 */
export class StreamCall<O> implements StreamResult<O>, PendingStream, QueueOwner, AbortListener {
  readonly served = false;
  /** The server's messages. */
  readonly replies: MessageQueue<O>;
  /** The single response of a client-streaming call. */
  readonly response: Promise<O>;
  readonly #parts: StreamParts<O>;
  readonly #place: Place<Reconnected> | undefined;
  readonly #window = new SendWindow();
  /** The caller's, in which the code of its requests runs. */
  readonly #context: AsyncResource | undefined;
  #resolve!: (response: O | Promise<never>) => void;
  #reject!: (error: unknown) => void;
  #settled = false;
  /** Whether the response has its value, or needs none. */
  #responded = false;
  /** Whether the request iterable has ended or thrown. Then its `return` must not be called. */
  #requestsOver = false;
  slot = 0;
  generation = 0;

  /** @param connection - The connection's number, or the call's place among those that wait for it. */
  constructor(connection: number | Place<Reconnected>, parts: StreamParts<O>) {
    this.#parts = parts;
    if (typeof connection !== "number") this.#place = connection;
    if (parts.requests !== undefined) this.#context = callerContext();
    this.replies = new MessageQueue(this, parts.decode);
    this.response = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    // The caller uses either the response or the replies; the other must not count as unhandled. A response that is
    // used must have no further reader, or V8 could not tell who awaits it.
    if (parts.kind !== "client_streaming") this.response.catch(() => undefined);
    const { signal, call } = parts;
    if (typeof connection !== "number") {
      connection.connection.then(
        ({ id, waitedMs }) =>
          this.#settled || this.#start(id, { ...call, fields: shortened(call.fields, waitedMs) }),
        (error: unknown) => this.#settle(error),
      );
    }
    if (signal?.aborted) this.#settle(canceledError(signal));
    else if (typeof connection === "number") this.#start(connection, call);
  }

  #start(connection: number, call: OutgoingCall): void {
    const { site, kind, signal, requests } = this.#parts;
    try {
      site.bridge.open(connection, call, STREAM_FLAGS[kind], this);
    } catch (error) {
      this.#settle(thrown(error));
      return;
    }
    if (signal !== undefined) {
      // A getter of the request may have aborted the signal.
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
      this.#resolve(reader.read(this.#parts.decode));
      this.#responded = true;
      this.#settle(undefined);
    } catch (error) {
      this.#settle(ofCall(error));
    }
  }

  fail(error: TtrpcError): void {
    this.#settle(error);
  }

  aborted(signal: AbortSignal): void {
    this.#giveUp(canceledError(signal));
  }

  taken(queue: MessageQueue<unknown>): void {
    this.#parts.site.bridge.noteTaken(queue);
  }

  undecoded(reason: unknown): unknown {
    const error = this.#named(ofCall(reason));
    this.#parts.site.bridge.defer(() => this.#giveUp(error));
    return error;
  }

  /** The reader left. That of a client-streaming call is an interceptor, which wants no response. */
  abandoned(error?: unknown): void {
    if (error !== undefined || this.#parts.kind === "client_streaming") {
      this.#giveUp(error ?? callError("an interceptor gave the call up", Code.Canceled));
      return;
    }
    this.#parts.site.bridge.cancel(this, true);
    this.#settle(undefined);
  }

  /** Ends the call from this side. What the reader has not taken is dropped. */
  #giveUp(error: unknown): void {
    if (this.#settled) return;
    this.#parts.site.bridge.cancel(this);
    if (error !== undefined) this.replies.fail(this.#named(error));
    this.#settle(error);
  }

  #settle(error: unknown): void {
    if (this.#settled) return;
    this.#settled = true;
    const { site, kind, signal, requests, settled } = this.#parts;
    this.#place?.leave();
    this.#named(error);
    if (settled !== undefined) site.bridge.defer(() => settled(error));
    unlistenToAbort(signal, this);
    this.#window.close();
    this.replies.end(error);
    if (kind !== "client_streaming") this.#reject(error);
    else if (!this.#responded) {
      const failure = error ?? this.#named(callError("the stream ended without a response", Code.Internal));
      rejectLater(this.#resolve, this.#reject, failure);
    }
    if (requests === undefined || this.#requestsOver) return;
    this.#requestsOver = true;
    this.#context?.runInAsyncScope(leave, undefined, requests.iterator);
  }

  #named(error: unknown): unknown {
    const { site, call } = this.#parts;
    return error === undefined ? undefined : named(error, site, call.route);
  }

  async #pump({ iterator, encode }: Outgoing): Promise<void> {
    const { bridge } = this.#parts.site;
    // The caller gets its call before the code of its own iterable runs.
    await Promise.resolve();
    try {
      for (;;) {
        // Await only if necessary: each await costs a microtask per message.
        const room = this.#window.room();
        if (room !== undefined) await room;
        if (this.#settled) return;
        let result: unknown;
        try {
          result = await iterator.next();
        } catch (error) {
          // As in a `for await`, an iterator that threw is over; its `return` is not called.
          this.#requestsOver = true;
          throw error;
        }
        if (this.#settled) return;
        const { value, done } = checkedResult(result, "requests");
        if (done === true) break;
        this.#window.add(bridge.send(this, encode(value)));
      }
      this.#requestsOver = true;
      bridge.halfClose(this);
    } catch (cause) {
      const reason = isInstance(cause, TtrpcError) || isInstance(cause, TypeError) ? cause : undefined;
      const text = `the requests of the call failed: ${textOf(cause)}`;
      this.#giveUp(reason ?? callError(text, Code.Canceled, { cause }));
    }
  }
}

/** A call's fields, with the time that it waited to be sent subtracted from its timeout. */
export function shortened<Fields extends CallFields>(fields: Fields, waitedMs: number): Fields {
  if (fields.timeoutNs === 0) return fields;
  return { ...fields, timeoutNs: Math.max(fields.timeoutNs - waitedMs * 1e6, 1) };
}

/** The result of a call that failed before it started. */
export function failedStream(reason: unknown): StreamResult<never> {
  const error = thrown(reason);
  const owner = {
    served: false,
    slot: 0,
    generation: 0,
    taken: () => {},
    abandoned: () => {},
    undecoded: (undecoded: unknown) => undecoded,
  };
  const replies = new MessageQueue<never>(owner, () => {
    throw error;
  });
  replies.end(error);
  const response = Promise.reject(error);
  response.catch(() => undefined);
  return { replies, response };
}
