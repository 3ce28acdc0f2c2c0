import { create, type DescMethod, type Message, type MessageInitShape } from "@bufbuild/protobuf";
import { AnySchema } from "@bufbuild/protobuf/wkt";
import { type CallOptions, type Client, packAny, type SyncClient } from "containerd-shim-protos";
import * as v2 from "containerd-shim-protos/task/v2";
import * as v3 from "containerd-shim-protos/task/v3";
import {
  CheckpointOptionsSchema,
  OptionsSchema,
} from "../../src/protos/generated/containerd/runc/v1/oci_pb.js";

export type Version = "v2" | "v3";

/** The Task service and its messages. Those of version 2 differ only in their package. */
export type TaskApi = typeof v3;

export const VERSIONS: readonly { readonly version: Version; readonly api: TaskApi }[] = [
  { version: "v3", api: v3 },
  { version: "v2", api: v2 as unknown as TaskApi },
];

type Methods = TaskApi["Task"]["method"];
export type MethodName = keyof Methods;

/** The 17 methods, by their names in protobuf-es. */
export const METHODS = v3.Task.methods.map((method) => method.localName as MethodName);

/** The descriptor of any method. */
export function methodOf(api: TaskApi, name: MethodName): DescMethod {
  return api.Task.method[name];
}

/** Calls a method that is known only by name. */
export function callMethod(
  client: Client<TaskApi["Task"]>,
  name: MethodName,
  request: unknown,
  options?: CallOptions,
): Promise<Message> {
  const method = client[name] as (request: unknown, options?: CallOptions) => Promise<Message>;
  return method(request, options);
}

/** Calls a method that is known only by name, and waits for it. */
export function callMethodSync(
  client: SyncClient<TaskApi["Task"]>,
  name: MethodName,
  request: unknown,
  options?: CallOptions,
): Message {
  const method = client[name] as (request: unknown, options?: CallOptions) => Message;
  return method(request, options);
}

export type Requests = { readonly [Name in MethodName]: MessageInitShape<Methods[Name]["input"]> };
export type Replies = { readonly [Name in MethodName]: MessageInitShape<Methods[Name]["output"]> };

export const EXEC_ID = "exec-1";

/** The requests of the Rust client, as in its requests.rs: every field is set. */
export function requestsOf(id: string): Requests {
  const [execId, encoder] = [EXEC_ID, new TextEncoder()];
  const json = (type: string, value: object) =>
    create(AnySchema, {
      typeUrl: `types.containerd.io/opencontainers/runtime-spec/1/${type}`,
      value: encoder.encode(JSON.stringify(value)),
    });
  return {
    state: { id, execId },
    create: {
      id,
      bundle: "/run/bundle",
      rootfs: [
        {
          type: "overlay",
          source: "overlay",
          target: "/",
          options: ["lowerdir=/a:/b", "upperdir=/c", "workdir=/d"],
        },
        { type: "bind", source: "/host/data", target: "/data", options: ["rbind", "ro"] },
      ],
      terminal: true,
      stdin: "/fifo/stdin",
      stdout: "/fifo/stdout",
      stderr: "/fifo/stderr",
      checkpoint: "/checkpoint",
      parentCheckpoint: "/parent-checkpoint",
      options: packAny(OptionsSchema, {
        noPivotRoot: true,
        shimCgroup: "/shim",
        ioUid: 1000,
        ioGid: 1001,
        binaryName: "runc",
        root: "/run/runc",
        systemdCgroup: true,
      }),
    },
    start: { id, execId },
    delete: { id, execId },
    pids: { id },
    pause: { id },
    resume: { id },
    checkpoint: {
      id,
      path: "/checkpoint/path",
      options: packAny(CheckpointOptionsSchema, {
        exit: true,
        openTcp: true,
        emptyNamespaces: ["network", "ipc"],
        cgroupsMode: "soft",
      }),
    },
    kill: { id, execId, signal: 15, all: true },
    exec: {
      id,
      execId,
      terminal: true,
      stdin: "/fifo/exec-stdin",
      stdout: "/fifo/exec-stdout",
      stderr: "/fifo/exec-stderr",
      spec: json("Process", { args: ["sh", "-c", "true"], cwd: "/" }),
    },
    resizePty: { id, execId, width: 120, height: 40 },
    closeIO: { id, execId, stdin: true },
    update: {
      id,
      resources: json("LinuxResources", { memory: { limit: 1_048_576 } }),
      annotations: { "annotation-1": "value-1", "annotation-2": "value-2" },
    },
    wait: { id, execId },
    stats: { id },
    connect: { id },
    shutdown: { id, now: true },
  };
}
