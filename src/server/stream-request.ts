import { Code } from "../code.js";
import { bytesOf, type Decode, type Payload } from "../codec/payload.js";
import { TtrpcError } from "../error.js";
import { serverStreams } from "../interceptor.js";
import type { BatchReader } from "../native/batch-reader.js";
import type { IncomingRequest } from "../native/types.js";
import { Opened } from "../opened.js";
import { MessageQueue, type QueueOwner } from "../stream/message-queue.js";
import { checkedResult, iteratorOf, leave, responsesOf, wrongResponses } from "../stream/outgoing.js";
import { SendWindow } from "../stream/send-window.js";
import type { AbortReason, ServerConnection } from "./context.js";
import { type RequestHost, RunningRequest, type Served } from "./running-request.js";

/** A request of any streaming kind. Its messages arrive after it. */
export class StreamRequest extends RunningRequest implements QueueOwner {
  readonly served = true;
  readonly #requests: MessageQueue<unknown>;
  readonly #window = new SendWindow();
  /** The iterator of the handler's messages, until it has ended or was told to end. */
  #responses: AsyncIterator<unknown> | Iterator<unknown> | undefined;
  /** Resolves when the iterator's `return` has finished. */
  #tidied: Promise<void> | undefined;
  /** What interceptors open. */
  readonly #opened: Opened | undefined;
  #aborted = false;

  constructor(host: RequestHost, method: Served, request: IncomingRequest, connection: ServerConnection) {
    super(host, method, request, connection);
    const { kind, decode } = method;
    this.#requests = new MessageQueue(this, kind === "server_streaming" ? this.#kept(decode) : decode);
    if (method.intercepted !== undefined && serverStreams(kind)) this.#opened = new Opened();
  }

  /** Decodes the only request of a call. */
  #kept(decode: Decode<unknown>): Decode<unknown> {
    return (...part) => {
      this.decoding();
      let isKept = false;
      try {
        const request = decode(...part);
        isKept = true;
        return request;
      } finally {
        this.decoded(isKept);
      }
    };
  }

  override message(reader: BatchReader): void {
    this.#requests.push(reader);
  }

  override end(): void {
    this.#requests.end();
  }

  override sent(messages: number, bytes: number): void {
    this.#window.sent(messages, bytes);
  }

  taken(queue: MessageQueue<unknown>): void {
    this.bridge.noteTaken(queue);
  }

  undecoded(error: unknown): unknown {
    return error;
  }

  /** The handler wants no more messages. Any that still arrive are dropped; the call continues. */
  abandoned(): void {}

  protected override tell(why: AbortReason): void {
    super.tell(why);
    if (this.#aborted) return;
    this.#aborted = true;
    // Also wakes a handler that waits for a message or for room, whether or not it reads its signal.
    this.#requests.fail(this.context.signal.reason);
    this.#window.close();
    this.#endResponses();
    void this.#opened?.leave();
  }

  protected async handle(): Promise<void> {
    const { kind, encode } = this.method;
    let response: Payload | undefined;
    try {
      const result: unknown = await (kind === "server_streaming"
        ? this.#callWithFirst()
        : this.call(this.#requests, this.#opened));
      if (kind === "client_streaming") response = encode(result);
      else await this.#send(result);
    } catch (error) {
      this.#close();
      this.fail(error);
      return;
    }
    this.#close();
    this.succeed(response);
  }

  /** Leaves what nobody reads any more. */
  #close(): void {
    this.context.answered();
    // A handler that still runs must not take its requests for complete.
    this.#requests.fail(this.context.abortReason);
    void this.#opened?.leave();
  }

  async #callWithFirst(): Promise<unknown> {
    let request: unknown;
    try {
      const { value, done } = await this.#requests.next();
      if (done === true) throw new TtrpcError("the stream has no request", Code.InvalidArgument);
      request = value;
    } catch (error) {
      return this.refuse(error);
    }
    return this.call(request, this.#opened);
  }

  async #send(responses: unknown): Promise<void> {
    const { encode } = this.method;
    const what = responsesOf(this.method);
    const iterator = iteratorOf(responses as AsyncIterable<unknown>, what, wrongResponses);
    this.#responses = iterator;
    let left = true;
    try {
      while (!this.#aborted) {
        left = false;
        const { value, done } = checkedResult(await iterator.next(), what, wrongResponses);
        if (done === true) return;
        left = true;
        let payload = encode(value);
        const room = this.#window.room();
        if (room !== undefined) {
          // The generator may change its bytes while they wait.
          payload = bytesOf(payload);
          await room;
        }
        if (this.#aborted) break;
        this.#window.add(this.bridge.send(this, payload));
      }
    } catch (error) {
      // What is told to end learns why.
      if (left) this.context.abort(TtrpcError.from(error));
      throw error;
    } finally {
      // As in a `for await`, `return` is called on an iterator left at a message, but not on one that ended or threw.
      if (left) this.#endResponses();
      this.#responses = undefined;
    }
    // The handler counts as running until its generator has cleaned up. Nobody waits for its answer any more.
    await this.#tidied;
  }

  /**
   * Ends the handler's iterator. The call already has its outcome, so what this throws, or how long it takes, does not
   * change it.
   */
  #endResponses(): void {
    const responses = this.#responses;
    if (responses === undefined) return;
    this.#responses = undefined;
    this.#tidied = leave(responses);
  }
}
