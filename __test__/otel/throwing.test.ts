import { setImmediate as turn } from "node:timers/promises";
import { AsyncLocalStorageContextManager } from "@opentelemetry/context-async-hooks";
import { type Context, context, type ContextManager, propagation } from "@opentelemetry/api";
import { W3CTraceContextPropagator } from "@opentelemetry/core";
import {
  AggregationTemporality,
  InMemoryMetricExporter,
  MeterProvider,
  PeriodicExportingMetricReader,
} from "@opentelemetry/sdk-metrics";
import { BasicTracerProvider } from "@opentelemetry/sdk-trace-base";
import { Code, createClient, TtrpcError } from "containerd-shim-protos";
import { otelClientInterceptor, otelServerInterceptor } from "containerd-shim-protos/otel";
import * as fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { collect, firstOf, times } from "../helpers/iterables.js";
import { pairWith } from "../helpers/pair.js";
import { streamServer } from "../helpers/stream-server.js";
import { Streaming, Streams } from "../helpers/streaming.js";
import { watchUncaught } from "../helpers/uncaught.js";

watchUncaught();

/** The methods of telemetry that the interceptors call, each of which can fail. */
const HOOKS = [
  "getTracer",
  "startSpan",
  "setAttributes",
  "setStatus",
  "end",
  "getMeter",
  "createHistogram",
  "record",
  "fields",
  "inject",
  "extract",
  "active",
  "with",
] as const;
type Hook = (typeof HOOKS)[number];

/** What a failing method does, and whether it does its work first. */
type Failure = "throws" | "throws afterwards" | "rejects" | "returns nothing";
const FAILURES: readonly Failure[] = ["throws", "throws afterwards", "rejects", "returns nothing"];

const revoked = () => {
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  return proxy;
};
const THROWN: readonly unknown[] = [
  new Error("boom"),
  new TtrpcError("boom", Code.NotFound),
  undefined,
  "boom",
  Object.create(null),
  revoked(),
];

/** The methods that fail now, how, and with what. */
let failing: ReadonlyMap<Hook, Failure> = new Map();
let reason: unknown;
/** The methods that failed. */
const failed = new Set<Hook>();

/** An object whose methods, and those of the objects that they return, fail as `failing` says. */
function faulty<T extends object>(target: T): T {
  return new Proxy(target, {
    get(of, name) {
      const value: unknown = Reflect.get(of, name);
      if (typeof value !== "function") return value;
      return (...parts: unknown[]) => {
        const failure = failing.get(name as Hook);
        if (failure !== undefined) failed.add(name as Hook);
        if (failure === "throws") throw reason;
        if (failure === "rejects") return Promise.reject(reason);
        const result: unknown = Reflect.apply(value, of, parts);
        if (failure === "throws afterwards") throw reason;
        if (failure === "returns nothing") return undefined;
        const wraps = ["getTracer", "startSpan", "getMeter", "createHistogram"].includes(String(name));
        return wraps ? faulty(result as object) : result;
      };
    },
  });
}

const meterProvider = new MeterProvider({
  readers: [
    new PeriodicExportingMetricReader({
      exporter: new InMemoryMetricExporter(AggregationTemporality.DELTA),
      exportIntervalMillis: 1e6,
    }),
  ],
});

const telemetryOf = () => ({
  tracerProvider: faulty(new BasicTracerProvider()),
  meterProvider: faulty(meterProvider),
  propagator: faulty(new W3CTraceContextPropagator()),
});

const warnings: string[] = [];
const onWarning = ({ name, message }: Error) => {
  if (name === "TtrpcWarning") warnings.push(message);
};

beforeAll(() => {
  process.on("warning", onWarning);
  context.setGlobalContextManager(faulty<ContextManager>(new AsyncLocalStorageContextManager().enable()));
});

afterAll(async () => {
  failing = new Map();
  process.off("warning", onWarning);
  context.disable();
  propagation.disable();
  await meterProvider.shutdown();
});

