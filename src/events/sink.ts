import { currentMs } from "../clock.js";
import { nextTick } from "../next-tick.js";
import type { Address } from "../address.js";
import { TtrpcError } from "../error.js";
import { checkLimits, checkOptions, closeOptions } from "../options.js";
import { fulfilledWithin } from "../pause.js";
import { bridgeOf } from "../native/bridge.js";
import type { BatchReader } from "../native/batch-reader.js";
import type { ActiveRequest } from "../native/types.js";
import { RefusedRequest } from "../server/refused-request.js";
import { Server } from "../server/server.js";
import { copyFor } from "../codec/slab.js";
import { Events } from "../protos/generated/containerd/services/events/ttrpc/v1/events_pb.js";
import { allow, settle } from "../codec/weight.js";
import { type ContainerdEvent, readEvent, refuseEvent } from "./event.js";
import { closedError, EventQueue, type Onward } from "./event-queue.js";
import { EventReader } from "./event-reader.js";
import { HeldEvent, type Passing, tracedRequest } from "./held-event.js";
import { type EventCounts, type EventSinkOptions, type SinkPlan, sinkPlan } from "./sink-options.js";
import { mostWeight, takenEvents, unpackUnlessHeavy } from "./unpacking.js";

const NO_LIMIT = 2 ** 32 - 1;
/** Limit on bytes of events not read yet, where the queue itself decides what happens when it is full. */
const UNSEEN_BYTES = 64 << 20;
const DEFAULT_GRACE_MS = 5000;

/**
 * A server of containerd's ttrpc Events service. To get the events, iterate over it, or over {@link EventSink.batches}.
 * If there are several loops, each event goes to one of them. Made by {@link listenEvents}.
 */
export class EventSink implements AsyncIterable<ContainerdEvent> {
  /** The bound address; for `tcp://ip:0` it has the chosen port. */
  readonly address: string;
  readonly #plan: SinkPlan;
  readonly #server: Server;
  readonly #onward: Onward | undefined;
  readonly #queue: EventQueue;
  /** The events in the batch being read. */
  #arrived: HeldEvent[] = [];
  #scheduled = false;
  #closing: Promise<void> | undefined;

