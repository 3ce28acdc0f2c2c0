import { create, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { anyPack, AnySchema, anyUnpack, timestampNow } from "@bufbuild/protobuf/wkt";
import { type ForwardRequest, ForwardRequestSchema, TaskExitSchema } from "containerd-shim-protos/events";

/** A contender that moves typed events from one process to another. */
export interface Contender {
  /** Serves events on a socket, and calls `take` with the exit status of each, once its message is decoded. */
  serve(path: string, take: (exitStatus: number) => void): Promise<unknown>;
  /** Publishes `count` events, whose exit statuses count up from 0, with `inflight` of them in flight at once. */
  publish(path: string, count: number, inflight: number): Promise<void>;
}

const ID = "9d4f8f0d5c1b4a5e8a3f7c2e6b1d0f9a8c7b6a5d4e3f2a1b0c9d8e7f6a5b4c3d";

/** The event that a shim publishes when a container's process exits. */
export function exitEvent(exitStatus: number): MessageInitShape<typeof TaskExitSchema> {
  return { containerId: ID, id: ID, pid: 4242, exitStatus, exitedAt: timestampNow() };
}

/** A ForwardRequest as protobuf-es encodes it. */
export function encodeRequest(exitStatus: number): Uint8Array {
  const event = anyPack(TaskExitSchema, create(TaskExitSchema, exitEvent(exitStatus)));
  const envelope = { timestamp: timestampNow(), namespace: "default", topic: "/tasks/exit", event };
  return toBinary(ForwardRequestSchema, create(ForwardRequestSchema, { envelope }));
}

/** The exit status in a ForwardRequest, as protobuf-es decodes it. */
export function exitStatusOf({ envelope }: ForwardRequest): number {
  const exit = anyUnpack(envelope?.event ?? create(AnySchema), TaskExitSchema);
  if (exit === undefined) throw new Error("not a TaskExit");
  return exit.exitStatus;
}

/** Decodes a ForwardRequest with protobuf-es. */
export function decodeRequest(bytes: Uint8Array): ForwardRequest {
  return fromBinary(ForwardRequestSchema, bytes);
}

/** Makes `count` calls, `inflight` at a time, in order. */
export async function inOrder(
  count: number,
  inflight: number,
  call: (number: number) => Promise<unknown>,
): Promise<void> {
  let next = 0;
  const worker = async () => {
    while (next < count) await call(next++);
  };
  await Promise.all(Array.from({ length: inflight }, worker));
}
