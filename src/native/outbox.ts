import { AsyncResource } from "node:async_hooks";
// The global one may be mocked by tests.
import { setImmediate as inNextTurn } from "node:timers";
import { nextTick } from "../next-tick.js";
import { Code } from "../code.js";
import { OutgoingMessage, type Payload } from "../codec/payload.js";
import { callError } from "../error.js";
import type { MessageQueue } from "../stream/message-queue.js";
import { BatchWriter } from "./batch-writer.js";
import { BATCH_SIZE, Command, FLAG_SERVED, MESSAGE_LIMIT, MORE, WHOLE } from "./records.js";
import { lengthOf } from "../value-kinds.js";
import { oversize } from "./encoded-size.js";
import type { Named } from "./slots.js";
import type { Driver } from "../connection-types.js";

/** The addon, as far as a batch needs it. */
interface Addon {
  /** Submits `size` bytes of commands and, if `take` is set, fetches events; returns how many bytes of them. */
  submit(size: number, take: boolean): number;
  /** Lends the payload of the next record that is marked as crossing whole. */
  lend(payload: Uint8Array): void;
  /** Reads `size` bytes of events. */
  read(size: number): void;
}

/**
 * Events are read in the async context in which the package was loaded, because what hands them over, such as the next tick
 * of a call, runs in the context of whoever made the call.
 */
const neutral = new (class extends AsyncResource {
  /** It keeps no process alive. */
  hasRef(): boolean {
    return false;
  }
})("ttrpc", { requireManualDestroy: true });

/** Gathers the commands of a tick in one buffer, and decides when they are handed over. */
export class Outbox {
  readonly writer = new BatchWriter(BATCH_SIZE);
  readonly #addon: Addon;
  /** Commands issued while a message was being encoded. */
  #deferred: (() => void)[] = [];
  #taken: MessageQueue<unknown>[] = [];
  #scheduled = false;
  #leaving = false;
  /** Batches handed over since the event loop last had its turn, as far as this side can tell. */
  #inARow = 0;
  readonly #mostInARow: number;

  constructor(driver: Driver, addon: Addon) {
    this.#addon = addon;
    this.#mostInARow = driver === "thread" ? 0 : MOST_IN_A_ROW;
  }

  /** Notes that a reader took messages. Rust is told with the next batch. */
  noteTaken(queue: MessageQueue<unknown>): void {
    this.#taken.push(queue);
    this.schedule();
  }

  #reportTaken(): void {
    if (this.#taken.length === 0) return;
    const queues = this.#taken;
    this.#taken = [];
    for (const queue of queues) {
      const { stream, messages, bytes } = queue.takeReport();
      this.reserve(8);
      const { writer } = this;
      writer.begin(Command.Taken, stream.served ? FLAG_SERVED : 0, 0, 0, stream);
      writer.u32(messages);
      writer.u32(bytes);
      writer.end();
    }
  }

  /** Writes a command without a body, now or once the message is written that is being encoded. */
  command(operation: number, flags: number, call: Readonly<Named>): void {
    if (this.writer.encoding) {
      this.#deferred.push(() => this.command(operation, flags, call));
      return;
    }
    this.reserve(0);
    this.writer.begin(operation, flags, 0, 0, call);
    this.writer.end();
    this.schedule();
  }

