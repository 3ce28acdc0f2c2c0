import { type Attributes, context, SpanKind, type TextMapSetter } from "@opentelemetry/api";
import { Code } from "../code.js";
import type { ClientInterceptor } from "../interceptor.js";
import { type Metadata, setMetadata } from "../metadata.js";
import { CallSpan, clientStreams, type Ending, OK, serverStreams, thrown } from "./call-span.js";
import { instruments, type OtelOptions } from "./options.js";

const setter: TextMapSetter<Metadata> = {
  set(metadata, key, value) {
    setMetadata(metadata, key.toLowerCase(), value);
  },
};

/**
 * Makes an interceptor that starts a client span for each call, as a child of the active span, and sends the trace in
 * the metadata (`traceparent`, `tracestate`, `baggage`, depending on the propagator).
 *
 * ```ts
 * const task = createClient(Task, connection, { interceptors: [otelClientInterceptor()] });
 * ```
 *
 * A streaming call's span ends with its stream: at its last message, with its error, or when its reader leaves, which
 * counts as `CANCELLED` but not as an error. Put this interceptor first in the list, so that it also measures the
 * others.
 *
 * Throws a TypeError that names a wrong option.
 */
export function otelClientInterceptor(options: OtelOptions = {}): ClientInterceptor {
  const used = instruments("client", options);
  return (next) => async (call) => {
    const current = used();
    const span = new CallSpan(
      current,
      SpanKind.CLIENT,
      call,
      context.active(),
      serverAttributes(call.address),
    );
    const fail = (error: unknown) => {
      const { code, message, type } = thrown(error);
      span.end(code, message, type);
    };
    try {
      current.propagator.inject(span.context, call.metadata, setter);
      const request = clientStreams(call.kind) ? span.iterate(call.request, "requests") : call.request;
      const reply = await context.with(span.context, () => next({ ...call, request }));
      if (serverStreams(call.kind)) {
        return span.iterate(reply, "what comes back", (ending: Ending) => {
          if (ending.how === "error") fail(ending.error);
          else span.end(ending.how === "end" ? OK : Code.Canceled);
        });
      }
      span.end(OK);
      return reply;
    } catch (error) {
      fail(error);
      throw error;
    }
  };
}

/** The attributes of an address that the conventions ask for. */
function serverAttributes(address: string): Attributes {
  if (address.startsWith("unix://")) return { "server.address": address.slice("unix://".length) };
  const [, bracketed, plain, port] = /^\w+:\/\/(?:\[(.+)\]|(.+)):(\d+)$/.exec(address) ?? [];
  const host = bracketed ?? plain;
  // A descriptor or a Duplex has no address except this package's name for it.
  if (host === undefined) return { "server.address": address };
  return { "server.address": host, "server.port": Number(port) };
}
