/**
 * OpenTelemetry for ttrpc: interceptors that make a span of each call, measure how long it took, and carry the trace
 * across in the metadata, as containerd 2 does. Needs `@opentelemetry/api`, which is an optional peer of this package.
 *
 * ```ts
 * import { connect, createClient, createServer } from "containerd-shim-protos";
 * import { otelClientInterceptor, otelServerInterceptor } from "containerd-shim-protos/otel";
 * import { Task } from "containerd-shim-protos/task/v3";
 *
 * const connection = await connect("unix:///run/containerd/s/abc");
 * const task = createClient(Task, connection, { interceptors: [otelClientInterceptor()] });
 * const server = createServer({ interceptors: [otelServerInterceptor()] });
 * ```
 *
 * @module
 */

export { otelClientInterceptor } from "./client.js";
export type { OtelOptions } from "./options.js";
export { otelServerInterceptor } from "./server.js";
