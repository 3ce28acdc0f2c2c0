/**
 * containerd's Task service, version 3, through which containerd 2.x has a shim create, start, watch and end the
 * processes of a container. containerd's own shim serves it in 2.x.
 *
 * ```ts
 * import { connect, createClient } from "containerd-shim-protos";
 * import { Status, Task } from "containerd-shim-protos/task/v3";
 *
 * await using connection = await connect("unix:///run/containerd/s/abc");
 * const task = createClient(Task, connection);
 * const { shimPid } = await task.connect({ id: "my-container" }, { timeoutMs: 1000 });
 * const { status } = await task.state({ id: "my-container" });
 * console.log(shimPid, Status[status]);
 * ```
 *
 * A shim serves it with `server.add(Task, { ... })`.
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
} from "../generated/containerd/task/v3/shim_pb.js";
export {
  type ProcessInfo,
  ProcessInfoSchema,
  Status,
  StatusSchema,
} from "../generated/containerd/v1/types/task_pb.js";
export { type Mount, MountSchema } from "../generated/containerd/types/mount_pb.js";
