import { AsyncLocalStorageContextManager } from "@opentelemetry/context-async-hooks";
import { context, metrics, propagation, SpanKind, trace } from "@opentelemetry/api";
import { CompositePropagator, W3CBaggagePropagator, W3CTraceContextPropagator } from "@opentelemetry/core";
import {
  AggregationTemporality,
  InMemoryMetricExporter,
  MeterProvider,
  PeriodicExportingMetricReader,
} from "@opentelemetry/sdk-metrics";
import {
  BasicTracerProvider,
  InMemorySpanExporter,
  type ReadableSpan,
  SimpleSpanProcessor,
} from "@opentelemetry/sdk-trace-base";
import { otelClientInterceptor, otelServerInterceptor } from "containerd-shim-protos/otel";
import { afterAll, beforeEach } from "vitest";
import { streamServer } from "../helpers/stream-server.js";

export const exporter = new InMemorySpanExporter();
const tracerProvider = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] });
export const metricExporter = new InMemoryMetricExporter(AggregationTemporality.DELTA);
export const reader = new PeriodicExportingMetricReader({
  exporter: metricExporter,
  exportIntervalMillis: 1e6,
});
const meterProvider = new MeterProvider({ readers: [reader] });

// Created before the providers are set, as in a module that is imported before the SDK starts.
const clientInterceptor = otelClientInterceptor();
export const serverInterceptor = otelServerInterceptor();

context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
propagation.setGlobalPropagator(
  new CompositePropagator({ propagators: [new W3CTraceContextPropagator(), new W3CBaggagePropagator()] }),
);
trace.setGlobalTracerProvider(tracerProvider);
metrics.setGlobalMeterProvider(meterProvider);

afterAll(async () => {
  await meterProvider.shutdown();
  await tracerProvider.shutdown();
  for (const api of [context, propagation, trace, metrics]) api.disable();
});

beforeEach(() => exporter.reset());

export const tracer = trace.getTracer("test");
export const interceptors = { interceptors: [clientInterceptor] };
export const tracedServer = () => streamServer({ interceptors: [serverInterceptor] });

/** Resolves to the spans of one kind, once there are as many as expected. */
export async function spans(kind: SpanKind, count: number): Promise<ReadableSpan[]> {
  for (;;) {
    const found = exporter.getFinishedSpans().filter((span) => span.kind === kind);
    if (found.length >= count) return found;
    await new Promise(setImmediate);
  }
}

export const clientSpan = async () => (await spans(SpanKind.CLIENT, 1))[0]!;
export const serverSpan = async () => (await spans(SpanKind.SERVER, 1))[0]!;

export const ids = (span: ReadableSpan) => ({
  traceId: span.spanContext().traceId,
  spanId: span.spanContext().spanId,
});