  /** Hands the batch over and fetches waiting events, once the running code is done. */
  schedule(): void {
    // The thread can start on the commands of a tick while JavaScript is busy; the events are fetched later.
    if (this.#mostInARow === 0 && !this.#leaving) {
      this.#leaving = true;
      nextTick(this.#leave);
    }
    if (this.#scheduled) return;
    this.#scheduled = true;
    if (this.#inARow++ < this.#mostInARow) {
      nextTick(this.#flush);
      return;
    }
    // One batch can schedule the next forever: a stream whose messages the socket takes at once does, and so does a peer
    // on another thread that is as fast as this one. So the event loop gets its turn after a few.
    this.#inARow = 0;
    inNextTurn(this.#flush);
  }

  /**
   * Hands the batch over now, or once the message is written that is being encoded. The events that result are read later.
   */
  flush(): void {
    if (this.writer.encoding) {
      this.#deferred.push(() => this.flush());
      return;
    }
    this.#addon.submit(this.writer.take(), false);
    this.schedule();
  }

  /** Hands over the commands of a tick that the process does not live to see the end of. */
  leaveAtExit(): void {
    // A message that user code interrupts, by exiting in a getter, is incomplete.
    if (!this.writer.encoding) this.#leave();
  }

  readonly #leave = (): void => {
    this.#leaving = false;
    this.#reportTaken();
    if (this.writer.used > 0) this.#addon.submit(this.writer.take(), false);
  };

  readonly #flush = (): void => {
    this.#scheduled = false;
    this.#reportTaken();
    this.#read(this.#addon.submit(this.writer.take(), true));
  };

  /** Reads events that the addon delivered itself, in a turn of the event loop. */
  arrived(filled: number): void {
    this.#inARow = 0;
    this.#read(filled);
  }

  /** Reads events that crossed, and schedules fetching the rest. */
  #read(filled: number): void {
    if (filled >= MORE) this.schedule();
    const size = filled % MORE;
    if (size > 0) neutral.runInAsyncScope(this.#addon.read, this.#addon, size);
  }

  /** Makes room for a record with a body of up to `size` bytes. */
  reserve(size: number): void {
    if (this.writer.encoding) {
      const text = "a getter of a message made a call while the message was being encoded";
      throw callError(text, Code.FailedPrecondition);
    }
    if (this.writer.fits(size)) return;
    this.flush();
    if (!this.writer.fits(size)) throw oversize(size);
  }

  /**
   * Ends a record with a payload, to which its envelope will add so many bytes; returns the payload's length. If it
   * throws, there is no record.
   */
  endWith(payload: Payload, envelope = 0): number {
    try {
      const size = this.#write(payload, envelope);
      this.writer.end();
      return size;
    } finally {
      this.#issueDeferred();
    }
  }

  /**
   * Ends the record of a blocking call with its payload, and takes the batch, whose last record it must be; returns the
   * batch's size. Commands that the message's getters caused leave before the call: after it, nothing leaves until it ends.
   */
  takeBlocking(payload: Payload): number {
    const { writer } = this;
    let call: Uint8Array | undefined;
    try {
      this.#write(payload, 0);
      if (this.#deferred.length > 0) call = writer.begun();
    } finally {
      this.#issueDeferred();
    }
    if (call !== undefined) {
      this.reserve(call.length);
      writer.resume(call);
    }
    writer.end();
    return writer.take();
  }

  #write(payload: Payload, envelope: number): number {
    return payload instanceof OutgoingMessage
      ? this.#encode(payload, envelope)
      : this.#copy(payload, envelope);
  }

  #issueDeferred(): void {
    if (this.#deferred.length > 0) for (const command of this.#deferred.splice(0)) command();
  }

  #encode(message: OutgoingMessage, envelope: number): number {
    const { writer } = this;
    let size = writer.message(message);
    if (size < 0) {
      // A message's length is known only once it is written, so only here can the batch turn out to be full.
      const begun = writer.begun();
      this.flush();
      this.reserve(begun.length);
      writer.resume(begun);
      size = writer.message(message);
      if (size < 0) throw oversize(message.toBytes().length + envelope);
    }
    if (size + envelope > MESSAGE_LIMIT) throw oversize(size + envelope);
    return size;
  }

  #copy(payload: Uint8Array, envelope: number): number {
    const size = lengthOf(payload);
    if (size + envelope > MESSAGE_LIMIT) throw oversize(size + envelope);
    if (size >= WHOLE) {
      // Nothing may fail from here on: a lent payload belongs to the next record marked as crossing whole.
      this.#addon.lend(payload);
      this.writer.whole(size);
    } else {
      this.writer.raw(payload);
    }
    return size;
  }
}

/**
 * How many batches may be handed over before the event loop gets its turn. Each may carry everything that streams send
 * ahead, up to 1 MiB of each. The thread driver keeps working meanwhile, so one batch for each turn of the event loop
 * is enough for it.
 */
const MOST_IN_A_ROW = 4;
