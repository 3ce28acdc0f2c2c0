import { ROOT_CONTEXT, SpanKind, type TextMapGetter } from "@opentelemetry/api";
import { Code } from "../code.js";
import type { HandlerContext } from "../server/context.js";
import { TtrpcError } from "../error.js";
import { type ServerInterceptor, serverStreams } from "../interceptor.js";
import type { Metadata } from "../metadata.js";
import { responsesOf, wrongResponses } from "../stream/outgoing.js";
import { isInstance } from "../value-kinds.js";
import { CallSpan, type Ending, nameOf, type Outcome, succeeded } from "./call-span.js";
import type { OtelOptions } from "./options.js";
import { Telemetry } from "./telemetry.js";

const getter: TextMapGetter<Metadata> = {
  get: (metadata, key) => {
    const name = key.toLowerCase();
    return Object.hasOwn(metadata, name) ? metadata[name] : undefined;
  },
  keys: (metadata) => Object.keys(metadata),
};

/** The codes for which the server is to blame. The others are the caller's errors, and do not fail a server span. */
const SERVER_ERRORS: ReadonlySet<number> = new Set([
  Code.Unknown,
  Code.DeadlineExceeded,
  Code.Unimplemented,
  Code.Internal,
  Code.Unavailable,
  Code.DataLoss,
]);

/**
 * Makes an interceptor that starts a server span for each request, as a child of the caller's span in the metadata, and
 * runs the handler with that span active: calls made by the handler, or by a generator that it returns, become its
 * children.
 *
 * ```ts
 * const server = createServer({ interceptors: [otelServerInterceptor()] });
 * ```
 *
 * A streaming request's span ends when the handler's iterable does. The status codes `UNKNOWN`, `DEADLINE_EXCEEDED`,
 * `UNIMPLEMENTED`, `INTERNAL`, `UNAVAILABLE` and `DATA_LOSS` make the span an error, as for gRPC. A request for a
 * method that the server does not have reaches no interceptor, so it has no span.
 *
 * Throws a TypeError that names a wrong option.
 */
export function otelServerInterceptor(options: OtelOptions = {}): ServerInterceptor {
  const telemetry = new Telemetry("server", options);
  return (next) => async (call) => {
    // The metadata names the request's parent. The span that happens to be active here is unrelated.
    const parent =
      telemetry.hook(
        "propagator.extract",
        () => telemetry.propagator.extract(ROOT_CONTEXT, call.context.metadata, getter),
        true,
      ) ?? ROOT_CONTEXT;
    const span = new CallSpan(telemetry, SpanKind.SERVER, call, parent);
    try {
      const reply = await span.run(() => next(call));
      if (serverStreams(call.kind)) {
        const over = (ending: Ending) => {
          if (ending.how === "error") span.end(() => answered(ending.error));
          else if (ending.how === "left") span.end(() => answered(whyLeft(call.context)));
          else span.end(succeeded);
        };
        return span.iterate(reply, responsesOf(call), over, wrongResponses);
      }
      span.end(succeeded);
      return reply;
    } catch (error) {
      span.end(() => answered(error));
      throw error;
    }
  };
}

/** The outcome of a request that is answered with an error. */
function answered(error: unknown): Outcome {
  const { code, message } = TtrpcError.from(error);
  if (!SERVER_ERRORS.has(code)) return { code };
  return { code, message, type: isInstance(error, TtrpcError) ? undefined : nameOf(error) };
}

/** Why a handler's iterable was left: because of the caller, of a message that cannot be sent, or of an interceptor. */
function whyLeft({ signal }: HandlerContext): unknown {
  return signal.aborted ? signal.reason : new TtrpcError("an interceptor left the stream", Code.Canceled);
}
