import { Event } from "../protos/generated/nri/pkg/api/v1alpha1/nri_pb.js";
import { isArray, kindOf, shown } from "../value-kinds.js";

/** The events of pods and containers, under the names of their handlers. */
export const EVENTS = {
  runPodSandbox: Event.RUN_POD_SANDBOX,
  updatePodSandbox: Event.UPDATE_POD_SANDBOX,
  postUpdatePodSandbox: Event.POST_UPDATE_POD_SANDBOX,
  stopPodSandbox: Event.STOP_POD_SANDBOX,
  removePodSandbox: Event.REMOVE_POD_SANDBOX,
  createContainer: Event.CREATE_CONTAINER,
  postCreateContainer: Event.POST_CREATE_CONTAINER,
  startContainer: Event.START_CONTAINER,
  postStartContainer: Event.POST_START_CONTAINER,
  updateContainer: Event.UPDATE_CONTAINER,
  postUpdateContainer: Event.POST_UPDATE_CONTAINER,
  stopContainer: Event.STOP_CONTAINER,
  removeContainer: Event.REMOVE_CONTAINER,
  validateContainerAdjustment: Event.VALIDATE_CONTAINER_ADJUSTMENT,
} as const satisfies Readonly<Record<EventName, Event>>;

/** The name of an event to which a plugin can subscribe, which is that of its handler. */
export type EventName =
  | "runPodSandbox"
  | "updatePodSandbox"
  | "postUpdatePodSandbox"
  | "stopPodSandbox"
  | "removePodSandbox"
  | "createContainer"
  | "postCreateContainer"
  | "startContainer"
  | "postStartContainer"
  | "updateContainer"
  | "postUpdateContainer"
  | "stopContainer"
  | "removeContainer"
  | "validateContainerAdjustment";

/** All names of events. */
export const EVENT_NAMES = Object.keys(EVENTS) as EventName[];

/**
 * The event that a plugin without events subscribes to, because the runtime takes an empty mask for all events. Of those that
 * every version of NRI knows it is the rarest.
 */
const RAREST = Event.POST_UPDATE_CONTAINER;

/** The mask of a subscription: event N is bit N - 1. */
export function maskOf(names: readonly EventName[]): number {
  let mask = 0;
  for (const name of names) mask |= 1 << (EVENTS[name] - 1);
  return mask === 0 ? 1 << (RAREST - 1) : mask;
}

/** The names of a mask's events. */
export function namesOf(mask: number): EventName[] {
  return EVENT_NAMES.filter((name) => (mask & (1 << (EVENTS[name] - 1))) !== 0);
}

/** The name of an event's handler; undefined if the event is unknown. */
export function nameOf(event: Event): EventName | undefined {
  return EVENT_NAMES.find((name) => EVENTS[name] === event);
}

/** Checks names of events, each of which must be among those that are handled. Throws a TypeError. */
export function checkedEvents(
  names: unknown,
  handled: readonly EventName[],
  where: string,
): readonly EventName[] {
  if (!isArray(names))
    throw new TypeError(`${where} must be an array of names of events, not ${kindOf(names)}`);
  for (const name of names) {
    if (!EVENT_NAMES.includes(name as EventName)) {
      throw new TypeError(`${where} has ${shown(name)}, which is not one of ${EVENT_NAMES.join(", ")}`);
    }
    if (!handled.includes(name as EventName)) {
      throw new TypeError(
        `${where} has ${shown(name)}, which this plugin does not subscribe to or has no handler for`,
      );
    }
  }
  return names as readonly EventName[];
}

const POD_EVENTS = ["runPodSandbox", "postUpdatePodSandbox", "stopPodSandbox", "removePodSandbox"] as const;
const CONTAINER_EVENTS = [
  "postCreateContainer",
  "startContainer",
  "postStartContainer",
  "postUpdateContainer",
  "removeContainer",
] as const;
/** The events of pods that are answered with nothing, and for which NRI before 0.12 has only StateChange. */
export type PodEventName = (typeof POD_EVENTS)[number];
/** The same of containers. */
export type ContainerEventName = (typeof CONTAINER_EVENTS)[number];

/** Whether it is an event of a pod that is answered with nothing. */
export function isPodEvent(name: EventName): name is PodEventName {
  return (POD_EVENTS as readonly EventName[]).includes(name);
}

/** Whether it is an event of a container that is answered with nothing. */
export function isContainerEvent(name: EventName): name is ContainerEventName {
  return (CONTAINER_EVENTS as readonly EventName[]).includes(name);
}
