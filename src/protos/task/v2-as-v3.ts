import { Task } from "./v3.js";

/**
 * Version 2 of the Task service with the messages of version 3. The versions differ in nothing but the package in the
 * names of the service and its messages, and the names of messages are not sent. So one type of each message does for both.
 */
export const TaskV2: typeof Task = Object.create(Task, {
  typeName: { value: "containerd.task.v2.Task", enumerable: true },
}) as typeof Task;