  /** @internal */
  constructor(address: Address, plan: SinkPlan, onwardOf?: (passed: EventQueue["passed"]) => Onward) {
    this.#plan = plan;
    this.#onward = onwardOf?.((held, error, reply) => this.#queue.passed(held, error, reply));
    const { driver, requireSameUser, whenFull, maxQueuedEvents, maxQueuedBytes } = plan;
    this.#queue = new EventQueue(bridgeOf(driver), plan, this.#onward);
    // A waiting event is a waiting request, so the limits on requests also limit the events that wait for a place.
    // In the other modes each is answered at once, and only requests that JavaScript has not read yet wait. But an event
    // that is dropped on its way to containerd is answered by containerd: of these there may be as many as in the queue.
    const most = this.#onward === undefined ? NO_LIMIT : Math.min(2 * maxQueuedEvents, NO_LIMIT);
    const limits =
      whenFull === "wait"
        ? { maxConcurrentCalls: maxQueuedEvents, maxQueuedBytes }
        : { maxConcurrentCalls: most, maxQueuedBytes: UNSEEN_BYTES };
    this.#server = new Server({ driver, requireSameUser, ...limits }, true);
    this.#server.addReceiver(Events.typeName, "Forward", (reader) => {
      const request = this.#receive(reader);
      this.#schedule();
      return request;
    });
    this.address = this.#server.listenNow(address, plan.listen);
  }

  /** The outcomes of the events so far. */
  get counts(): EventCounts {
    return { ...this.#queue.counts };
  }

  /** The events one by one. */
  [Symbol.asyncIterator](): AsyncIterableIterator<ContainerdEvent> {
    return new EventReader(this.#queue, 1, (held) => this.#taken(held)[0] as ContainerdEvent);
  }

  /**
   * The events in arrays. Each array has all the events that are waiting: at least one, and at most `maxEvents` (default
   * 1 000).
   *
   * ```ts
   * for await (const batch of events.batches()) insertAll(batch);
   * ```
   */
  batches(options: { maxEvents?: number | undefined } = {}): AsyncIterableIterator<ContainerdEvent[]> {
    checkOptions("batches", options, ["maxEvents"]);
    const { maxEvents = 1000 } = options;
    checkLimits({ maxEvents });
    return new EventReader(this.#queue, maxEvents, (held) => this.#taken(held));
  }

  /**
   * Stops listening, and refuses the unacknowledged events with `Unavailable`; their publishers still have them.
   * Acknowledged events can still be taken; then loops end.
   *
   * With `acknowledge: "done"`, it waits up to `graceMs` milliseconds (default 5 000) for the consumer to finish with the
   * events in hand. So inside a loop over the events, do not await it. A second call returns the same promise. Rejects
   * with a TypeError if an option is wrong.
   */
  close(options: { graceMs?: number | undefined } = {}): Promise<void> {
    try {
      const { graceMs = DEFAULT_GRACE_MS } = closeOptions(options);
      return (this.#closing ??= this.#close(graceMs));
    } catch (error) {
      // A wrong argument rejects; it is not thrown at the caller.
      return Promise.reject(error);
    }
  }

  /** Closes the sink, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(graceMs: number): Promise<void> {
    const until = currentMs() + graceMs;
    this.#queue.stop();
    await this.#onward?.close(graceMs);
    const handsFree = this.#queue.end();
    await fulfilledWithin(handsFree, Math.max(until - currentMs(), 0));
    await this.#server.close({ graceMs: Math.max(until - currentMs(), 0) });
  }

  /** Reads a request from a batch. */
  #receive(reader: BatchReader): ActiveRequest {
    const { counts } = this.#queue;
    counts.received++;
    const { slot, generation, connection } = reader;
    const name = { slot, generation, connection };
    const timeoutNs = reader.f64();
    const metadata = this.#onward === undefined ? reader.skipPairs() : reader.pairs();
    const size = reader.rest;
    try {
      if (this.#queue.stopped) throw closedError();
      const payload = reader.read(copyFor(this.#queue.counts.queued));
      allow(mostWeight(size));
      const event = readEvent(payload);
      settle();
      let passing: Passing | undefined;
      // The receiver validates an event that is passed on.
      if (metadata === undefined) refuseEvent(event);
      else {
        const expiresAt = timeoutNs === 0 ? Number.POSITIVE_INFINITY : currentMs() + timeoutNs / 1e6;
        passing = { payload, metadata, expiresAt };
      }
      const wanted = this.#plan.wants(event);
      const held = new HeldEvent(this.#queue, name, event, size, wanted, passing);
      this.#arrived.push(held);
      return held;
    } catch (error) {
      settle();
      counts.refused++;
      return new RefusedRequest(this.#queue.bridge, name, TtrpcError.from(error), tracedRequest);
    }
  }

  #taken(events: readonly HeldEvent[]): ContainerdEvent[] {
    return takenEvents(events, this.#plan.typeOf, this.#plan.maxQueuedBytes);
  }

  /** Handles a batch's events once the batch has been read. */
  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    nextTick(() => {
      this.#scheduled = false;
      const arrived = this.#arrived;
      this.#arrived = [];
      for (const held of arrived) {
        if (held.wanted && held.state !== "gone")
          held.isHeavy = unpackUnlessHeavy(held.event, held.size, this.#plan.typeOf);
        this.#queue.place(held);
      }
      this.#queue.deliver();
    });
  }
}

/**
 * Serves containerd's ttrpc Events service in containerd's place: give its address to shims as their `TTRPC_ADDRESS`.
 *
 * ```ts
 * const events = listenEvents("unix:///run/my-events.sock", { topics: ["/tasks/"], reclaimStale: true });
 * for await (const { namespace, topic, message } of events) {
 *   if (isMessage(message, TaskExitSchema)) console.log(namespace, message.containerId, message.exitStatus);
 * }
 * ```
 *
 * The server is listening when this returns. Events of one connection arrive in the order in which they were sent. Events
 * that containerd would refuse are refused with `InvalidArgument`: those without an envelope, a namespace or a timestamp,
 * with a malformed topic, or with a timestamp outside the years 1 to 9999.
 *
 * Throws a TypeError that names what is wrong, and a {@link TtrpcError} of code `Unavailable` if the address cannot be
 * bound.
 */
export function listenEvents(address: Address, options: EventSinkOptions = {}): EventSink {
  return new EventSink(address, sinkPlan("listenEvents", options, "taken"));
}
