import { type Address, parseAddress } from "../address.js";
import { Code } from "../code.js";
import { TtrpcError } from "../error.js";
import type { EventQueue, Onward } from "./event-queue.js";
import type { HeldEvent, Passing } from "./held-event.js";
import { ForwardCall } from "./forward-call.js";
import { Pipeline } from "./pipeline.js";
import { EventSink } from "./sink.js";
import { type EventSinkOptions, type SinkPlan, sinkPlan } from "./sink-options.js";

/** A request as it arrived, on its way to containerd. */
class PassedOn extends ForwardCall {
  constructor(
    readonly held: HeldEvent,
    { payload, metadata, expiresAt }: Passing,
    readonly passed: (call: PassedOn, error: TtrpcError | undefined, reply: Uint8Array) => void,
  ) {
    super(payload, metadata, held.connection, expiresAt);
  }

  settled(error: TtrpcError | undefined, reply: Uint8Array): void {
    this.passed(this, error, reply);
  }
}

/** Passes events on to containerd, and its answers back. */
class ToContainerd implements Onward {
  readonly #pipeline: Pipeline;
  readonly #calls = new Map<HeldEvent, ForwardCall>();
  readonly #passed: EventQueue["passed"];

  constructor(address: string, { driver, maxQueuedEvents }: SinkPlan, passed: EventQueue["passed"]) {
    this.#passed = passed;
    this.#pipeline = new Pipeline(address, {
      driver,
      maxInFlight: maxQueuedEvents,
      timeoutMs: Number.POSITIVE_INFINITY,
      // containerd's answer is final. A lost connection is made again, within the caller's deadline.
      retries: ({ code, cause }) => code === Code.Unavailable && cause !== undefined,
    });
  }

  pass(held: HeldEvent, passing: Passing): void {
    const call = new PassedOn(held, passing, this.#settled);
    this.#calls.set(held, call);
    this.#pipeline.push(call);
  }

  readonly #settled = ({ held }: PassedOn, error: TtrpcError | undefined, reply: Uint8Array): void => {
    this.#calls.delete(held);
    this.#passed(held, error, reply);
  };

  cancel(held: HeldEvent): void {
    const call = this.#calls.get(held);
    if (call !== undefined && this.#pipeline.cancel(call)) this.#calls.delete(held);
  }

  close(graceMs: number): Promise<void> {
    return this.#pipeline.close(graceMs, new TtrpcError("the forwarder is closed", Code.Unavailable));
  }
}

/**
 * Forwards events between shims and containerd: it serves containerd's ttrpc Events service on `address`, forwards each
 * request to `containerd` byte for byte, including metadata and deadline, and gives the program the events that
 * containerd accepted, in the order in which they arrived.
 *
 * ```ts
 * const events = forwardEvents("unix:///run/my-events.sock", "/run/containerd/containerd.sock.ttrpc");
 * for await (const { topic, type } of events) console.log(topic, type);
 * ```
 *
 * A shim gets containerd's own answer, including the status. The program does not get events that containerd refuses. While
 * containerd is away, events wait for it within their publishers' deadlines. A request without an envelope, which would crash
 * containerd, is answered with `InvalidArgument` and not forwarded. `topics` and `namespaces` select what the program gets;
 * containerd gets everything.
 *
 * By default, an event is acknowledged once containerd has accepted it and it has a place in the queue. If a shim had to
 * wait for a slow program, it would send the event to containerd again after five seconds.
 *
 * Throws a TypeError that names what is wrong, and a {@link TtrpcError} of code `Unavailable` if the address cannot be
 * bound.
 *
 * @param containerd - The address at which containerd takes events, which is the `TTRPC_ADDRESS` of its shims.
 */
export function forwardEvents(
  address: Address,
  containerd: string,
  options: EventSinkOptions = {},
): EventSink {
  const plan = sinkPlan("forwardEvents", options, "arrived");
  const { text, binding } = parseAddress(containerd, "containerd");
  if (binding === undefined) throw new TypeError(`${text} cannot be connected to again`);
  return new EventSink(address, plan, (passed) => new ToContainerd(text, plan, passed));
}
