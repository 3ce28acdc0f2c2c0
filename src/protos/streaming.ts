/**
 * containerd's streaming service: it carries bytes and messages of any type between containerd and a sandbox, in one
 * bidirectional call per stream. The first message each way is a `StreamInit`.
 *
 * ```ts
 * import { connect, createClient, packAny } from "containerd-shim-protos";
 * import { StreamInitSchema, Streaming } from "containerd-shim-protos/streaming";
 *
 * await using connection = await connect("unix:///run/containerd/s/abc");
 * async function* messages() {
 *   yield packAny(StreamInitSchema, { id: "stdin-1" });
 * }
 * for await (const message of createClient(Streaming, connection).stream(messages())) {
 *   console.log(message.typeUrl, message.value.length);
 * }
 * ```
 *
 * @module
 */

export {
  type StreamInit,
  StreamInitSchema,
  Streaming,
} from "./generated/containerd/services/streaming/v1/streaming_pb.js";
