import { EventEmitter } from "node:events";
import type { DescMessage, MessageInitShape } from "@bufbuild/protobuf";
import type { TimestampSchema } from "@bufbuild/protobuf/wkt";
import { currentMs, timeOrigin } from "../clock.js";
import { nextTick } from "../next-tick.js";
import { parseAddress } from "../address.js";
import { Code } from "../code.js";
import { addFrames, TtrpcError } from "../error.js";
import { escaped } from "../escaped.js";
import { checkLimits, checkOptions, closeOptions, withDefaults } from "../options.js";
import { checkDescriptor } from "../value-kinds.js";
import { checkDriver } from "../native/driver.js";
import { MESSAGE_LIMIT } from "../native/records.js";
import {
  type ContainerdEvent,
  eventOf,
  namespaceFault,
  timestampFault,
  topicFault,
  writeEvent,
} from "./event.js";
import { Pipeline } from "./pipeline.js";
import { Publication } from "./publication.js";
import { FreePlaces } from "./free-places.js";
import type { Driver } from "../connection-types.js";

/** Options of {@link createPublisher}. */
export interface PublisherOptions {
  /** The containerd namespace of the events. */
  readonly namespace: string;
  /** Milliseconds that one attempt may take; the server gets this as the timeout. Default 5 000, as in Go's shims. */
  readonly timeoutMs?: number | undefined;
  /** Milliseconds after `publish` until an undelivered event is given up. Default 60 000. */
  readonly retryForMs?: number | undefined;
  /** Events that may wait for delivery; any further one is refused with `ResourceExhausted`. Default 10 000. */
  readonly maxQueuedEvents?: number | undefined;
  /** Bytes of the events that may wait, with their envelopes. Default 16 MiB. */
  readonly maxQueuedBytes?: number | undefined;
  /**
   * Events that may be in flight at once. Default 1, because containerd handles each request in a goroutine of its own,
   * so one event may overtake another. A higher number is faster, and keeps the order if the server was made by
   * `listenEvents` or `forwardEvents`.
   */
  readonly maxInFlight?: number | undefined;
  /** What runs the connection's runtime; see {@link Driver}. Default `"loop"`, or `"thread"` without Node's event loop. */
  readonly driver?: Driver | undefined;
}

/** Options of {@link Publisher.publish}. */
export interface PublishOptions {
  /** When the event happened, in the years 1 to 9999. Default now. */
  readonly timestamp?: MessageInitShape<typeof TimestampSchema> | undefined;
  /** The namespace of this event. Default the publisher's. */
  readonly namespace?: string | undefined;
}

/** An event that could not be delivered. */
export interface Undelivered {
  /** The event that was given up. */
  readonly event: ContainerdEvent;
  /** Why. The event may still have been received, if only its answer was lost. */
  readonly error: TtrpcError;
}

/** Events of a {@link Publisher}. */
export interface PublisherEvents {
  /**
   * An event was given up. Without a listener, a process warning reports it. An error that a listener throws becomes an
   * uncaught exception of the process; the other events are still reported.
   */
  undelivered: [undelivered: Undelivered];
}

const OPTIONS = [
  "namespace",
  "timeoutMs",
  "retryForMs",
  "maxQueuedEvents",
  "maxQueuedBytes",
  "maxInFlight",
  "driver",
] as const satisfies readonly (keyof PublisherOptions)[];
const PUBLISH_OPTIONS = ["timestamp", "namespace"] as const satisfies readonly (keyof PublishOptions)[];

const DEFAULT_GRACE_MS = 5000;
const DEFAULTS = {
  timeoutMs: 5000,
  retryForMs: 60_000,
  maxQueuedEvents: 10_000,
  maxQueuedBytes: 16 << 20,
  maxInFlight: 1,
};

/** Room for the names and metadata around an event in a request. */
const REQUEST_OVERHEAD = 1024;

/** Whether a failure may be transient. */
const retries = ({ code }: TtrpcError) => PASSING.has(code);
const PASSING: ReadonlySet<Code> = new Set([
  Code.Unavailable,
  Code.DeadlineExceeded,
  Code.ResourceExhausted,
  Code.Canceled,
]);

/**
 * Publishes events to containerd, or to anything else that serves containerd's ttrpc Events service. Made by
 * {@link createPublisher}.
 */
export class Publisher extends EventEmitter<PublisherEvents> {
  readonly #namespace: string;
  readonly #limits: typeof DEFAULTS;
  readonly #pipeline: Pipeline;
  readonly #metadata = new Map<string, [string, string][]>();
  #events = 0;
  #bytes = 0;
  readonly #places = new FreePlaces((promised) => this.#hasRoom(promised));
  readonly #lost: Undelivered[] = [];
  /** Resolves when all of them have been reported. */
  #reported: Promise<void> = Promise.resolve();
  #drained: (() => void)[] = [];
  #closing: Promise<void> | undefined;

