import {
  type MeterProvider,
  propagation,
  type TextMapPropagator,
  type TracerProvider,
} from "@opentelemetry/api";
import { checkOptions } from "../options.js";
import { isRevoked, kindOf } from "../value-kinds.js";

/**
 * Options of the interceptors. The default of each is OpenTelemetry's global API, read at each call.
 *
 * No call fails because one of these throws: the call continues without that part of its telemetry, and a process warning
 * (`TtrpcWarning`) reports the first failure of each method.
 */
export interface OtelOptions {
  /** Provides the tracer for the spans. */
  readonly tracerProvider?: TracerProvider | undefined;
  /** Provides the meter for the histograms `rpc.client.call.duration` and `rpc.server.call.duration`, in seconds. */
  readonly meterProvider?: MeterProvider | undefined;
  /**
   * Writes the trace into metadata, and reads it from there. On a client, the keys of its `fields()` are removed from the
   * metadata first.
   */
  readonly propagator?: TextMapPropagator | undefined;
}

/** A propagator as the interceptors use it. */
export type Propagator = NonNullable<OtelOptions["propagator"]>;

const OPTIONS = [
  "tracerProvider",
  "meterProvider",
  "propagator",
] as const satisfies readonly (keyof OtelOptions)[];

function hasMethods(value: unknown, names: readonly string[]): boolean {
  if ((typeof value !== "object" && typeof value !== "function") || value === null || isRevoked(value)) {
    return false;
  }
  return names.every((name) => typeof (value as Record<string, unknown>)[name] === "function");
}

/** Checks options, and fills in the global propagator. Throws a TypeError that names a wrong option. */
export function checkedOtelOptions(
  owner: string,
  options: OtelOptions,
): OtelOptions & { readonly propagator: Propagator } {
  checkOptions(owner, options, OPTIONS);
  const { tracerProvider, meterProvider, propagator = propagation } = options;
  if (tracerProvider !== undefined && !hasMethods(tracerProvider, ["getTracer"])) {
    throw new TypeError(`tracerProvider must be a TracerProvider, not ${kindOf(tracerProvider)}`);
  }
  if (meterProvider !== undefined && !hasMethods(meterProvider, ["getMeter"])) {
    throw new TypeError(`meterProvider must be a MeterProvider, not ${kindOf(meterProvider)}`);
  }
  if (!hasMethods(propagator, ["inject", "extract", "fields"])) {
    throw new TypeError(`propagator must be a TextMapPropagator, not ${kindOf(propagator)}`);
  }
  return { tracerProvider, meterProvider, propagator };
}
