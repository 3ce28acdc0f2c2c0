import { AsyncResource } from "node:async_hooks";
import { Code } from "../code.js";
import type { Payload } from "../codec/payload.js";
import { allow, settle } from "../codec/weight.js";
import { type AbortReason, HandlerContext, type ServerConnection } from "./context.js";
import { type CallMessage, serverCalls } from "../diagnostics.js";
import { textOf, TtrpcError } from "../error.js";
import type { ServerCall } from "../interceptor.js";
import { type Opened, withOpened } from "../opened.js";
import type { Bridge } from "../native/bridge.js";
import type { ActiveRequest, IncomingRequest } from "../native/types.js";
import type { BatchReader } from "../native/batch-reader.js";
import type { ServedMethod } from "./service.js";

/** A server's method, with the interceptors around it, if any. */
export interface Served extends ServedMethod {
  readonly intercepted: ((call: ServerCall) => Promise<unknown>) | undefined;
}

/** It is told when it is done, not when it is collected. */
const DESTROYED_WHEN_DONE = { requireManualDestroy: true };

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
    super("ttrpc.Request", DESTROYED_WHEN_DONE);
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
    // Interceptors may answer while the handler runs.
    this.context.answered();
    this.emitDestroy();
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
