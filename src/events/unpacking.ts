import { allow, settle } from "../codec/weight.js";
import { type ArrivedEvent, type ContainerdEvent, type TypeOf, unpack } from "./event.js";

/** Of the messages that are decoded when their events are taken, at once. */
const LEAST_TAKEN_WEIGHT = 4 << 20;

/** An event in a queue. */
export interface Unpacked {
  readonly event: ArrivedEvent;
  /** Whether its message takes so much that it is decoded only when the event is taken. */
  readonly isHeavy: boolean;
}

/** What the objects of an event of `size` bytes may take while it waits: far more than those of any that containerd sends. */
export function mostWeight(size: number): number {
  return 4096 + 4 * size;
}

/**
 * Decodes the message of an event that is to wait, unless it would take much more than its bytes, which are what counts.
 * Returns whether it would.
 */
export function unpackUnlessHeavy(event: ArrivedEvent, size: number, typeOf: TypeOf): boolean {
  const most = mostWeight(size);
  allow(most);
  unpack(event, typeOf);
  return settle() > most;
}

/**
 * The events for the consumer, of a queue of `maxQueuedBytes`. A heavy message for which nothing is left of the limit
 * stays undefined.
 */
export function takenEvents(
  events: readonly Unpacked[],
  typeOf: TypeOf,
  maxQueuedBytes: number,
): ContainerdEvent[] {
  let left = Math.max(maxQueuedBytes, LEAST_TAKEN_WEIGHT);
  return events.map(({ event, isHeavy }) => {
    if (isHeavy && event.message === undefined) {
      allow(left);
      unpack(event, typeOf);
      left -= settle();
    }
    return event;
  });
}
