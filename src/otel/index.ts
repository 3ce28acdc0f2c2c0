/**
 * OpenTelemetry for ttrpc: interceptors that make a span for each call, measure its duration, and carry the trace in
 * the metadata, as containerd 2 does. Needs `@opentelemetry/api`, an optional peer dependency of this package.
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

/// <reference types="node" preserve="true" />

export { otelClientInterceptor } from "./client.js";
export type { OtelOptions } from "./options.js";
export { otelServerInterceptor } from "./server.js";
