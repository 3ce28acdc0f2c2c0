import { setTimeout as sleep } from "node:timers/promises";
import type { Address } from "../address.js";
import { Code } from "../code.js";
import { listenToAbort, unlistenToAbort } from "../abort.js";
import { TtrpcError } from "../error.js";
import { allow, settle } from "../codec/weight.js";
import { checkLimits, checkOptions } from "../options.js";
import type { ContainerdEvent } from "./event.js";
import { EventReader } from "./event-reader.js";
import {
  type SubscribeOptions,
  type SubscriptionCounts,
  type SubscriptionPlan,
  subscriptionPlan,
} from "./subscribe-options.js";
import { type QueuedEvent, SubscriptionQueue } from "./subscribe-queue.js";
import { envelopes, eventIn, type RawEnvelope } from "./subscribe-stream.js";
import { mostWeight, takenEvents, unpackUnlessHeavy } from "./unpacking.js";

const FIRST_DELAY_MS = 10;
const LONGEST_DELAY_MS = 1000;

/** Codes with which containerd says that the subscription itself is wrong. */
const FINAL: ReadonlySet<Code> = new Set([
  Code.InvalidArgument,
  Code.PermissionDenied,
  Code.Unauthenticated,
  Code.Unimplemented,
  Code.FailedPrecondition,
]);

/** System errors of a socket that this process may not open. */
const NOT_ALLOWED: ReadonlySet<unknown> = new Set(["EACCES", "EPERM"]);

/**
 * How many refusals in a row are final: they take more than a second. containerd makes its socket first, and gives it to
 * its group a moment later.
 */
const MOST_REFUSALS = 8;

/**
 * A subscription to containerd's events. To get the events, iterate over it, or over {@link EventSubscription.batches}.
 * If there are several loops, each event goes to one of them. Made by {@link subscribeEvents}.
 */
export class EventSubscription implements AsyncIterable<ContainerdEvent> {
  readonly #plan: SubscriptionPlan;
  readonly #queue: SubscriptionQueue;
  readonly #stop = new AbortController();
  readonly #stopped: Promise<void>;
  #connected = false;