/** The outcomes of calls of every kind that succeed, fail, and are left. */
async function outcomes(telemetry?: ReturnType<typeof telemetryOf>): Promise<unknown[]> {
  const client = { interceptors: telemetry === undefined ? [] : [otelClientInterceptor(telemetry)] };
  const server = { interceptors: telemetry === undefined ? [] : [otelServerInterceptor(telemetry)] };
  await using pair = await pairWith(streamServer(server));
  const streaming = createClient(Streaming, pair.connection, client);
  const streams = createClient(Streams, pair.connection, client);
  const calls = () => [
    streaming.echo({ seq: 1, msg: "a" }),
    streaming.echo({ seq: -1 }),
    streaming.sumStream(times(3, (add) => ({ add }))),
    streaming.echoNull(times(2, (seq) => ({ seq, msg: "wrong" }))),
    collect(streaming.divideStream({ sum: 6, num: 3 })),
    collect(streaming.echoStream(times(3, (seq) => ({ seq })))),
    collect(streams.fail(times(1, () => ({ seq: Code.Internal, msg: "broke" })))),
    collect(streams.hang({ seq: 4 }, { timeoutMs: 20 })),
    firstOf(streams.hang({ seq: 5 })).then(async ({ first, rest }) => {
      await rest.return?.();
      return first;
    }),
  ];
  // Twice, because a failure is reported once.
  const settled = [...(await Promise.allSettled(calls())), ...(await Promise.allSettled(calls()))];
  return settled.map((each) => {
    if (each.status === "fulfilled") return each.value;
    const { name, code, message } = each.reason as TtrpcError;
    return { name, code, message };
  });
}

describe("telemetry that fails", () => {
  /** Expects the outcomes of calls without telemetry, and no failure reported twice. Resolves to the reports. */
  async function expectSameOutcomes(failures: ReadonlyMap<Hook, Failure>, thrown: unknown) {
    const expected = await outcomes();
    warnings.length = 0;
    failed.clear();
    [failing, reason] = [failures, thrown];
    try {
      expect(await outcomes(telemetryOf())).toEqual(expected);
      await turn();
    } finally {
      failing = new Map();
    }
    expect(warnings.length).toBe(new Set(warnings).size);
    return warnings.map((text) => text.split(";")[0]!);
  }

  test.each(HOOKS)(
    "in %s costs no call its outcome, and is reported once by each interceptor",
    async (hook) => {
      const reports = await expectSameOutcomes(new Map([[hook, "throws"]]), new Error("boom"));
      expect([...failed]).toEqual([hook]);
      const side = { fields: ["Client"], inject: ["Client"], active: ["Client"], extract: ["Server"] }[
        hook as string
      ];
      expect(reports.toSorted()).toEqual(
        (side ?? ["Client", "Server"]).map((each) => expect.stringContaining(`otel${each}Interceptor: `)),
      );
    },
  );

  test("in any way, in any number of methods and with any value, costs no call its outcome", async () => {
    const failures = fc.dictionary(fc.constantFrom(...HOOKS), fc.constantFrom(...FAILURES), { minKeys: 1 });
    await fc.assert(
      fc.asyncProperty(failures, fc.nat({ max: THROWN.length - 1 }), async (some, which) => {
        await expectSameOutcomes(new Map(Object.entries(some) as [Hook, Failure][]), THROWN[which]);
      }),
      { numRuns: 40 },
    );
  }, 60_000);

  test("by writing metadata that cannot be sent costs no call its outcome", async () => {
    const propagator = {
      inject: (
        _: Context,
        carrier: unknown,
        setter: { set(to: unknown, key: string, value: string): void },
      ) => setter.set(carrier, "traceparent", "\ud800"),
      extract: (from: Context) => from,
      fields: () => ["traceparent"],
    };
    await using pair = await pairWith(streamServer());
    const client = { interceptors: [otelClientInterceptor({ propagator: propagator as never })] };
    warnings.length = 0;
    expect(await createClient(Streaming, pair.connection, client).echo({ seq: 1 })).toMatchObject({ seq: 2 });
    await turn();
    expect(warnings).toEqual([expect.stringMatching(/inject failed.*"traceparent".*lone surrogate/)]);
  });
});
