import {
  type ContainerAdjustment,
  type ContainerEviction,
  type ContainerUpdate,
} from "../protos/generated/nri/pkg/api/v1alpha1/nri_pb.js";
import { isInstance, kindOf } from "../value-kinds.js";
import { Adjustment, adjustmentOf } from "./adjustment.js";
import { evictionOf, updateOf } from "./resources.js";
import { checkedList, checkedObject } from "./values.js";

// Each function takes what a handler returned, whatever it is, and makes the fields of the reply. It throws a TypeError that
// names the wrong field. Messages are checked too, because a user may have made or changed them.

/** The reply to what createContainer returned. */
export function checkedCreation(returned: unknown): {
  adjust?: ContainerAdjustment | undefined;
  update?: ContainerUpdate[] | undefined;
  evict?: ContainerEviction[];
} {
  if (returned === undefined) return {};
  if (isInstance(returned, Adjustment)) return { adjust: adjustmentOf(returned) };
  const { adjust, update, evict } = checkedObject(returned, "it", ["adjust", "update", "evict"]);
  return {
    adjust: adjust === undefined ? undefined : adjustmentOf(adjust as ContainerAdjustment),
    update: checkedUpdates(update),
    evict: checkedEvictions(evict),
  };
}

/** The reply to what updateContainer returned. */
export function checkedUpdate(returned: unknown): {
  update?: ContainerUpdate[] | undefined;
  evict?: ContainerEviction[];
} {
  if (returned === undefined) return {};
  const { update, evict } = checkedObject(returned, "it", ["update", "evict"]);
  // NRI 0.12.5 lets an update of the container that has no resources replace what the runtime wants by nothing.
  const changes = checkedUpdates(update).filter(({ linux }) => linux?.resources !== undefined);
  return { update: changes, evict: checkedEvictions(evict) };
}

/** The updates that a handler returned, alone or among other parts. */
export function checkedUpdates(returned: unknown): ContainerUpdate[] {
  return listed(returned, "update").map((each, index) =>
    updateOf(each as ContainerUpdate, `update[${index}]`),
  );
}

/** The reply to what validateContainerAdjustment returned. */
export function checkedReason(returned: unknown): { reject?: boolean; reason?: string } {
  if (returned === undefined) return {};
  if (typeof returned === "string") return { reject: true, reason: returned };
  throw new TypeError(`the reason must be a string, not ${kindOf(returned)}`);
}

function checkedEvictions(returned: unknown): ContainerEviction[] {
  return listed(returned, "evict").map((each, index) =>
    evictionOf(each as ContainerEviction, `evict[${index}]`),
  );
}

function listed(returned: unknown, name: string): unknown[] {
  return returned === undefined ? [] : checkedList(returned, name);
}