  /** @internal */
  constructor(address: string, options: PublisherOptions) {
    super();
    const { text, binding } = parseAddress(address);
    if (binding === undefined) throw new TypeError(`${text} cannot be connected to again`);
    checkOptions("createPublisher", options, OPTIONS);
    const { namespace, driver, ...limits } = options ?? {};
    const fault = namespaceFault(namespace);
    if (fault !== undefined) throw new TypeError(fault);
    this.#namespace = namespace;
    this.#limits = withDefaults(DEFAULTS, limits);
    checkLimits(this.#limits, ["retryForMs"]);
    const { timeoutMs, maxInFlight } = this.#limits;
    this.#pipeline = new Pipeline(text, { driver: checkDriver(driver), maxInFlight, timeoutMs, retries });
  }

  /** Events that are not delivered yet. */
  get queuedEvents(): number {
    return this.#events;
  }

  /** The bytes of the events that are not delivered yet, with their envelopes. */
  get queuedBytes(): number {
    return this.#bytes;
  }

  /**
   * Publishes an event after all those published before it. Resolves when the server has acknowledged it.
   *
   * ```ts
   * await publisher.publish(TASK_EXIT_EVENT_TOPIC, TaskExitSchema, { containerId: "web", pid: 4242, exitStatus: 1 });
   * ```
   *
   * You need not await the promise: `undelivered` also reports an event that could not be delivered, and an unhandled
   * rejection does no harm.
   *
   * Rejects with a TypeError that names what is wrong; nothing that containerd would refuse, or that would harm it, is
   * sent. Rejects with a {@link TtrpcError} if the event was not delivered: `ResourceExhausted` if too many events wait,
   * or if it is too large; `DeadlineExceeded` if it could not be delivered within `retryForMs`; `Unavailable` if the
   * publisher was closed; `Aborted` if, with `maxInFlight` above 1, it failed and a later event was delivered; otherwise
   * the code that the server answered with.
   */
  publish<Desc extends DescMessage>(
    topic: string,
    schema: Desc,
    message: MessageInitShape<Desc>,
    options: PublishOptions = {},
  ): Promise<void> {
    const now = currentMs();
    let payload: Uint8Array;
    let namespace: string;
    try {
      checkOptions("publish", options, PUBLISH_OPTIONS);
      const { namespace: given = this.#namespace, timestamp = timestampAt(now) } = options;
      namespace = given;
      const fault = topicFault(topic) ?? namespaceFault(namespace);
      if (fault !== undefined) throw new TypeError(fault);
      checkDescriptor(schema, "message", "schema");
      payload = writeEvent(namespace, topic, timestamp, schema, message);
      const timeFault = timestampFault(timestamp);
      if (timeFault !== undefined) throw new TypeError(timeFault);
    } catch (error) {
      addFrames(error, this.publish);
      return Promise.reject(error);
    }
    const metadata = this.#metadataOf(namespace);
    const expiresAt = now + this.#limits.retryForMs;
    const publication = new Publication(payload, metadata, expiresAt, this.#settled);
    const refusal = this.#refusal(payload.length);
    this.#places.used();
    if (refusal !== undefined) this.#giveUp(publication, refusal);
    else {
      this.#events++;
      this.#bytes += payload.length;
      this.#pipeline.push(publication);
    }
    this.#places.changed();
    return publication.result;
  }

  readonly #settled = (publication: Publication, error: TtrpcError | undefined): void => {
    this.#events--;
    this.#bytes -= publication.payload.length;
    if (error === undefined) publication.delivered();
    else this.#giveUp(publication, error);
    this.#places.changed();
    if (this.#events > 0) return;
    for (const resolve of this.#drained.splice(0)) void this.#reported.then(resolve);
  };

  #giveUp(publication: Publication, error: TtrpcError): void {
    this.#undelivered(publication.payload, error);
    publication.givenUp(error);
  }

  /**
   * Resolves when there is room for another event. For callers that publish faster than the server accepts.
   *
   * ```ts
   * await publisher.ready();
   * void publisher.publish(TASK_EXIT_EVENT_TOPIC, TaskExitSchema, { containerId: "web" });
   * ```
   *
   * The room is reserved for the caller until the event loop's next turn: publish before you wait for anything else. Any
   * number of callers may wait; each free place goes to one of them, in the order in which they asked. Rejects with
   * `Unavailable` once the publisher is closed.
   */
  ready(): Promise<void> {
    return this.#closing === undefined ? this.#places.wait() : Promise.reject(closedError());
  }

  /**
   * Resolves when no event is waiting any more: each published event has been delivered or given up. Never rejects;
   * `undelivered` has then reported the events that were given up.
   *
   * ```ts
   * void publisher.publish(TASK_EXIT_EVENT_TOPIC, TaskExitSchema, { containerId: "web" });
   * await publisher.drained();
   * ```
   */
  drained(): Promise<void> {
    if (this.#events === 0) return this.#reported;
    return new Promise((resolve) => this.#drained.push(resolve));
  }

  /**
   * Delivers the events that wait for up to `graceMs` milliseconds (default 5 000), gives up the rest, and closes the
   * connection. When it resolves, `undelivered` has reported the events that were given up. A second call returns the same
   * promise. Rejects with a TypeError if an option is wrong.
   */
  close(options: { graceMs?: number | undefined } = {}): Promise<void> {
    try {
      const { graceMs = DEFAULT_GRACE_MS } = closeOptions(options);
      this.#closing ??= this.#pipeline.close(graceMs, closedError()).then(() => this.#reported);
    } catch (error) {
      // A wrong argument rejects; it is not thrown at the caller.
      return Promise.reject(error);
    }
    this.#places.close(closedError());
    return this.#closing;
  }

  /** Closes the publisher, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Whether there is room for one more after `promised` others, each of which may be as large as an event can be. */
  #hasRoom(promised = 0): boolean {
    const { maxQueuedEvents, maxQueuedBytes } = this.#limits;
    return (
      this.#events + promised < maxQueuedEvents && this.#bytes + promised * MESSAGE_LIMIT < maxQueuedBytes
    );
  }

  #refusal(size: number): TtrpcError | undefined {
    if (this.#closing !== undefined) return closedError();
    if (size > MESSAGE_LIMIT - REQUEST_OVERHEAD) {
      return new TtrpcError(`an event of ${size} bytes is too large to be sent`, Code.ResourceExhausted);
    }
    if (this.#hasRoom()) return undefined;
    const text = `${this.#events} events of ${this.#bytes} bytes wait to be delivered`;
    return new TtrpcError(text, Code.ResourceExhausted);
  }

  /** The metadata that shims send and containerd looks for. */
  #metadataOf(namespace: string): [string, string][] {
    let metadata = this.#metadata.get(namespace);
    if (metadata === undefined) {
      metadata = [["containerd-namespace-ttrpc", namespace]];
      if (this.#metadata.size === 100) this.#metadata.clear();
      this.#metadata.set(namespace, metadata);
    }
    return metadata;
  }

  #undelivered(payload: Uint8Array, error: TtrpcError): void {
    if (this.#lost.push({ event: eventOf(payload), error }) > 1) return;
    this.#reported = new Promise((resolve) => this.#report(resolve));
  }

  #report(done: () => void): void {
    // Each in a tick of its own: an error thrown by a listener must not stop the work that follows, nor another event.
    nextTick(() => {
      const unheard: Undelivered[] = [];
      for (const undelivered of this.#lost.splice(0)) {
        nextTick(() => {
          if (!this.emit("undelivered", undelivered)) unheard.push(undelivered);
        });
      }
      nextTick(() => {
        if (unheard.length > 0) {
          const why = escaped(String(unheard[0]?.error.message));
          const text = `events that were not delivered: ${unheard.length}, the first for ${why}`;
          process.emitWarning(text, { type: "TtrpcWarning" });
        }
        // The warning is printed in the next tick.
        nextTick(done);
      });
    });
  }
}

function closedError(): TtrpcError {
  return new TtrpcError("the publisher is closed", Code.Unavailable);
}

let offset = timeOrigin;
let second = 0;
let secondAsBigInt = 0n;

/** The wall clock's time, refined below a millisecond by the monotonic clock, which shows `now`. */
function timestampAt(now: number): { seconds: bigint; nanos: number } {
  const wall = Date.now();
  let ms = offset + now;
  if (Math.abs(ms - wall) > 2) {
    // The system clock was changed.
    offset += wall - ms;
    ms = wall;
  }
  const seconds = Math.floor(ms / 1000);
  if (seconds !== second) {
    second = seconds;
    secondAsBigInt = BigInt(seconds);
  }
  return { seconds: secondAsBigInt, nanos: Math.floor((ms - seconds * 1000) * 1e6) };
}

/**
 * Makes a publisher of events. It connects when there is something to publish, and reconnects after the server restarts,
 * so the server need not be up yet. It also reconnects when an attempt got no answer within `timeoutMs`, because another
 * server may by then listen in place of one that hangs.
 *
 * ```ts
 * const publisher = createPublisher("/run/containerd/containerd.sock.ttrpc", { namespace: "default" });
 * publisher.on("undelivered", ({ event, error }) => console.error(`${event.topic}: ${error.message}`));
 * await publisher.publish(TASK_START_EVENT_TOPIC, TaskStartSchema, { containerId: "web", pid: 4242 });
 * await publisher.close();
 * ```
 *
 * Events are delivered in the order of `publish`, each at least once: an event whose acknowledgement was lost is sent
 * again.
 *
 * Throws a TypeError that names what is wrong.
 *
 * @param address - Where containerd takes events: `unix:///run/containerd/containerd.sock.ttrpc`, or the bare path that
 * it puts into `TTRPC_ADDRESS`.
 */
export function createPublisher(address: string, options: PublisherOptions): Publisher {
  return new Publisher(address, options);
}
