import { checkSignal } from "../abort.js";
import type { Registry } from "@bufbuild/protobuf";
import { type Address, parseAddress } from "../address.js";
import type { TtrpcError } from "../error.js";
import { checkLimits, checkOptions } from "../options.js";
import { kindOf } from "../value-kinds.js";
import { checkedTexts, checkOneOf } from "./check.js";
import { namespaceFault, topicPrefixFault, type TypeOf, typesOf } from "./event.js";

/** A place between two events where others may be missing. */
export interface EventGap {
  /**
   * The earliest time at which a missing event may have happened: the time of the event that was dropped, or of the last
   * event before the subscription was lost. If there was no such event, the time at which `subscribeEvents` was called.
   */
  readonly since: Date;
  /** How many events arrived, but were dropped because the queue was full. */
  readonly dropped: number;
  /** Why there was no subscription for a while. Undefined if events were only dropped. */
  readonly error: TtrpcError | undefined;
}

/** Options of {@link subscribeEvents}. */
export interface SubscribeOptions {
  /** Topic prefixes, such as `/tasks/`. Only events whose topic starts with one of them are delivered. Default all. */
  readonly topics?: readonly string[] | undefined;
  /** Only events of these namespaces are delivered. Default all. */
  readonly namespaces?: readonly string[] | undefined;
  /**
   * Filters in containerd's own syntax, such as `topic=="/tasks/exit"` or `event.container_id==web`. An event passes if
   * it matches any of them; a comma within one means "and". `topics` and `namespaces` must match as well. containerd does
   * the filtering.
   */
  readonly filters?: readonly string[] | undefined;
  /** Message types to decode besides containerd's own, as for `listenEvents`. */
  readonly registry?: Registry | undefined;
  /** Ends the subscription when it aborts, as {@link EventSubscription.close} does. */
  readonly signal?: AbortSignal | undefined;
  /**
   * Called where events may be missing: after the events before the gap have been taken, and before those after it are.
   * A batch never spans a gap. It is called as soon as a loop waits for events. If it throws, the error is an uncaught
   * exception of the process.
   */
  readonly onGap?: ((gap: EventGap) => void) | undefined;
  /** Events that may wait for the consumer. Default 10 000. */
  readonly maxQueuedEvents?: number | undefined;
  /** Bytes of the events that may wait. Default 16 MiB. */
  readonly maxQueuedBytes?: number | undefined;
  /**
   * What happens when an event arrives while the queue is full:
   *
   * - `"dropOldest"`: the event that has waited longest is dropped and counted, and leaves a gap.
   * - `"fail"`: the subscription ends; loops get the events that are waiting, and then throw `ResourceExhausted`.
   * - `"wait"`: nothing is read from containerd, which then keeps events in its own memory, without a limit.
   *
   * Default `"dropOldest"`.
   */
  readonly whenFull?: "dropOldest" | "fail" | "wait" | undefined;
}

/** The outcomes of a subscription's events. */
export interface SubscriptionCounts {
  /** Events that arrived. */
  readonly received: number;
  /** Events that the consumer got. */
  readonly taken: number;
  /** Events that `"dropOldest"` dropped. */
  readonly dropped: number;
  /** Events that were left out, because they did not decode. */
  readonly invalid: number;
  /** How many times the subscription was lost, or could not be made at first. */
  readonly lost: number;
  /** Events that wait for the consumer. */
  readonly queued: number;
  /** The bytes of the events that wait for the consumer. */
  readonly queuedBytes: number;
}

/** Checked options. */
export interface SubscriptionPlan {
  /** How to show the address. */
  readonly address: string;
  /** The socket's path, as Node takes it. */
  readonly path: string;
  /** For containerd; none means all events. */
  readonly filters: readonly string[];
  readonly typeOf: TypeOf;
  readonly signal: AbortSignal | undefined;
  readonly onGap: ((gap: EventGap) => void) | undefined;
  readonly maxQueuedEvents: number;
  readonly maxQueuedBytes: number;
  readonly whenFull: "dropOldest" | "fail" | "wait";
}

const WHEN_FULL = ["dropOldest", "fail", "wait"] as const;

const OPTIONS = [
  "topics",
  "namespaces",
  "filters",
  "registry",
  "signal",
  "onGap",
  "maxQueuedEvents",
  "maxQueuedBytes",
  "whenFull",
] as const satisfies readonly (keyof SubscribeOptions)[];

/** containerd tries each event against each filter. */
const MOST_FILTERS = 1000;

/** Checks address and options. Throws a TypeError that names the one that is wrong. */
export function subscriptionPlan(address: Address, options: SubscribeOptions): SubscriptionPlan {
  const { text, binding } = parseAddress(address);
  if (binding?.kind !== "unix")
    throw new TypeError(`the address ${text} is not a unix socket, on which containerd offers its events`);
  checkOptions("subscribeEvents", options, OPTIONS);
  const { registry, signal, onGap } = options;
  const { maxQueuedEvents = 10_000, maxQueuedBytes = 16 << 20, whenFull = "dropOldest" } = options;
  checkOneOf("whenFull", whenFull, WHEN_FULL);
  checkLimits({ maxQueuedEvents, maxQueuedBytes });
  if (onGap !== undefined && typeof onGap !== "function")
    throw new TypeError(`onGap must be a function, not ${kindOf(onGap)}`);
  checkSignal(signal);
  return {
    address: text,
    path: binding.name as string,
    filters: filtersOf(options),
    typeOf: typesOf(registry),
    signal,
    onGap,
    maxQueuedEvents,
    maxQueuedBytes,
    whenFull,
  };
}

/**
 * What containerd is asked for: every combination of a filter, a namespace and a topic, since "and" only exists within
 * a filter.
 */
function filtersOf(options: SubscribeOptions): readonly string[] {
  const kinds = [
    checkedTexts("filters", options.filters, filterFault),
    checkedTexts("namespaces", options.namespaces, namespaceFault)?.map(
      (name) => `namespace==${quoted(name)}`,
    ),
    checkedTexts("topics", options.topics, topicPrefixFault)?.map(
      // A regular expression, in which only this character of a topic has a meaning. None would end the filter's value.
      (prefix) => `topic~=${quoted(`^${prefix.replaceAll(".", "[.]")}`)}`,
    ),
  ];
  let product: string[] | undefined;
  for (const [index, kind] of kinds.entries()) {
    if (kind === undefined) continue;
    const name = ["filters", "namespaces", "topics"][index];
    // Nothing matches an empty list.
    if (kind.length === 0) throw new TypeError(`${name} must not be empty; leave it out for all events`);
    product = product?.flatMap((one) => kind.map((other) => `${one},${other}`)) ?? [...kind];
    if (product.length > MOST_FILTERS)
      throw new TypeError(`filters, namespaces and topics make more than ${MOST_FILTERS} combinations`);
  }
  return product ?? [];
}

const quoted = (text: string) => `"${text}"`;

function filterFault(filter: string): string | undefined {
  return filter.trim() === "" ? "a filter must not be empty" : undefined;
}