  /** @internal */
  constructor(plan: SubscriptionPlan) {
    this.#plan = plan;
    this.#queue = new SubscriptionQueue(plan);
    const { signal } = plan;
    const listener = { aborted: () => this.#end() };
    if (signal?.aborted === true) this.#end();
    else listenToAbort(signal, listener);
    this.#stopped = this.#run().finally(() => unlistenToAbort(signal, listener));
  }

  /** Whether it is connected to containerd now. It subscribes right after it has connected. */
  get connected(): boolean {
    return this.#connected;
  }

  /** The outcomes of the events so far. */
  get counts(): SubscriptionCounts {
    return { ...this.#queue.counts };
  }

  /** The events one by one. */
  [Symbol.asyncIterator](): AsyncIterableIterator<ContainerdEvent> {
    return new EventReader(this.#queue, 1, (queued) => this.#taken(queued)[0] as ContainerdEvent);
  }

  /**
   * The events in arrays. Each array has all the events that are waiting: at least one, and at most `maxEvents` (default
   * 1 000). No array spans a gap.
   *
   * ```ts
   * for await (const batch of events.batches()) insertAll(batch);
   * ```
   */
  batches(options: { maxEvents?: number | undefined } = {}): AsyncIterableIterator<ContainerdEvent[]> {
    checkOptions("batches", options, ["maxEvents"]);
    const { maxEvents = 1000 } = options;
    checkLimits({ maxEvents });
    return new EventReader(this.#queue, maxEvents, (queued) => this.#taken(queued));
  }

  #taken(events: readonly QueuedEvent[]): ContainerdEvent[] {
    return takenEvents(events, this.#plan.typeOf, this.#plan.maxQueuedBytes);
  }

  /** Ends the subscription. Waiting events can still be taken; then loops end. Resolves when the connection is closed. */
  close(): Promise<void> {
    this.#end();
    return this.#stopped;
  }

  #end(): void {
    this.#queue.end();
    this.#stop.abort();
  }

  /** Closes the subscription, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    let delayMs = FIRST_DELAY_MS;
    /** Whether the consumer knows that there is no subscription. */
    let known = false;
    let since = Date.now();
    let refusals = 0;
    while (!signal.aborted) {
      const before = this.#queue.counts.received;
      let error: TtrpcError;
      let stood = false;
      try {
        const connected = () => {
          stood = this.#connected = true;
          this.#queue.reached = Date.now();
        };
        for await (const raw of envelopes(this.#plan, signal, connected)) {
          const room = this.#receive(raw);
          if (room !== undefined) await room;
          if (signal.aborted || this.#queue.failure !== undefined) break;
        }
        error = new TtrpcError("containerd ended the subscription", Code.Unavailable);
      } catch (thrown) {
        error = TtrpcError.from(thrown);
      }
      this.#connected = false;
      if (signal.aborted || this.#queue.failure !== undefined) break;
      refusals = NOT_ALLOWED.has((error.cause as NodeJS.ErrnoException | undefined)?.code) ? refusals + 1 : 0;
      if (refusals === MOST_REFUSALS || this.#isFinal(error)) {
        this.#queue.end(error);
        return;
      }
      // What containerd had still to send is lost, too, and the loss itself may be noticed late.
      if (stood) [known, since] = [false, this.#queue.reached];
      if (!known) {
        this.#queue.counts.lost++;
        this.#queue.markGap({ since: new Date(since), dropped: 0, error });
      }
      known = true;
      if (this.#queue.counts.received > before) delayMs = FIRST_DELAY_MS;
      await sleep(delayMs, undefined, { signal }).catch(() => undefined);
      delayMs = Math.min(delayMs * 2, LONGEST_DELAY_MS);
    }
  }

  #receive(raw: RawEnvelope): Promise<void> | undefined {
    const size = raw.event.length + raw.namespace.length + raw.topic.length;
    let event;
    try {
      allow(mostWeight(size));
      event = eventIn(raw, this.#queue.counts.queued);
    } catch {
      this.#queue.counts.invalid++;
      return undefined;
    } finally {
      settle();
    }
    return this.#queue.push({ event, isHeavy: unpackUnlessHeavy(event, size, this.#plan.typeOf) }, size);
  }

  #isFinal({ code }: TtrpcError): boolean {
    if (FINAL.has(code)) return true;
    // containerd answers so if it cannot parse a filter, and never after it has sent an event.
    return code === Code.Unknown && this.#queue.counts.received === 0;
  }
}

/**
 * Subscribes to the events of a containerd, over gRPC: those of its shims, and those that it publishes itself about
 * containers, images, content, snapshots and namespaces.
 *
 * ```ts
 * const events = subscribeEvents("/run/containerd/containerd.sock", {
 *   namespaces: ["k8s.io"],
 *   onGap: ({ since, error }) => console.warn("events since", since, "may be missing:", error?.message),
 * });
 * for await (const { topic, message } of events) console.log(topic, message);
 * ```
 *
 * Each event is delivered at most once. containerd keeps no history: events that it publishes while there is no
 * subscription are lost. If the subscription ends, or cannot be made because containerd is away, it is tried again, after
 * 10 milliseconds at first and a second at most; `onGap` tells where events may be missing. A failure that waiting cannot
 * fix ends the loops with a {@link TtrpcError}: for example, if containerd refuses a filter, or if for more than a second
 * this process is not allowed to open the socket.
 *
 * It needs the packages `@connectrpc/connect` and `@connectrpc/connect-node`. It loads them when it is called, and the
 * subscription ends with `FailedPrecondition` if they are missing.
 *
 * Throws a TypeError that names what is wrong.
 *
 * @param address - containerd's gRPC socket, a unix socket: `/run/containerd/containerd.sock`.
 */
export function subscribeEvents(address: Address, options: SubscribeOptions = {}): EventSubscription {
  return new EventSubscription(subscriptionPlan(address, options));
}
