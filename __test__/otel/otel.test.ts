import { context, propagation, SpanKind, SpanStatusCode, trace } from "@opentelemetry/api";
import { W3CBaggagePropagator } from "@opentelemetry/core";
import { setTimeout as sleep } from "node:timers/promises";
import { DataPointType } from "@opentelemetry/sdk-metrics";
import {
  BasicTracerProvider,
  InMemorySpanExporter,
  SimpleSpanProcessor,
} from "@opentelemetry/sdk-trace-base";
import {
  type ClientInterceptor,
  Code,
  connect,
  createClient,
  createServer,
  TtrpcError,
} from "containerd-shim-protos";
import { otelClientInterceptor, otelServerInterceptor } from "containerd-shim-protos/otel";
import { describe, expect, test } from "vitest";
import { collect, firstOf, Source, times } from "../helpers/iterables.js";
import { deferred, failure } from "../helpers/outcome.js";
import { pairWith } from "../helpers/pair.js";
import { streamServer } from "../helpers/stream-server.js";
import { Streaming, Streams } from "../helpers/streaming.js";
import { pathOf } from "../helpers/temp.js";
import {
  clientSpan,
  exporter,
  ids,
  interceptors,
  metricExporter,
  reader,
  serverInterceptor,
  serverSpan,
  spans,
  tracedServer,
  tracer,
} from "./telemetry.js";

const CALLS = [
  ["Echo", (client: Client) => client.echo({ seq: 1 })],
  ["DivideStream", (client: Client) => collect(client.divideStream({ sum: 6, num: 3 }))],
  ["SumStream", (client: Client) => client.sumStream(times(3, (add) => ({ add })))],
  ["EchoStream", (client: Client) => collect(client.echoStream(times(3, (seq) => ({ seq }))))],
] as const;

type Client = ReturnType<typeof createClient<typeof Streaming>>;

describe("spans of a call", () => {
  test.each(CALLS)("of %s are parent and child across the wire", async (method, call) => {
    await using pair = await pairWith(tracedServer());
    const client = createClient(Streaming, pair.connection, interceptors);
    const root = tracer.startSpan("root");

    await context.with(trace.setSpan(context.active(), root), () => call(client));

    const [sent, served] = [await clientSpan(), await serverSpan()];
    expect(sent.parentSpanContext).toMatchObject({ spanId: root.spanContext().spanId });
    expect(sent.spanContext().traceId).toBe(root.spanContext().traceId);
    expect(served.parentSpanContext).toMatchObject({ ...ids(sent), isRemote: true });
    const name = `ttrpc.integration.streaming.Streaming/${method}`;
    const attributes = { "rpc.system.name": "ttrpc", "rpc.method": name, "rpc.status_code": "OK" };
    expect(sent).toMatchObject({ name, status: { code: SpanStatusCode.UNSET } });
    expect(sent.attributes).toEqual({ ...attributes, "server.address": pathOf(pair.address) });
    expect(served).toMatchObject({ name, status: { code: SpanStatusCode.UNSET } });
    expect(served.attributes).toEqual(attributes);
  });

  test("have no parent without an active span, on either side", async () => {
    await using pair = await pairWith(tracedServer());
    await createClient(Streaming, pair.connection, interceptors).echo({});
    expect((await clientSpan()).parentSpanContext).toBeUndefined();
    exporter.reset();

    // The caller is in the same process, so its context could leak.
    await context.with(trace.setSpan(context.active(), tracer.startSpan("other")), () =>
      createClient(Streaming, pair.connection).echo({}),
    );
    expect((await serverSpan()).parentSpanContext).toBeUndefined();
  });

  test("have the address and the port of a tcp server", async () => {
    await using server = tracedServer();
    const address = await server.listen("tcp://[::1]:0");
    await using connection = await connect(address);
    await createClient(Streaming, connection, interceptors).echo({});
    const port = Number(address.slice("tcp://[::1]:".length));
    expect((await clientSpan()).attributes).toMatchObject({ "server.address": "::1", "server.port": port });
  });

  test("use the given providers and propagator", async () => {
    const own = new InMemorySpanExporter();
    const options = {
      tracerProvider: new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(own)] }),
      propagator: new W3CBaggagePropagator(),
    };
    const server = streamServer({ interceptors: [otelServerInterceptor(options)] });
    await using pair = await pairWith(server);
    await createClient(Streaming, pair.connection, { interceptors: [otelClientInterceptor(options)] }).echo(
      {},
    );
    expect(own.getFinishedSpans().map(({ kind }) => kind)).toEqual([SpanKind.SERVER, SpanKind.CLIENT]);
    expect(own.getFinishedSpans()[0]?.parentSpanContext).toBeUndefined();
    expect(exporter.getFinishedSpans()).toEqual([]);
  });

  test.each([{ tracerProvider: {} }, { meterProvider: 5 }, { propagator: { inject() {} } }])(
    "cannot be made with %j, which is refused by name",
    (options) => {
      const [name] = Object.keys(options);
      for (const make of [otelClientInterceptor, otelServerInterceptor]) {
        expect(() => make(options as never)).toThrow(new RegExp(`^${name} must be a `));
      }
    },
  );
});

