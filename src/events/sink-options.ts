import type { Registry } from "@bufbuild/protobuf";
import { checkLimits, checkOptions } from "../options.js";
import { checkDriver } from "../native/driver.js";
import type { ListenOptions } from "../server/options.js";
import { checkedTexts, checkOneOf } from "./check.js";
import { type ContainerdEvent, namespaceFault, topicPrefixFault, type TypeOf, typesOf } from "./event.js";
import type { Driver } from "../connection-types.js";

/** Options of {@link listenEvents} and {@link forwardEvents}. */
export interface EventSinkOptions extends ListenOptions {
  /** Topic prefixes, such as `/tasks/`. Only events whose topic starts with one of them are delivered. Default all. */
  readonly topics?: readonly string[] | undefined;
  /** Only events of these namespaces are delivered. Default all. */
  readonly namespaces?: readonly string[] | undefined;
  /**
   * Message types to decode besides containerd's own. If the registry throws, events of its types come without `message`,
   * and a process warning (`TtrpcWarning`) reports the first failure.
   */
  readonly registry?: Registry | undefined;
  /**
   * When an event is acknowledged, so that its publisher forgets it:
   *
   * - `"taken"`: at the end of the turn of the event loop in which the consumer got it. By then, the consumer has done
   *   everything with it that needs no waiting, such as a synchronous write.
   * - `"done"`: when the consumer asks for the next event, and so has finished with this one. If the consumer leaves the
   *   loop by `break` or an error, the event in hand is not acknowledged, and comes first in the next loop.
   * - `"arrived"`: as soon as it has a place in the queue.
   *
   * Default `"taken"`; for `forwardEvents`, `"arrived"`.
   */
  readonly acknowledge?: "taken" | "done" | "arrived" | undefined;
  /** Events that may wait for the consumer. Default 10 000. */
  readonly maxQueuedEvents?: number | undefined;
  /** Bytes of the events that may wait, as they were sent. Default 16 MiB. */
  readonly maxQueuedBytes?: number | undefined;
  /**
   * What happens when an event arrives while the queue is full:
   *
   * - `"wait"`: its publisher waits. The event is not acknowledged, and nothing more is read from the publisher.
   * - `"dropOldest"`: the event that has waited longest is dropped, acknowledged and counted.
   * - `"fail"`: its publisher gets `ResourceExhausted`.
   *
   * Default `"wait"`.
   */
  readonly whenFull?: "wait" | "dropOldest" | "fail" | undefined;
  /**
   * Admits only peers of this process's own user and group, as containerd does. Only unix sockets have peer credentials, so
   * on any other address nobody is admitted. Default false.
   */
  readonly requireSameUser?: boolean | undefined;
  /**
   * What runs the server's runtime, and that of a forwarder's connection; see {@link Driver}. Default `"loop"`, or
   * `"thread"` without Node's event loop.
   */
  readonly driver?: Driver | undefined;
}

/** The outcomes of the events that arrived. */
export interface EventCounts {
  /** Events that arrived. */
  readonly received: number;
  /** Events that the consumer got. */
  readonly taken: number;
  /** Events that were acknowledged but not delivered, because `topics` or `namespaces` do not select them. */
  readonly filtered: number;
  /** Events that `"dropOldest"` dropped and acknowledged. */
  readonly dropped: number;
  /** Events that were answered with an error: invalid, too many, or not accepted by containerd. */
  readonly refused: number;
  /** Events that were not delivered before the publisher's deadline; the publisher sends them again. */
  readonly expired: number;
  /** Events that wait for the consumer. */
  readonly queued: number;
  /** The bytes of the events that wait for the consumer. */
  readonly queuedBytes: number;
}

/** Checked options. */
export interface SinkPlan {
  readonly acknowledge: "taken" | "done" | "arrived";
  readonly whenFull: "wait" | "dropOldest" | "fail";
  readonly maxQueuedEvents: number;
  readonly maxQueuedBytes: number;
  readonly requireSameUser: boolean | undefined;
  readonly driver: Driver;
  readonly wants: (event: ContainerdEvent) => boolean;
  readonly typeOf: TypeOf;
  readonly listen: ListenOptions;
}

const ACKNOWLEDGE = ["taken", "done", "arrived"] as const;
const WHEN_FULL = ["wait", "dropOldest", "fail"] as const;

const OPTIONS = [
  "mode",
  "reclaimStale",
  "topics",
  "namespaces",
  "registry",
  "acknowledge",
  "maxQueuedEvents",
  "maxQueuedBytes",
  "whenFull",
  "requireSameUser",
  "driver",
] as const satisfies readonly (keyof EventSinkOptions)[];

/** Checks options. Throws a TypeError that names the one that is wrong. */
export function sinkPlan(
  owner: string,
  options: EventSinkOptions,
  defaultAcknowledge: SinkPlan["acknowledge"],
): SinkPlan {
  checkOptions(owner, options, OPTIONS);
  const {
    topics: givenTopics,
    namespaces: givenNamespaces,
    registry,
    acknowledge = defaultAcknowledge,
    maxQueuedEvents = 10_000,
    maxQueuedBytes = 16 << 20,
    whenFull = "wait",
    requireSameUser,
    driver,
    mode,
    reclaimStale,
  } = options;
  checkOneOf("acknowledge", acknowledge, ACKNOWLEDGE);
  checkOneOf("whenFull", whenFull, WHEN_FULL);
  checkLimits({ maxQueuedEvents, maxQueuedBytes });
  const topics = checkedTexts("topics", givenTopics, topicPrefixFault);
  const namespaces = checkedTexts("namespaces", givenNamespaces, namespaceFault);
  const wants = ({ topic, namespace }: ContainerdEvent) =>
    (topics === undefined || topics.some((prefix) => topic.startsWith(prefix))) &&
    (namespaces === undefined || namespaces.includes(namespace));
  return {
    acknowledge,
    whenFull,
    maxQueuedEvents,
    maxQueuedBytes,
    requireSameUser,
    driver: checkDriver(driver),
    wants,
    typeOf: typesOf(registry),
    listen: { mode, reclaimStale },
  };
}
