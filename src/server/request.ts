import { AsyncResource } from "node:async_hooks";
import { Code } from "../code.js";
import { bytesOf, type Decode, type Payload } from "../codec/payload.js";
import { allow, settle } from "../codec/weight.js";
import { type AbortReason, HandlerContext, type ServerConnection } from "./context.js";
import { type CallMessage, serverCalls } from "../diagnostics.js";
import { textOf, TtrpcError } from "../error.js";
import { type ServerCall, serverStreams } from "../interceptor.js";
import { Opened, withOpened } from "../opened.js";
import type { Bridge } from "../native/bridge.js";
import type { ActiveRequest, IncomingRequest } from "../native/types.js";
import type { BatchReader } from "../native/batch-reader.js";
import type { ServedMethod } from "./service.js";
import { MessageQueue, type QueueOwner } from "../stream/message-queue.js";
import { SendWindow } from "../stream/send-window.js";
import { checkedResult, iteratorOf, leave, responsesOf, wrongResponses } from "../stream/outgoing.js";

/** A server's method, with the interceptors around it, if any. */
export interface Served extends ServedMethod {
  readonly intercepted: ((call: ServerCall) => Promise<unknown>) | undefined;
}

/** Nothing is to be told when such a resource is collected. */
const NEVER_DESTROYED = { requireManualDestroy: true };

/** Called when a handler is done. */
export interface RequestHost {
  readonly bridge: Bridge;
  /** What the requests whose handlers have not ended take beside their bytes, and the most that they may. */
  decodedBytes: number;
  readonly maxDecodedBytes: number;
  finished(): void;
}

/**
 * A request that a handler works on. It is answered once, or not at all if nobody waits for the answer any more. It has an
 * async context of its own, so that no handler sees, or changes, what another stored.
 */
export abstract class RunningRequest extends AsyncResource implements ActiveRequest {
  readonly slot: number;
  readonly generation: number;
  readonly connection: number;
  protected readonly context: HandlerContext;
  protected readonly method: Served;
  protected readonly bridge: Bridge;
  readonly #host: RequestHost;
  #message: CallMessage | undefined;
  /** Whether Rust counts it until `letGo`. */
  #counts = false;
  #isDone = false;
  /** What the request takes beside its bytes. */
  #weight = 0;

  constructor(host: RequestHost, method: Served, request: IncomingRequest, connection: ServerConnection) {
    super("ttrpc.Request", NEVER_DESTROYED);
    this.#host = host;
    this.bridge = host.bridge;
    this.method = method;
    this.slot = request.slot;
    this.generation = request.generation;
    this.connection = request.connection;
    this.context = new HandlerContext(method.service, method.method, request, connection);
  }

  run(): void {
    this.runInAsyncScope(this.#start, this);
  }

  #start(): void {
    if (serverCalls.active) {
      const { service, method, kind } = this.method;
      this.#message = serverCalls.start({ service, method, kind, connection: this.connection });
    }
    this.handle();
  }

  /** Runs the handler, and answers. */
  protected abstract handle(): void;

  /** The peer no longer waits. The handler counts as running until it returns. */
  abort(deadline: boolean): void {
    if (this.#isDone) {
      this.bridge.letGo(this);
      return;
    }
    this.#counts = true;
    this.giveUp(deadline ? "deadline" : "disconnect");
  }

  /** Tells the handler that nobody waits for its answer any more. */
  giveUp(why: AbortReason): void {
    this.runInAsyncScope(this.tell, this, why);
  }

  protected tell(why: AbortReason): void {
    this.context.abort(why);
    this.#report(this.context.abortReason);
  }

  message(_reader: BatchReader): void {}
  end(): void {}
  sent(_messages: number, _bytes: number): void {}

  /** Begins to decode the request, which is kept until the handler has ended. {@link decoded} follows. */
  protected decoding(): void {
    allow(this.#host.maxDecodedBytes - this.#host.decodedBytes);
  }

  protected decoded(isKept: boolean): void {
    const weight = settle();
    if (!isKept) return;
    this.#weight += weight;
    this.#host.decodedBytes += weight;
  }

  /** Runs the handler. Returns its result, or a promise of it. Interceptors open streams in `opened`. */
  protected call(request: unknown, opened?: Opened): unknown {
    const { intercepted } = this.method;
    if (intercepted === undefined) return this.method.handle(request, this.context);
    const call = this.#intercepted(request);
    return opened === undefined ? intercepted(call) : opened.run(() => intercepted(withOpened(call, opened)));
  }

  /**
   * Fails a request without a message that the handler could get. Interceptors see it as a call whose `request` throws
   * this when it is read, which `next` does too.
   */
  protected refuse(error: unknown): unknown {
    const { intercepted } = this.method;
    if (intercepted === undefined) throw error;
    const get = () => {
      throw error;
    };
    return intercepted(
      Object.defineProperty(this.#intercepted(undefined), "request", {
        get,
        enumerable: true,
        configurable: true,
      }),
    );
  }

