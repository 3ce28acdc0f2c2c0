/**
 * containerd's Task service, version 2, which containerd 1.x calls, and which containerd 2.x calls if a shim says that it
 * serves version 2. containerd's own shim serves it in 1.x. Its methods and messages are those of version 3; only the
 * package in their names differs.
 *
 * ```ts
 * import { connect, createClient } from "containerd-shim-protos";
 * import { Status, Task } from "containerd-shim-protos/task/v2";
 *
 * await using connection = await connect("unix:///run/containerd/s/abc");
 * const task = createClient(Task, connection);
 * const { pid, status } = await task.state({ id: "my-container" }, { timeoutMs: 1000 });
 * if (status === Status.RUNNING) await task.kill({ id: "my-container", signal: 15, all: true });
 * ```
 *
 * @module
 */

export {
  Task,
  type CreateTaskRequest,
  CreateTaskRequestSchema,
  type CreateTaskResponse,
  CreateTaskResponseSchema,
  type DeleteRequest,
  DeleteRequestSchema,
  type DeleteResponse,
  DeleteResponseSchema,
  type ExecProcessRequest,
  ExecProcessRequestSchema,
  type ExecProcessResponse,
  ExecProcessResponseSchema,
  type ResizePtyRequest,
  ResizePtyRequestSchema,
  type StateRequest,
  StateRequestSchema,
  type StateResponse,
  StateResponseSchema,
  type KillRequest,
  KillRequestSchema,
  type CloseIORequest,
  CloseIORequestSchema,
  type PidsRequest,
  PidsRequestSchema,
  type PidsResponse,
  PidsResponseSchema,
  type CheckpointTaskRequest,
  CheckpointTaskRequestSchema,
  type UpdateTaskRequest,
  UpdateTaskRequestSchema,
  type StartRequest,
  StartRequestSchema,
  type StartResponse,
  StartResponseSchema,
  type WaitRequest,
  WaitRequestSchema,
  type WaitResponse,
  WaitResponseSchema,
  type StatsRequest,
  StatsRequestSchema,
  type StatsResponse,
  StatsResponseSchema,
  type ConnectRequest,
  ConnectRequestSchema,
  type ConnectResponse,
  ConnectResponseSchema,
  type ShutdownRequest,
  ShutdownRequestSchema,
  type PauseRequest,
  PauseRequestSchema,
  type ResumeRequest,
  ResumeRequestSchema,
} from "../generated/containerd/task/v2/shim_pb.js";
export {
  type ProcessInfo,
  ProcessInfoSchema,
  Status,
  StatusSchema,
} from "../generated/containerd/v1/types/task_pb.js";
export { type Mount, MountSchema } from "../generated/containerd/types/mount_pb.js";
