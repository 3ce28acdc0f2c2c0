import type { BatchReader } from "../native/batch-reader.js";
import type { IncomingRequest } from "../native/types.js";
import type { ServerConnection } from "./context.js";
import type { RequestHost, RunningRequest, Served } from "./running-request.js";
import { StreamRequest } from "./stream-request.js";
import { UnaryRequest } from "./unary-request.js";

/** Makes a request from a batch, ready to run. */
export function runningRequest(
  host: RequestHost,
  method: Served,
  request: IncomingRequest,
  connection: ServerConnection,
  reader: BatchReader,
): RunningRequest {
  const Kind = method.kind === "unary" ? UnaryRequest : StreamRequest;
  return new Kind(host, method, request, connection, reader);
}