describe("the active context", () => {
  test("is the call's in handlers, in their generators, and in generators of requests", async () => {
    const seen: Record<string, (string | undefined)[]> = { requests: [], responses: [] };
    const note = (where: string) => seen[where]!.push(trace.getActiveSpan()?.spanContext().spanId);
    const server = createServer({ interceptors: [serverInterceptor] }).add(Streaming, {
      async *echoStream(requests) {
        note("responses");
        for await (const request of requests) {
          yield request;
          note("responses");
        }
      },
    });
    await using pair = await pairWith(server);
    const requests = async function* () {
      for (let seq = 0; seq < 3; seq++) {
        note("requests");
        yield { seq };
        await new Promise(setImmediate);
      }
    };

    await collect(createClient(Streaming, pair.connection, interceptors).echoStream(requests()));

    const [sent, served] = [ids(await clientSpan()).spanId, ids(await serverSpan()).spanId];
    expect(seen).toEqual({ requests: [sent, sent, sent], responses: [served, served, served, served] });
  });

  test("has the baggage that the caller set", async () => {
    const found: unknown[] = [];
    const server = createServer({ interceptors: [serverInterceptor] }).add(Streaming, {
      echo(request) {
        found.push(propagation.getActiveBaggage()?.getEntry("tenant")?.value);
        return request;
      },
    });
    await using pair = await pairWith(server);
    const baggage = propagation.createBaggage({ tenant: { value: "a b" } });
    await context.with(propagation.setBaggage(context.active(), baggage), () =>
      createClient(Streaming, pair.connection, interceptors).echo({}),
    );
    expect(found).toEqual(["a b"]);
  });
});

