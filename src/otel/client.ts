import { type Attributes, SpanKind, type TextMapSetter } from "@opentelemetry/api";
import { Code } from "../code.js";
import { type ClientCall, type ClientInterceptor, clientStreams, serverStreams } from "../interceptor.js";
import { type Metadata, metadataPairs, setMetadata } from "../metadata.js";
import { CallSpan, type Ending, succeeded, thrown } from "./call-span.js";
import type { OtelOptions } from "./options.js";
import { Telemetry } from "./telemetry.js";

const setter: TextMapSetter<Metadata> = {
  set(metadata, key, value) {
    // What cannot be sent must fail here, in the propagator, and not the call.
    for (const [name, text] of metadataPairs({ [key]: value })) setMetadata(metadata, name, text);
  },
};

/**
 * Removes what the propagator may write. Metadata that is handed on has another trace's fields, of which `inject` would
 * replace only those that this trace has, too.
 */
function removeFields(metadata: Metadata, fields: readonly string[]): void {
  const names = new Set(Array.from(fields, (field) => field.toLowerCase()));
  for (const key of Object.keys(metadata)) if (names.has(key.toLowerCase())) delete metadata[key];
}

/**
 * Makes an interceptor that starts a client span for each call, as a child of the active span, and sends the trace in the
 * metadata (`traceparent`, `tracestate`, `baggage`, depending on the propagator). Values that the options `metadata` and
 * `parent` have for these keys are not sent.
 *
 * ```ts
 * const task = createClient(Task, connection, { interceptors: [otelClientInterceptor()] });
 * ```
 *
 * A streaming call's span ends with its stream: at its last message, with its error, or when its reader leaves, which
 * counts as `CANCELLED` but not as an error. Put this interceptor first in the list, so that it also measures the other
 * interceptors.
 *
 * Throws a TypeError that names a wrong option.
 */
export function otelClientInterceptor(options: OtelOptions = {}): ClientInterceptor {
  const telemetry = new Telemetry("client", options);
  return (next) => async (call) => {
    const span = new CallSpan(
      telemetry,
      SpanKind.CLIENT,
      call,
      telemetry.active(),
      serverAttributes(call.address),
    );
    const fields = telemetry.hook("propagator.fields", () => telemetry.propagator.fields(), true);
    if (fields !== undefined) telemetry.hook("propagator.fields", () => removeFields(call.metadata, fields));
    telemetry.hook("propagator.inject", () =>
      telemetry.propagator.inject(span.context, call.metadata, setter),
    );
    try {
      const request = clientStreams(call.kind) ? span.iterate(call.request, "requests") : call.request;
      const reply = await span.run(() => next({ ...call, request } as ClientCall));
      if (serverStreams(call.kind)) {
        return span.iterate(reply, "what comes back", (ending: Ending) => {
          if (ending.how === "error") span.end(() => thrown(ending.error));
          else span.end(ending.how === "end" ? succeeded : left);
        });
      }
      span.end(succeeded);
      return reply;
    } catch (error) {
      span.end(() => thrown(error));
      throw error;
    }
  };
}

/** The outcome of a stream whose reader left. */
const left = () => ({ code: Code.Canceled });

/** The attributes of an address that the conventions ask for. */
function serverAttributes(address: string): Attributes {
  if (address.startsWith("unix://")) return { "server.address": address.slice("unix://".length) };
  const [, bracketed, plain, port] = /^\w+:\/\/(?:\[(.+)\]|(.+)):(\d+)$/.exec(address) ?? [];
  const host = bracketed ?? plain;
  // A descriptor or a Duplex has no address except this package's name for it.
  if (host === undefined) return { "server.address": address };
  return { "server.address": host, "server.port": Number(port) };
}
