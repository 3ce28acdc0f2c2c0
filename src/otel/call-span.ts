import { currentMs } from "../clock.js";
import {
  type Attributes,
  type Context,
  type Span,
  type SpanKind,
  SpanStatusCode,
  trace,
} from "@opentelemetry/api";
import { Code, codeName } from "../code.js";
import { TtrpcError } from "../error.js";
import { iteratorOf, type Refuse } from "../stream/outgoing.js";
import { isError, isInstance } from "../value-kinds.js";
import type { Telemetry } from "./telemetry.js";

/** One call, from its start to its end, which comes once: its span, its context and its duration. */
export class CallSpan {
  /** The context in which the span is the active one. */
  readonly context: Context;
  readonly #telemetry: Telemetry;
  /** Undefined if the tracer made none. */
  readonly #span: Span | undefined;
  readonly #attributes: Attributes;
  readonly #start = currentMs();
  #ended = false;

  constructor(
    telemetry: Telemetry,
    kind: SpanKind,
    { service, method }: { readonly service: string; readonly method: string },
    parent: Context,
    more: Attributes = {},
  ) {
    const name = `${service}/${method}`;
    const attributes: Attributes = { "rpc.system.name": "ttrpc", "rpc.method": name, ...more };
    const tracer = telemetry.tracer();
    const span =
      tracer &&
      telemetry.hook("tracer.startSpan", () => tracer.startSpan(name, { kind, attributes }, parent), true);
    this.#telemetry = telemetry;
    this.#attributes = attributes;
    this.#span = span;
    this.context =
      (span && telemetry.hook("trace.setSpan", () => trace.setSpan(parent, span), true)) ?? parent;
  }

  /** Runs code of the call with the call's context as the active one. */
  run<T>(action: () => T): T {
    return this.#telemetry.within(this.context, action);
  }

  /** Ends the call; later calls of this method have no effect. `outcomeOf` runs user code if the error has any. */
  end(outcomeOf: () => Outcome): void {
    if (this.#ended) return;
    this.#ended = true;
    const { message, outcome = {} } =
      this.#telemetry.hook("reading the outcome", () => described(outcomeOf())) ?? {};
    this.#onSpan("setAttributes", (span) => span.setAttributes(outcome));
    if (message !== undefined) {
      this.#onSpan("setStatus", (span) => span.setStatus({ code: SpanStatusCode.ERROR, message }));
    }
    const seconds = (currentMs() - this.#start) / 1000;
    const duration = this.#telemetry.duration();
    if (duration !== undefined) {
      const measured = { ...this.#attributes, ...outcome };
      this.#telemetry.hook("histogram.record", () => duration.record(seconds, measured, this.context));
    }
    this.#onSpan("end", (span) => span.end());
  }

  #onSpan(method: string, action: (span: Span) => unknown): void {
    const span = this.#span;
    if (span !== undefined) this.#telemetry.hook(`span.${method}`, () => action(span));
  }

  /**
   * Wraps an iterable, and runs its code in the call's context. `over` is called with how it ended: with an error, by a
   * reader that left early, or at its end. It is not a generator, because a reader may leave while a message is
   * awaited.
   */
  iterate(
    messages: unknown,
    what: string,
    over: (how: Ending) => void = () => undefined,
    refuse?: Refuse,
  ): AsyncIterableIterator<unknown> {
    type Step = IteratorResult<unknown>;
    const iterator = this.run(() => iteratorOf(messages as AsyncIterable<unknown>, what, refuse));
    const watch = async (action: () => Step | Promise<Step>) => {
      try {
        const result = await this.run(action);
        if (result.done === true) over({ how: "end" });
        return result;
      } catch (error) {
        over({ how: "error", error });
        throw error;
      }
    };
    return {
      next: () => watch(() => iterator.next()),
      return: (value?: unknown) => {
        over({ how: "left" });
        return watch(() => iterator.return?.(value) ?? { value, done: true });
      },
      [Symbol.asyncIterator]() {
        return this;
      },
    };
  }
}

/**
 * The outcome of a call. `code` is its status code, if it has one. `message` says what went wrong; without it the outcome
 * is not an error, whatever the code. `type` is the class of the error, if that says more than the code.
 */
export interface Outcome {
  readonly code?: number | undefined;
  readonly message?: string | undefined;
  readonly type?: string | undefined;
}

/** The attributes of an outcome, and its message. */
function described({ code, message, type }: Outcome): { message: string | undefined; outcome: Attributes } {
  const outcome: Attributes = {};
  if (code !== undefined) outcome["rpc.status_code"] = statusCode(code);
  if (message !== undefined) outcome["error.type"] = type ?? statusCode(code ?? Code.Unknown);
  return { message, outcome };
}

/** How an iterable ended. */
export type Ending = { readonly how: "end" | "left" } | { readonly how: "error"; readonly error: unknown };

/** The status code of success, which no error has. */
const OK = 0;

/** The outcome of a call that succeeded. */
export const succeeded = (): Outcome => ({ code: OK });

/** The name of a status code, as gRPC and the conventions write it. */
function statusCode(code: number): string {
  if (code === OK) return "OK";
  if (code === Code.Canceled) return "CANCELLED";
  if (Code[code] === undefined) return String(code);
  return codeName(code)
    .replaceAll(/(?<=[a-z])(?=[A-Z])/g, "_")
    .toUpperCase();
}

/** The status code and the message of a thrown value; no code if it is not a call's outcome, such as a TypeError. */
export function thrown(error: unknown): Outcome {
  if (isInstance(error, TtrpcError)) return { code: error.code, message: error.rawMessage };
  const { message } = TtrpcError.from(error);
  return { code: undefined, message, type: nameOf(error) ?? typeof error };
}

/** The name of an error; undefined if the value is not an error. */
export function nameOf(error: unknown): string | undefined {
  try {
    return isError(error) ? String(error.name) : undefined;
  } catch {
    // A user-defined getter threw, or it is a revoked Proxy.
    return undefined;
  }
}