describe("an error", () => {
  const erring = (error: unknown) =>
    createServer({ interceptors: [serverInterceptor] }).add(Streaming, {
      echo() {
        throw error;
      },
    });

  test.each([
    [Code.NotFound, "NOT_FOUND", false],
    [Code.Canceled, "CANCELLED", false],
    [Code.Unauthenticated, "UNAUTHENTICATED", false],
    [Code.Unknown, "UNKNOWN", true],
    [Code.DeadlineExceeded, "DEADLINE_EXCEEDED", true],
    [Code.Unimplemented, "UNIMPLEMENTED", true],
    [Code.Internal, "INTERNAL", true],
    [Code.Unavailable, "UNAVAILABLE", true],
    [Code.DataLoss, "DATA_LOSS", true],
    [99, "99", false],
  ])(
    "%s marks the client's span, and the server's only if the server is to blame",
    async (code, name, blame) => {
      await using pair = await pairWith(erring(new TtrpcError("so it is", code)));
      await failure(createClient(Streaming, pair.connection, interceptors).echo({}));
      const [sent, served] = [await clientSpan(), await serverSpan()];
      const error = { code: SpanStatusCode.ERROR, message: "so it is" };
      expect(sent.status).toEqual(error);
      expect(sent.attributes).toMatchObject({ "rpc.status_code": name, "error.type": name });
      expect(served.status).toEqual(blame ? error : { code: SpanStatusCode.UNSET });
      expect(served.attributes).toMatchObject({
        "rpc.status_code": name,
        ...(blame && { "error.type": name }),
      });
      expect("error.type" in served.attributes).toBe(blame);
    },
  );

  test("that a handler throws by mistake is recorded with its class in the server's span", async () => {
    await using pair = await pairWith(erring(new RangeError("off by one")));
    await failure(createClient(Streaming, pair.connection, interceptors).echo({}));
    expect((await serverSpan()).attributes).toMatchObject({
      "rpc.status_code": "UNKNOWN",
      "error.type": "RangeError",
    });
  });

  test("in the arguments has no status, because there was no call", async () => {
    await using pair = await pairWith(tracedServer());
    const client = createClient(Streaming, pair.connection, interceptors);
    await expect(client.echo({ seq: -1 })).rejects.toThrow(TypeError);
    const { attributes, status } = await clientSpan();
    expect(attributes["error.type"]).toBe("TypeError");
    expect(attributes).not.toHaveProperty("rpc.status_code");
    expect(status.code).toBe(SpanStatusCode.ERROR);
  });

  test.each([
    ["a wrong response", () => ({ seq: "one" }), "INTERNAL", {}],
    ["too large a response", () => ({ msg: "x".repeat(5 << 20) }), "RESOURCE_EXHAUSTED", {}],
    ["a response after the deadline", async () => sleep(60, {}), "DEADLINE_EXCEEDED", { timeoutMs: 30 }],
  ])("that the caller gets in place of %s is in the spans of both sides", async (_, echo, name, options) => {
    const server = createServer({ interceptors: [serverInterceptor] });
    await using pair = await pairWith(server.add(Streaming, { echo: echo as () => object }));
    await failure(createClient(Streaming, pair.connection, interceptors).echo({}, options));
    for (const span of [await clientSpan(), await serverSpan()]) {
      expect(span.attributes["rpc.status_code"]).toBe(name);
    }
  });

  test("of a message that cannot be sent is in the spans of both sides", async () => {
    const server = createServer({ interceptors: [serverInterceptor] }).add(Streaming, {
      divideStream: () => times(1, () => ({ add: "one" as never })),
    });
    await using pair = await pairWith(server);
    await failure(collect(createClient(Streaming, pair.connection, interceptors).divideStream({})));
    const [sent, served] = [await clientSpan(), await serverSpan()];
    expect(served.status).toEqual(sent.status);
    expect(served.status.message).toContain("returned a wrong response: add must be");
  });

  test("of a request that does not decode is in the server's span", async () => {
    await using pair = await pairWith(tracedServer());
    const { code, rawMessage } = await failure(
      pair.connection.unary(Streaming.typeName, "Echo", Uint8Array.of(255, 255)),
    );
    expect(code).toBe(Code.Internal);
    expect((await serverSpan()).status).toEqual({ code: SpanStatusCode.ERROR, message: rawMessage });
  });

  test("in a stream ends both spans", async () => {
    await using pair = await pairWith(tracedServer());
    const client = createClient(Streams, pair.connection, interceptors);
    await failure(collect(client.fail(times(1, () => ({ seq: Code.Internal, msg: "broke" })))));
    for (const span of [await clientSpan(), await serverSpan()]) {
      expect(span.status).toEqual({ code: SpanStatusCode.ERROR, message: "broke" });
      expect(span.attributes["rpc.status_code"]).toBe("INTERNAL");
    }
  });

  test("that ends the connection ends the span of a stream on it", async () => {
    const pair = await pairWith(tracedServer());
    const client = createClient(Streams, pair.connection, interceptors);
    const { rest } = await firstOf(client.hang({}));
    const waiting = failure(rest.next() as Promise<unknown>);
    await pair[Symbol.asyncDispose]();
    await waiting;
    expect((await clientSpan()).attributes).toMatchObject({ "error.type": "UNAVAILABLE" });
    expect((await serverSpan()).attributes["rpc.status_code"]).toMatch(/^(?:CANCELLED|UNAVAILABLE)$/);
  });

  test("at the deadline marks the spans of both sides", async () => {
    await using pair = await pairWith(tracedServer());
    const client = createClient(Streams, pair.connection, interceptors);
    expect((await failure(collect(client.hang({}, { timeoutMs: 20 })))).code).toBe(Code.DeadlineExceeded);
    for (const span of [await clientSpan(), await serverSpan()]) {
      expect(span.attributes).toMatchObject({ "error.type": "DEADLINE_EXCEEDED" });
    }
  });
});

