import { context, ROOT_CONTEXT, SpanKind, type TextMapGetter } from "@opentelemetry/api";
import { Code } from "../code.js";
import type { HandlerContext } from "../server/context.js";
import { TtrpcError } from "../error.js";
import type { ServerInterceptor } from "../interceptor.js";
import type { Metadata } from "../metadata.js";
import { isInstance } from "../values.js";
import { CallSpan, type Ending, nameOf, OK, serverStreams } from "./call-span.js";
import { instruments, type OtelOptions } from "./options.js";

const getter: TextMapGetter<Metadata> = {
  get: (metadata, key) => {
    const name = key.toLowerCase();
    return Object.hasOwn(metadata, name) ? metadata[name] : undefined;
  },
  keys: (metadata) => Object.keys(metadata),
};

/** The codes for which a server is to blame; the others are the caller's, and no errors of a server's span. */
const SERVER_ERRORS: ReadonlySet<number> = new Set([
  Code.Unknown,
  Code.DeadlineExceeded,
  Code.Unimplemented,
  Code.Internal,
  Code.Unavailable,
  Code.DataLoss,
]);

/**
 * Makes a server span of each request, a child of the caller's span that the metadata names, and runs the handler with
 * it active: what the handler, or a generator that it returns, calls is the span's child.
 *
 * ```ts
 * const server = createServer({ interceptors: [otelServerInterceptor()] });
 * ```
 *
 * A streaming request's span ends when the handler's iterable does. Of the status codes, `UNKNOWN`,
 * `DEADLINE_EXCEEDED`, `UNIMPLEMENTED`, `INTERNAL`, `UNAVAILABLE` and `DATA_LOSS` make it an error, as for gRPC. A
 * method that the server does not have reaches no interceptor, and has no span.
 */
export function otelServerInterceptor(options: OtelOptions = {}): ServerInterceptor {
  const used = instruments("server", options);
  return (next) => async (call) => {
    const current = used();
    // A request's parent is the one its metadata names. What is active here has nothing to do with it.
    const parent = current.propagator.extract(ROOT_CONTEXT, call.context.metadata, getter);
    const span = new CallSpan(current, SpanKind.SERVER, call, parent);
    const fail = (error: unknown) => {
      const { code, message } = TtrpcError.from(error);
      if (!SERVER_ERRORS.has(code)) span.end(code);
      else span.end(code, message, isInstance(error, TtrpcError) ? undefined : nameOf(error));
    };
    try {
      const reply = await context.with(span.context, () => next(call));
      if (serverStreams(call.kind)) {
        const what = `what the handler of ${call.service}/${call.method} returns`;
        return span.iterate(reply, what, (ending: Ending) => {
          if (ending.how === "error") fail(ending.error);
          else if (ending.how === "left") fail(whyLeft(call.context));
          else span.end(OK);
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

/** Why a handler's iterable is not asked on: nobody waits for it, or what it gave cannot be sent. */
function whyLeft({ signal }: HandlerContext): unknown {
  return signal.aborted ? signal.reason : new TtrpcError("a response cannot be sent", Code.Internal);
}