  #intercepted(request: unknown): ServerCall {
    const { service, method, kind, descriptor } = this.method;
    return { service, method, kind, descriptor, request, context: this.context } as ServerCall;
  }

  #finish(error: TtrpcError | undefined): void {
    this.#host.decodedBytes -= this.#weight;
    this.#host.finished();
    this.#isDone = true;
    if (this.#counts) this.bridge.letGo(this);
    this.#report(error);
  }

  /** Reports the outcome, once: what happens after an abort changes nothing for the caller. */
  #report(error: TtrpcError | undefined): void {
    const message = this.#message;
    if (message === undefined) return;
    this.#message = undefined;
    serverCalls.end(message, error === undefined ? {} : { error });
  }

  protected succeed(payload: Payload | undefined): void {
    try {
      this.bridge.reply(this, payload, undefined);
    } catch (error) {
      // The message is wrong, which shows when it is encoded, or it is too long.
      this.fail(error);
      return;
    }
    this.#finish(undefined);
  }

  protected fail(reason: unknown): void {
    let error = TtrpcError.from(reason);
    try {
      this.bridge.reply(this, undefined, error);
    } catch (cause) {
      // The TtrpcError was changed after it was made. The caller must still get an answer.
      error = sendable(error, cause, this.method);
      this.bridge.reply(this, undefined, error);
    }
    this.#finish(error);
  }
}

/** What is sent in place of an error that cannot be sent: if only its details are wrong, all but those. */
function sendable(error: TtrpcError, cause: unknown, { service, method }: Served): TtrpcError {
  try {
    const { rawMessage, code } = error;
    if (typeof rawMessage === "string")
      return new TtrpcError(`${rawMessage} (its details cannot be sent: ${textOf(cause)})`, code);
  } catch {
    // Its code is wrong, too.
  }
  const text = `the handler of ${service}/${method} threw what cannot be sent: ${textOf(cause)}`;
  return new TtrpcError(text, Code.Internal);
}

/** A request with one message and one response. */
class UnaryRequest extends RunningRequest {
  readonly #request: unknown;
  readonly #wrong: { error: unknown } | undefined;

  constructor(
    host: RequestHost,
    method: Served,
    request: IncomingRequest,
    connection: ServerConnection,
    reader: BatchReader,
  ) {
    super(host, method, request, connection);
    this.decoding();
    try {
      this.#request = reader.read(method.decode);
    } catch (error) {
      this.#wrong = { error };
    }
    this.decoded(this.#wrong === undefined);
  }

  protected handle(): void {
    let response: unknown;
    try {
      response = this.#wrong === undefined ? this.call(this.#request) : this.refuse(this.#wrong.error);
      // A handler that returns its answer at once pays for no promise. Reading `then` from its result may throw.
      if (typeof (response as PromiseLike<unknown> | undefined)?.then === "function") {
        void Promise.resolve(response).then(
          (message) => this.#answer(message),
          (error: unknown) => this.fail(error),
        );
        return;
      }
    } catch (error) {
      this.fail(error);
      return;
    }
    this.#answer(response);
  }

  #answer(message: unknown): void {
    let response: Payload;
    try {
      response = this.method.encode(message);
    } catch (error) {
      this.fail(error);
      return;
    }
    this.succeed(response);
  }
}

/** A request of any streaming kind. Its messages arrive after it. */
class StreamRequest extends RunningRequest implements QueueOwner {
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

  defer(action: () => void): void {
    this.bridge.defer(action);
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
    this.#requests.fail(undefined);
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

/** Makes a request from a batch, ready to run. */
export function runningRequest(
  host: RequestHost,
  method: Served,
  request: IncomingRequest,
  connection: ServerConnection,
  reader: BatchReader,
): RunningRequest {
  const Kind = method.kind === "unary" ? UnaryRequest : StreamRequest;
  return new Kind(host, method, request, connection, reader);
}
