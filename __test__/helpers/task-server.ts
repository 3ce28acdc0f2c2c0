import { create, type Message } from "@bufbuild/protobuf";
import { AnySchema } from "@bufbuild/protobuf/wkt";
import type { HandlerContext, ServiceImpl } from "containerd-shim-protos";
import { Status } from "containerd-shim-protos/task/v3";
import { METHODS, type MethodName, type Replies, type TaskApi } from "./tasks.js";

/** One request that a handler of ours got. */
export interface Seen {
  readonly name: MethodName;
  readonly request: Message;
  readonly context: HandlerContext;
}

/** The replies of our handlers: every field is set, none to its default. */
export const REPLIES: Replies = {
  state: {
    id: "id-1",
    bundle: "/bundle",
    pid: 4_294_967_295,
    status: Status.PAUSED,
    stdin: "/stdin",
    stdout: "/stdout",
    stderr: "/stderr-ü€😀",
    terminal: true,
    exitStatus: 9,
    exitedAt: { seconds: -62_135_596_800n, nanos: 999_999_999 },
    execId: "exec-7",
  },
  create: { pid: 11 },
  start: { pid: 12 },
  delete: { pid: 13, exitStatus: 255, exitedAt: { seconds: 253_402_300_799n, nanos: 1 } },
  pids: {
    processes: [
      { pid: 1, info: create(AnySchema, { typeUrl: "a.B", value: new Uint8Array([0, 255]) }) },
      { pid: 2 },
    ],
  },
  pause: {},
  resume: {},
  checkpoint: {},
  kill: {},
  exec: {},
  resizePty: {},
  closeIO: {},
  update: {},
  wait: { exitStatus: 128, exitedAt: { seconds: 1n } },
  stats: { stats: create(AnySchema, { typeUrl: "io.Stats", value: new Uint8Array([8, 1]) }) },
  connect: { shimPid: 21, taskPid: 22, version: "ours" },
  shutdown: {},
};

/** Handlers for all methods. Each records what it gets and replies as `answer` says. */
export function handlersOf(
  seen: Seen[],
  answer: (name: MethodName) => unknown = (name) => REPLIES[name],
): ServiceImpl<TaskApi["Task"]> {
  const handlers = METHODS.map((name) => [
    name,
    async (request: Message, context: HandlerContext) => {
      seen.push({ name, request, context });
      return answer(name);
    },
  ]);
  return Object.fromEntries(handlers) as ServiceImpl<TaskApi["Task"]>;
}