describe("leaving a stream early", () => {
  test("by an interceptor around this one that throws ends the span", async () => {
    await using pair = await pairWith(tracedServer());
    const refusing: ClientInterceptor = (next) => async (call) => {
      await next(call);
      throw new TtrpcError("over quota", Code.ResourceExhausted);
    };
    const around = { interceptors: [refusing, ...interceptors.interceptors] };
    await failure(collect(createClient(Streams, pair.connection, around).hang({})));
    expect((await clientSpan()).attributes["rpc.status_code"]).toBe("CANCELLED");
  });

  test("ends the client's span as CANCELLED and without an error", async () => {
    await using pair = await pairWith(tracedServer());
    const requests = new Source((seq) => ({ seq, msg: "x".repeat(1000) }));
    for await (const _ of createClient(Streaming, pair.connection, interceptors).echoStream(requests)) break;
    await requests.left;
    const { attributes, status } = await clientSpan();
    expect(attributes["rpc.status_code"]).toBe("CANCELLED");
    expect(attributes).not.toHaveProperty("error.type");
    expect(status.code).toBe(SpanStatusCode.UNSET);
  });

  test("before its first message, while another reader waits, ends the span once", async () => {
    await using pair = await pairWith(tracedServer());
    const [asked, never] = [deferred(), deferred<object>()];
    const requests = new Source(() => {
      asked.resolve();
      return never.promise;
    });
    const client = createClient(Streaming, pair.connection, interceptors);
    const replies = client.echoStream(requests)[Symbol.asyncIterator]();
    const waiting = replies.next();
    await asked.promise;
    await replies.return!();
    expect(await waiting).toEqual({ value: undefined, done: true });
    expect((await spans(SpanKind.CLIENT, 1)).length).toBe(1);
  });

  test("by the end of the connection ends the server's span as CANCELLED", async () => {
    await using pair = await pairWith(tracedServer());
    const leaving = await connect(pair.address);
    await firstOf(createClient(Streams, leaving).hang({}));
    await leaving.close();
    const { attributes, status } = await serverSpan();
    expect(attributes["rpc.status_code"]).toBe("CANCELLED");
    expect(status.code).toBe(SpanStatusCode.UNSET);
  });
});

test("durations are measured on both sides, in seconds, with the attributes of the spans", async () => {
  await reader.forceFlush();
  metricExporter.reset();
  await using pair = await pairWith(tracedServer());
  const client = createClient(Streaming, pair.connection, interceptors);
  await client.echo({});
  await collect(client.divideStream({ sum: 6, num: 3 }));
  await spans(SpanKind.SERVER, 2);
  await reader.forceFlush();
  const found = metricExporter
    .getMetrics()
    .flatMap(({ scopeMetrics }) => scopeMetrics.flatMap(({ metrics: all }) => all));
  expect(found.map(({ descriptor: { name, unit } }) => [name, unit]).toSorted()).toEqual([
    ["rpc.client.call.duration", "s"],
    ["rpc.server.call.duration", "s"],
  ]);
  for (const metric of found) {
    if (metric.dataPointType !== DataPointType.HISTOGRAM) throw new Error("a duration is not a histogram");
    expect(metric.dataPoints.map(({ attributes }) => attributes["rpc.method"]).toSorted()).toEqual([
      "ttrpc.integration.streaming.Streaming/DivideStream",
      "ttrpc.integration.streaming.Streaming/Echo",
    ]);
    for (const { value } of metric.dataPoints) expect(value.count).toBe(1);
  }
});
