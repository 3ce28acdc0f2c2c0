import type { Registry } from "@bufbuild/protobuf";
import { checkLimits, checkOptions } from "../options.js";
import { checkDriver } from "../native/driver.js";
import type { ListenOptions } from "../server/options.js";
import { checkedTexts, checkOneOf } from "./check.js";
import { type ContainerdEvent, namespaceFault, type TypeOf, typesOf } from "./event.js";
import type { Driver } from "../connection-types.js";

/** Options of {@link listenEvents} and {@link forwardEvents}. */
export interface EventSinkOptions extends ListenOptions {
  /** Topic prefixes, such as `/tasks/`. Only events whose topic starts with one are delivered; all, if left out. */
  readonly topics?: readonly string[] | undefined;
  /** Namespaces. Only events of these are delivered; all, if left out. */
  readonly namespaces?: readonly string[] | undefined;
  /**
   * Types of messages besides containerd's own. If it throws, events of its types come without `message`, and a process
   * warning (`TtrpcWarning`) reports the first failure.
   */
  readonly registry?: Registry | undefined;
  /**
   * When an event is acknowledged, upon which its publisher forgets it:
   *
   * - `"taken"`: when the consumer got it, at the end of that turn of the event loop; so whatever the consumer does with
   *   it without waiting, such as a synchronous write, is done by then.
   * - `"done"`: when the consumer asks for the next one, and so has done with it. One that it leaves with, by `break` or
   *   an error, is not acknowledged, and is the first of the next loop.
   * - `"arrived"`: at once, when it has a place in the queue.
   *
   * `"taken"` if left out; for `forwardEvents`, `"arrived"`.
   */
  readonly acknowledge?: "taken" | "done" | "arrived" | undefined;
  /** Events that may wait for the consumer. 10 000 if left out. */
  readonly maxQueuedEvents?: number | undefined;
  /** Their bytes, as they were sent. 16 MiB if left out. */
  readonly maxQueuedBytes?: number | undefined;
  /**
   * What happens when one more comes:
   *
   * - `"wait"`: its publisher waits: nothing is acknowledged, and no more is read from it.
   * - `"dropOldest"`: the one that has waited longest is dropped, acknowledged and counted.
   * - `"fail"`: its publisher gets `ResourceExhausted`.
   *
   * `"wait"` if left out.
   */
  readonly whenFull?: "wait" | "dropOldest" | "fail" | undefined;
  /**
   * Admits only peers of this process's own user and group, as containerd does. Only unix sockets tell; on any other address
   * nobody is admitted. Default false.
   */
  readonly requireSameUser?: boolean | undefined;
  /** What turns the server's runtime, and a forwarder's connection. `"loop"` if left out, where there is Node's; see {@link Driver}. */
  readonly driver?: Driver | undefined;
}

/** The outcomes of the events that arrived. */
export interface EventCounts {
  /** Events that arrived. */
  readonly received: number;
  /** Given to the consumer. */
  readonly taken: number;
  /** Not delivered, because their topic or namespace was not asked for; acknowledged. */
  readonly filtered: number;
  /** Dropped by `"dropOldest"`; acknowledged. */
  readonly dropped: number;
  /** Answered with an error: invalid, too many, or not accepted by containerd. */
  readonly refused: number;
  /** Not delivered, because the publisher's deadline passed first. Its own clock told it so, and it sends them again. */
  readonly expired: number;
  /** Waiting for the consumer. */
  readonly queued: number;
  /** Their bytes. */
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
  const topics = checkedTexts("topics", givenTopics, (topic) =>
    topic.startsWith("/") ? undefined : `${JSON.stringify(topic)} starts with no "/", as no topic does`,
  );
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
