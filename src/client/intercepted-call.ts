// The global ones may be mocked by tests.
import { clearTimeout, setImmediate, setTimeout } from "node:timers";
import { type AbortListener, listenToAbort, unlistenToAbort } from "../abort.js";
import { Code } from "../code.js";
import { addFrames, callError, canceledError, thrown } from "../error.js";
import { type ClientCall, clientStreams, serverStreams } from "../interceptor.js";
import { Opened, withOpened } from "../opened.js";
import { LONGEST_TIMER_MS } from "../options.js";
import { checkedResult, iteratorOf, leave } from "../stream/outgoing.js";
import { callerContext, type CallSite, named, rejectLater } from "./call-site.js";

const RESULT = "what the interceptors return";

/**
 * One call on its way through a client's interceptors. It has their outcome, unless one of them keeps the call when its
 * signal aborts, its timeout ends or its reader leaves. Then it ends without them, and what a late `next` opens is left.
 */
export class InterceptedCall extends Opened implements AbortListener {
  /** What the interceptors give. */
  readonly outcome: Promise<unknown>;
  readonly #site: CallSite;
  readonly #route: number;
  readonly #call: ClientCall;
  /** The caller's, in which its requests, and what the interceptors give, are left. */
  readonly #context = callerContext();
  #resolve!: (reply: unknown) => void;
  #reject!: (error: unknown) => void;
  #timer: NodeJS.Timeout | undefined;
  /** Calls of `next` that wait for their response. */
  #inFlight = 0;
  /** Why the call ends, or ended, without its interceptors. */
  #why: unknown;
  #isSettled = false;
  /** Whether somebody else leaves the requests. */
  #requestsTaken = false;

  constructor(
    site: CallSite,
    route: number,
    chain: (call: ClientCall) => Promise<unknown>,
    call: ClientCall,
  ) {
    super();
    this.#site = site;
    this.#route = route;
    this.#call = withOpened(call, this);
    this.#requestsTaken = !clientStreams(call.kind);
    this.outcome = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    // As the only reader, or V8 could not tell who awaits the call.
    this.#through(chain).then(this.#resolve, this.#reject);
    const { signal, timeoutMs = 0 } = call;
    if (this.#isSettled) return;
    if (signal?.aborted) this.aborted(signal);
    else listenToAbort(signal, this);
    if (timeoutMs > 0 && timeoutMs <= LONGEST_TIMER_MS) {
      // It keeps no process alive: a call that was sent does so itself.
      this.#timer = setTimeout(() => this.#giveUp(this.#deadlineError()), timeoutMs).unref();
    }
  }

  async #through(chain: (call: ClientCall) => Promise<unknown>): Promise<unknown> {
    const streams = serverStreams(this.#call.kind);
    let reply: unknown;
    try {
      reply = await this.run(() => chain(this.#call));
    } finally {
      const late = this.#isSettled;
      this.#settle();
      if (late && streams) void leave(reply);
      // The requests of a call can be sent only once.
      if (this.#call.kind === "client_streaming") void this.leave();
    }
    return reply;
  }

  /** Makes the call for `next`. Rejects if it is too late. */
  async make(start: () => unknown): Promise<unknown> {
    if (this.isLeft) throw this.#named(this.#why ?? callError("the call is over", Code.Canceled));
    this.#requestsTaken = true;
    this.#inFlight++;
    try {
      return await start();
    } finally {
      this.#inFlight--;
      if (this.#why !== undefined) this.#endSoon();
    }
  }

  aborted(signal: AbortSignal): void {
    this.#giveUp(canceledError(signal));
  }

  #deadlineError(): unknown {
    return callError("the deadline passed before the interceptors had the outcome", Code.DeadlineExceeded);
  }

  /** Ends the call without its interceptors. A call that is in flight ends by itself, and they may change how. */
  #giveUp(error: unknown): void {
    if (this.#isSettled || this.#why !== undefined) return;
    this.#why = error;
    this.#endSoon();
  }

  #endSoon(): void {
    if (this.#inFlight > 0) return;
    setImmediate(() => {
      if (this.#isSettled) return;
      this.#settle();
      const error = this.#named(this.#why);
      void this.leave(error);
      // The reader of messages awaits them, and not the outcome.
      if (serverStreams(this.#call.kind)) this.#reject(error);
      else rejectLater(this.#resolve, this.#reject, error);
    });
  }

  #settle(): void {
    this.#isSettled = true;
    clearTimeout(this.#timer);
    const { signal } = this.#call;
    unlistenToAbort(signal, this);
  }

  #named(error: unknown): unknown {
    return named(error, this.#site, this.#route);
  }

  override leave(error?: unknown): Promise<void> {
    return this.#context.runInAsyncScope(() => {
      if (!this.#requestsTaken) {
        this.#requestsTaken = true;
        void leave(requestsOf(this.#call));
      }
      return super.leave(error);
    });
  }

  /** The reader of the messages left. */
  #abandoned(): void {
    if (!this.#isSettled) {
      this.#settle();
      this.#resolve([]);
    }
    void this.leave();
  }

  /**
   * The messages that the outcome gives. This is not a generator: the call has already started, so it must notice a
   * reader that leaves before the first message, and a failure must wait for the reader.
   */
  messages(): AsyncIterableIterator<unknown> {
    const iterator = this.outcome.then((messages) => iteratorOf(messages as AsyncIterable<unknown>, RESULT));
    let isOver = false;
    const ended = () => {
      isOver = true;
      void this.leave();
    };
    iterator.catch((error: unknown) => void this.leave(thrown(error)));
    const abandoned = () => this.#abandoned();
    const next = async (): Promise<IteratorResult<unknown>> => {
      // What an interceptor made of the messages may lack a `return`, and go on.
      if (isOver) return { value: undefined, done: true };
      try {
        const result = checkedResult(await (await iterator).next(), RESULT);
        if (result.done === true) ended();
        return result;
      } catch (error) {
        // An iterator throws once, and is done from then on.
        if (isOver) return { value: undefined, done: true };
        isOver = true;
        void this.leave(thrown(error));
        addFrames(error, next);
        throw error;
      }
    };
    return {
      next,
      async return() {
        isOver = true;
        abandoned();
        await iterator.then(
          (messages) => messages.return?.(),
          () => undefined,
        );
        return { value: undefined, done: true };
      },
      [Symbol.asyncIterator]() {
        return this;
      },
    };
  }
}

/** The iterator of requests that were never asked for; undefined if they are none. */
function requestsOf({ request }: ClientCall): AsyncIterator<unknown> | Iterator<unknown> | undefined {
  try {
    return iteratorOf(request as AsyncIterable<unknown>, "requests");
  } catch {
    return undefined;
  }
}
