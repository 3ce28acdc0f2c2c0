import { isMessage } from "@bufbuild/protobuf";
import {
  type ContainerdEvent,
  type Publisher,
  TASK_EXIT_EVENT_TOPIC,
  TaskExitSchema,
} from "containerd-shim-protos/events";

/** Publishes a `TaskExit` that is identified only by its exit status. */
export function publishExit(publisher: Publisher, exitStatus: number): Promise<void> {
  return publisher.publish(TASK_EXIT_EVENT_TOPIC, TaskExitSchema, {
    containerId: "c",
    id: "c",
    pid: 1,
    exitStatus,
  });
}

/** The exit status of a `TaskExit`. */
export function statusOf({ message }: ContainerdEvent): number {
  if (!isMessage(message, TaskExitSchema)) throw new Error("the event is not a TaskExit");
  return message.exitStatus;
}

/** The exit statuses of the next `count` events. The loop is left after these. */
export async function statuses(events: AsyncIterable<ContainerdEvent>, count: number): Promise<number[]> {
  const all: number[] = [];
  for await (const event of events) {
    all.push(statusOf(event));
    if (all.length === count) break;
  }
  return all;
}

/** 0, 1, 2, …. */
export function upTo(count: number): number[] {
  return Array.from({ length: count }, (_, index) => index);
}
