import {
  type Histogram,
  type MeterProvider,
  metrics,
  propagation,
  type TextMapPropagator,
  trace,
  type Tracer,
  type TracerProvider,
} from "@opentelemetry/api";
import { checkOptions } from "../options.js";
import { isRevoked } from "../values.js";

/** Options of the interceptors. The default of each is OpenTelemetry's global API, read at each call. */
export interface OtelOptions {
  /** Provides the tracer for the spans. */
  readonly tracerProvider?: TracerProvider;
  /** Provides the meter for the histograms `rpc.client.call.duration` and `rpc.server.call.duration`, in seconds. */
  readonly meterProvider?: MeterProvider;
  /** Writes the trace into metadata, and reads it from there. */
  readonly propagator?: Pick<TextMapPropagator, "inject" | "extract">;
}

const OPTIONS = [
  "tracerProvider",
  "meterProvider",
  "propagator",
] as const satisfies readonly (keyof OtelOptions)[];

/** The instruments that an interceptor works with. */
export interface Instruments {
  readonly tracer: Tracer;
  readonly duration: Histogram;
  readonly propagator: Pick<TextMapPropagator, "inject" | "extract">;
}

const NAME = "containerd-shim-protos";

/** The buckets, in seconds, that the conventions recommend. */
const BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10];

function hasMethods(value: unknown, names: readonly string[]): boolean {
  if ((typeof value !== "object" && typeof value !== "function") || value === null || isRevoked(value)) {
    return false;
  }
  return names.every((name) => typeof (value as Record<string, unknown>)[name] === "function");
}

/**
 * Returns a function that finds the instruments, anew for each call: a meter obtained before a global provider was set
 * would never record anything. Throws a TypeError that names a wrong option.
 */
export function instruments(side: "client" | "server", options: OtelOptions): () => Instruments {
  checkOptions(side === "client" ? "otelClientInterceptor" : "otelServerInterceptor", options, OPTIONS);
  const { tracerProvider, meterProvider, propagator = propagation } = options;
  if (tracerProvider !== undefined && !hasMethods(tracerProvider, ["getTracer"])) {
    throw new TypeError("tracerProvider must be a TracerProvider");
  }
  if (meterProvider !== undefined && !hasMethods(meterProvider, ["getMeter"])) {
    throw new TypeError("meterProvider must be a MeterProvider");
  }
  if (!hasMethods(propagator, ["inject", "extract"])) {
    throw new TypeError("propagator must be a TextMapPropagator");
  }
  let known: (Instruments & { readonly meters: MeterProvider; readonly tracers: TracerProvider }) | undefined;
  return () => {
    const tracers = tracerProvider ?? trace.getTracerProvider();
    const meters = meterProvider ?? metrics.getMeterProvider();
    if (known?.meters === meters && known.tracers === tracers) return known;
    const duration = meters.getMeter(NAME).createHistogram(`rpc.${side}.call.duration`, {
      unit: "s",
      description: `Duration of ttrpc calls, as the ${side} sees it.`,
      advice: { explicitBucketBoundaries: BUCKETS },
    });
    known = { tracer: tracers.getTracer(NAME), duration, propagator, meters, tracers };
    return known;
  };
}
