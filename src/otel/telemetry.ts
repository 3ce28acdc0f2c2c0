import {
  type Context,
  context,
  type Histogram,
  type MeterProvider,
  metrics,
  ROOT_CONTEXT,
  trace,
  type Tracer,
  type TracerProvider,
} from "@opentelemetry/api";
import { textOf } from "../value-kinds.js";
import { checkedOtelOptions, type OtelOptions, type Propagator } from "./options.js";

const NAME = "containerd-shim-protos";

/** The buckets, in seconds, that the conventions recommend. */
const BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10];

/**
 * OpenTelemetry as one interceptor uses it. Tracers, meters, propagators and context managers are user code, and none of
 * them may cost a call its outcome. So everything that calls them does so through this class.
 */
export class Telemetry {
  readonly propagator: Propagator;
  readonly #side: "client" | "server";
  readonly #owner: string;
  readonly #tracers: TracerProvider | undefined;
  readonly #meters: MeterProvider | undefined;
  /** The hooks whose failure was reported. */
  readonly #reported = new Set<string>();
  #tracer: { readonly of: TracerProvider; readonly value: Tracer } | undefined;
  #duration: { readonly of: MeterProvider; readonly value: Histogram } | undefined;

  /** Throws a TypeError that names a wrong option. */
  constructor(side: "client" | "server", options: OtelOptions) {
    this.#side = side;
    this.#owner = side === "client" ? "otelClientInterceptor" : "otelServerInterceptor";
    const { tracerProvider, meterProvider, propagator } = checkedOtelOptions(this.#owner, options);
    this.#tracers = tracerProvider;
    this.#meters = meterProvider;
    this.propagator = propagator;
  }

  /**
   * Runs one hook. If it throws, the result is undefined and the call continues without it; a process warning reports
   * the first failure of each hook. With `needed`, to return nothing is a failure, too.
   */
  hook<T>(name: string, run: () => T, needed = false): NonNullable<T> | undefined {
    try {
      const result = run();
      if (result === null || result === undefined) {
        if (needed) throw new TypeError(`it returned ${String(result)}`);
      } else if (result instanceof Promise) {
        // No hook is awaited. An async function that stands for one must not end the process with its rejection.
        void result.then(
          () => this.#report(name, new TypeError("it returned a Promise")),
          (error: unknown) => this.#report(name, error),
        );
      } else return result;
    } catch (error) {
      this.#report(name, error);
    }
    return undefined;
  }

  #report(name: string, error: unknown): void {
    if (this.#reported.has(name)) return;
    this.#reported.add(name);
    const text = `${this.#owner}: ${name} failed; calls continue without it, and this is reported once`;
    process.emitWarning(`${text}: ${textOf(error)}`, { type: "TtrpcWarning" });
  }

  /**
   * Runs code of the call with `active` as the active context. The code runs once and its outcome is the result, whatever
   * the context manager does.
   */
  within<T>(active: Context, action: () => T): T {
    let outcome: { readonly value: T } | { readonly error: unknown } | undefined;
    let ran = false;
    const once = () => {
      if (ran) return;
      ran = true;
      try {
        outcome = { value: action() };
      } catch (error) {
        outcome = { error };
      }
    };
    this.hook("context.with", () => context.with(active, once));
    once();
    if ("error" in outcome!) throw outcome.error;
    return outcome!.value;
  }

  /** The active context. */
  active(): Context {
    return this.hook("context.active", () => context.active(), true) ?? ROOT_CONTEXT;
  }

  /** The tracer. Asked for each call, because the global provider may be set late. */
  tracer(): Tracer | undefined {
    const provider = this.#tracers ?? trace.getTracerProvider();
    if (this.#tracer?.of !== provider) {
      const value = this.hook("tracerProvider.getTracer", () => provider.getTracer(NAME), true);
      this.#tracer = value && { of: provider, value };
    }
    return this.#tracer?.value;
  }

  /** The histogram of durations. Asked for each call: one obtained before the global provider was set records nothing. */
  duration(): Histogram | undefined {
    const provider = this.#meters ?? metrics.getMeterProvider();
    if (this.#duration?.of !== provider) {
      const meter = this.hook("meterProvider.getMeter", () => provider.getMeter(NAME), true);
      const value =
        meter &&
        this.hook(
          "meter.createHistogram",
          () =>
            meter.createHistogram(`rpc.${this.#side}.call.duration`, {
              unit: "s",
              description: `Duration of ttrpc calls, as the ${this.#side} sees it.`,
              advice: { explicitBucketBoundaries: BUCKETS },
            }),
          true,
        );
      this.#duration = value && { of: provider, value };
    }
    return this.#duration?.value;
  }
}
