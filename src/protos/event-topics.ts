/**
 * The topics under which shims publish the events of a task, named as in the Rust crate.
 *
 * @module
 */

/** Topic of a `TaskCreate`: the task was created and has not started. */
export const TASK_CREATE_EVENT_TOPIC = "/tasks/create";

/** Topic of a `TaskStart`: the task's first process was started. */
export const TASK_START_EVENT_TOPIC = "/tasks/start";

/** Topic of a `TaskOOM`: the container ran out of memory. */
export const TASK_OOM_EVENT_TOPIC = "/tasks/oom";

/** Topic of a `TaskExit`: a process of the task, the first or an exec, has ended. */
export const TASK_EXIT_EVENT_TOPIC = "/tasks/exit";

/** Topic of a `TaskDelete`: the task, or an exec of it, was deleted. */
export const TASK_DELETE_EVENT_TOPIC = "/tasks/delete";

/** Topic of a `TaskExecAdded`: an exec was added and has not started. */
export const TASK_EXEC_ADDED_EVENT_TOPIC = "/tasks/exec-added";

/** Topic of a `TaskExecStarted`: the process of an exec was started. */
export const TASK_EXEC_STARTED_EVENT_TOPIC = "/tasks/exec-started";

/** Topic of a `TaskPaused`: the task was paused. */
export const TASK_PAUSED_EVENT_TOPIC = "/tasks/paused";

/** Topic of a `TaskResumed`: the paused task was resumed. */
export const TASK_RESUMED_EVENT_TOPIC = "/tasks/resumed";

/** Topic of a `TaskCheckpointed`: a checkpoint of the task was written. */
export const TASK_CHECKPOINTED_EVENT_TOPIC = "/tasks/checkpointed";

/** Topic of an event whose type has no known topic. */
export const TASK_UNKNOWN_TOPIC = "/tasks/?";
