import { context, propagation } from "@opentelemetry/api";
import { connect, createClient, createServer, type Metadata } from "containerd-shim-protos";
import { beforeAll, describe, expect, test } from "vitest";
import { buildGo } from "../helpers/go-build.js";
import { describeWithGo } from "../helpers/go-peer.js";
import { pairWith, SERVICE } from "../helpers/pair.js";
import { rawConnect, RawServer } from "../helpers/raw-peer.js";
import { Started } from "../helpers/started.js";
import { describeWithPeers, streamCalls, StreamPeer } from "../helpers/stream-peer.js";
import { streaming, streams } from "../helpers/stream-server.js";
import { Streaming, Streams } from "../helpers/streaming.js";
import { pathOf, temporaryAddress } from "../helpers/temp.js";
import { clientSpan, ids, interceptors, serverInterceptor, serverSpan } from "./telemetry.js";

describe("the metadata", () => {
  const TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

  test("has lower-case keys with one value each, which replace earlier ones", async () => {
    await using server = await RawServer.listen();
    await using connection = await connect(server.address);
    const peer = await server.accept();
    const traceparent = ["old", "older"];
    const call = createClient(Streaming, connection, interceptors).echo(
      {},
      { metadata: { traceparent, a: "b" } },
    );
    const { metadata, streamId } = await peer.nextRequest();
    await peer.reply(streamId, new Uint8Array());
    await call;
    const { traceId, spanId } = ids(await clientSpan());
    expect(metadata).toContainEqual(["traceparent", `00-${traceId}-${spanId}-01`]);
    expect(metadata).toContainEqual(["a", "b"]);
    expect(metadata).toHaveLength(2);
  });

  test("has nothing of another trace that is handed on by a handler's context", async () => {
    const seen: Metadata[] = [];
    await using behind = await pairWith(
      createServer().add(Streaming, {
        echo(request, { metadata }) {
          seen.push(metadata);
          return request;
        },
      }),
    );
    // No interceptor of the server continues the trace.
    const before = createServer().add(Streaming, {
      echo: (request, parent) =>
        createClient(Streaming, behind.connection, interceptors).echo(request, { parent }),
    });
    await using pair = await pairWith(before);
    const metadata = { traceparent: TRACEPARENT, tracestate: "x=1", baggage: "tenant=other", own: "kept" };
    await createClient(Streaming, pair.connection).echo({}, { metadata });
    const { traceId, spanId } = ids(await clientSpan());
    expect(seen).toEqual([{ own: ["kept"], traceparent: [`00-${traceId}-${spanId}-01`] }]);
    expect(traceId).not.toBe("0af7651916cd43dd8448eb211c80319c");
  });

  test("has the baggage that is active, and not what was removed from it", async () => {
    const seen: Metadata[] = [];
    const behind = createServer().add(Streaming, {
      echo(request, { metadata }) {
        seen.push(metadata);
        return request;
      },
    });
    await using far = await pairWith(behind);
    const before = createServer({ interceptors: [serverInterceptor] }).add(Streaming, {
      echo(request, parent) {
        const left = propagation.getBaggage(context.active())!.removeEntry("secret");
        const clean = propagation.setBaggage(context.active(), left);
        const client = createClient(Streaming, far.connection, interceptors);
        return context.with(clean, () => client.echo(request, { parent }));
      },
    });
    await using pair = await pairWith(before);
    for (const baggage of ["secret=1", "secret=1,tenant=a"]) {
      await createClient(Streaming, pair.connection).echo({}, { metadata: { baggage } });
    }
    expect(seen.map(({ baggage }) => baggage)).toEqual([undefined, ["tenant=a"]]);
  });

  test("of a raw peer names the parent, whatever the case of its keys", async () => {
    await using server = createServer({ interceptors: [serverInterceptor] }).addRaw(SERVICE, {
      Echo: { kind: "unary", handle: (payload) => payload },
    });
    using peer = await rawConnect(await server.listen(temporaryAddress()));
    const metadata = [["Traceparent", TRACEPARENT] as const, ["tracestate", "x=1"] as const];
    await peer.call(1, { service: SERVICE, method: "Echo", metadata });
    const span = await serverSpan();
    expect(span.parentSpanContext).toMatchObject({
      traceId: "0af7651916cd43dd8448eb211c80319c",
      spanId: "b7ad6b7169203331",
    });
    expect(span.parentSpanContext?.traceState?.serialize()).toBe("x=1");
  });

  test.each(["", "00-zz-zz-01", "x".repeat(10_000)])(
    "that is broken, such as %j, starts a new trace",
    async (text) => {
      await using server = createServer({ interceptors: [serverInterceptor] }).add(Streaming, streaming);
      using peer = await rawConnect(await server.listen(temporaryAddress()));
      const request = {
        service: Streaming.typeName,
        method: "Echo",
        metadata: [["traceparent", text] as const],
      };
      await peer.call(1, request);
      expect((await serverSpan()).parentSpanContext).toBeUndefined();
    },
  );

  describeWithPeers("of the peer in $peer", (language) => {
    test("names the parent of our server's span", async () => {
      await using server = createServer({ interceptors: [serverInterceptor] })
        .add(Streaming, streaming)
        .add(Streams, streams);
      const address = await server.listen(temporaryAddress());
      await streamCalls(language, address, "Describe", { metadata: [`traceparent=${TRACEPARENT}`] });
      expect((await serverSpan()).parentSpanContext?.spanId).toBe("b7ad6b7169203331");
    });

    test("shows it the span of our client", async () => {
      await using peer = await StreamPeer.serve(language);
      await using connection = await connect(peer.address);
      const { msg } = await createClient(Streams, connection, interceptors).describe({});
      const { traceId, spanId } = ids(await clientSpan());
      expect(JSON.parse(msg)).toMatchObject({ metadata: { traceparent: [`00-${traceId}-${spanId}-01`] } });
    });
  });
});

describeWithGo("containerd 2's interceptor", () => {
  let client = "";
  beforeAll(() => {
    client = buildGo("otel", "otel-client");
  }, 240_000);

  test("sends metadata that makes its span the parent of our server's", async () => {
    await using server = createServer({ interceptors: [serverInterceptor] }).addRaw(SERVICE, {
      Echo: { kind: "unary", handle: (payload) => payload },
    });
    const address = await server.listen(temporaryAddress());
    await using calling = new Started(client, [pathOf(address), SERVICE, "Echo"]);
    expect(await calling.ended()).toBe(0);
    const { parentSpanContext } = await serverSpan();
    const traceparent = `00-${parentSpanContext?.traceId}-${parentSpanContext?.spanId}-01`;
    expect(JSON.parse(calling.output)).toEqual([{ key: "traceparent", value: traceparent }]);
  });
});
