import { types } from "node:util";
import { Code } from "./code.js";
import { callError } from "./error.js";
import { MessageQueue } from "./stream/message-queue.js";
import { leave } from "./stream/outgoing.js";

/** Under this name a call has the {@link Opened} of the interceptor that got it, and so have copies of the call. */
const OPENED = Symbol("opened");

/** What `next` gave, and what is below it. */
interface Stream {
  readonly reply: unknown;
  readonly below: Opened | undefined;
}

/** Why streams are left: because of an error, if there is one. */
interface Left {
  readonly error: unknown;
}

/**
 * The streams that `next` gave one interceptor for one call. An interceptor that fails, or gives something else, leaves
 * them without a reader: the messages of a call would hold up its connection for good, and a handler's iterable would
 * never be left. So what an interceptor does not pass on is left when its outcome is known, and the rest when the call
 * ends.
 */
export class Opened {
  readonly #above: Opened | undefined;
  #streams: Stream[] = [];
  /** What `next` returned for a client-streaming call. */
  #outcomes: Promise<unknown>[] = [];
  #left: Left | undefined;

  /** @param above - That of the interceptor whose `next` makes this call; undefined if it is the first. */
  constructor(above?: Opened) {
    this.#above = above;
  }

  /** That of the whole call. */
  get root(): Opened {
    return this.#above?.root ?? this;
  }

  /** Whether nobody will read what `next` gives from now on. */
  get isLeft(): boolean {
    return this.#leftBy !== undefined;
  }

  get #leftBy(): Left | undefined {
    return this.#left ?? (this.#above === undefined ? undefined : this.#above.#leftBy);
  }

  /**
   * Adds what `next` gave. An interceptor may call it again and again for one call, to open a stream that broke off, so
   * those that have been read to their end are forgotten.
   */
  add(reply: unknown, below?: Opened): void {
    const left = this.#leftBy;
    if (left !== undefined) {
      void discard({ reply, below }, left.error);
      return;
    }
    if (this.#streams.length > 0) this.#streams = this.#streams.filter((stream) => !isOver(stream));
    this.#streams.push({ reply, below });
  }

  /**
   * Adds what `next` returned. If the call ends without it, it fails, so that whoever awaits it goes on. Its failure
   * then counts as handled, because nobody may await it. No earlier: with two readers, V8 could not tell who awaits the
   * promise.
   */
  hear(outcome: unknown): void {
    if (!types.isPromise(outcome)) return;
    if (this.isLeft) ignoreFailure(outcome);
    else this.#outcomes.push(outcome);
  }

  /** Whether it had streams, and all of them have been read to their end. */
  get isOver(): boolean {
    return this.#streams.length > 0 && this.#streams.every(isOver);
  }

  /** Resolves to what an interceptor gives. If that is what `next` gave it, it wants no other streams. */
  async run(intercepted: () => Promise<unknown>): Promise<unknown> {
    try {
      const reply = await intercepted();
      const passedOn = this.#streams.find((stream) => stream.reply === reply);
      if (passedOn !== undefined) {
        for (const stream of this.#streams) if (stream !== passedOn) void discard(stream);
        this.#streams = [passedOn];
      }
      return reply;
    } catch (error) {
      void this.leave(callError("an interceptor gave the call up", Code.Canceled, { cause: error }));
      throw error;
    }
  }

  /**
   * Leaves all streams, the outermost first: those may be wrappers that leave the others. With an error, the requests of
   * calls are cut off; otherwise a reader left, and they end regularly. Never rejects.
   */
  async leave(error?: unknown): Promise<void> {
    this.#left ??= { error };
    this.#outcomes.splice(0).forEach(ignoreFailure);
    await Promise.all(this.#streams.splice(0).map((stream) => discard(stream, error)));
  }
}

function ignoreFailure(outcome: Promise<unknown>): void {
  // Its own members may be those of a subclass.
  void Reflect.apply(Promise.prototype.then, outcome, [undefined, () => undefined]);
}

/** Whether a stream was read to its end: whatever wraps it has had the end, too. */
function isOver({ reply, below }: Stream): boolean {
  return reply instanceof MessageQueue ? reply.isOver : below?.isOver === true;
}

/** Leaving a stream again, or one that has ended, has no effect. */
async function discard({ reply, below }: Stream, error?: unknown): Promise<void> {
  // At once: what wraps the messages leaves them as a reader does, but a microtask later.
  if (error !== undefined && reply instanceof MessageQueue) reply.cut(error);
  const left = leave(reply);
  await Promise.all([left, below?.leave(error)]);
}

/** What an interceptor's call has; undefined for a call whose streams are nobody's concern. */
export function openedOf(call: unknown): Opened | undefined {
  if (typeof call !== "object" || call === null) return undefined;
  return (call as { readonly [OPENED]?: Opened })[OPENED];
}

/** Gives a new call its {@link Opened}. */
export function withOpened<Call extends object>(call: Call, opened: Opened): Call {
  return Object.assign(call, { [OPENED]: opened });
}

/** A copy of the call that an interceptor passes to `next`, with another {@link Opened}. */
export function reopened<Call extends object>(call: Call, opened: Opened): Call {
  const copy = Object.assign(Object.create(Object.getPrototypeOf(call) as object | null) as Call, call);
  return withOpened(copy, opened);
}
