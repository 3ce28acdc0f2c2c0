import {
  type Attributes,
  type Context,
  context,
  type Span,
  type SpanKind,
  SpanStatusCode,
  trace,
} from "@opentelemetry/api";
import { Code, codeName } from "../code.js";
import { TtrpcError } from "../error.js";
import type { MethodKind } from "../interceptor.js";
import { iteratorOf } from "../stream/outgoing.js";
import { isInstance } from "../values.js";
import type { Instruments } from "./options.js";

/** One call, from its start to its end, which comes once: its span, its context and its duration. */
export class CallSpan {
  /** The context in which the span is the active one. */
  readonly context: Context;
  readonly #span: Span;
  readonly #attributes: Attributes;
  readonly #instruments: Instruments;
  readonly #start = performance.now();
  #ended = false;

  constructor(
    used: Instruments,
    kind: SpanKind,
    { service, method }: { readonly service: string; readonly method: string },
    parent: Context,
    more: Attributes = {},
  ) {
    const name = `${service}/${method}`;
    this.#instruments = used;
    this.#attributes = { "rpc.system.name": "ttrpc", "rpc.method": name, ...more };
    this.#span = used.tracer.startSpan(name, { kind, attributes: this.#attributes }, parent);
    this.context = trace.setSpan(parent, this.#span);
  }

  /**
   * Ends the call; later calls of this method have no effect. `message` says what went wrong; without it the outcome is
   * not an error, whatever its code.
   */
  end(code: number | undefined, message?: string, type?: string): void {
    if (this.#ended) return;
    this.#ended = true;
    const outcome: Attributes = {};
    if (code !== undefined) outcome["rpc.status_code"] = statusCode(code);
    if (message !== undefined) outcome["error.type"] = type ?? statusCode(code ?? Code.Unknown);
    this.#span.setAttributes(outcome);
    if (message !== undefined) this.#span.setStatus({ code: SpanStatusCode.ERROR, message });
    const seconds = (performance.now() - this.#start) / 1000;
    this.#instruments.duration.record(seconds, { ...this.#attributes, ...outcome }, this.context);
    this.#span.end();
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
  ): AsyncIterableIterator<unknown> {
    type Step = IteratorResult<unknown>;
    const run = <T>(action: () => T): T => context.with(this.context, action);
    const iterator = run(() => iteratorOf(messages as AsyncIterable<unknown>, what));
    const watch = async (action: () => Step | Promise<Step>) => {
      try {
        const result = await run(action);
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

/** How an iterable ended. */
export type Ending = { readonly how: "end" | "left" } | { readonly how: "error"; readonly error: unknown };

/** Whether the client sends several messages in this kind of method. */
export function clientStreams(kind: MethodKind): boolean {
  return kind === "client_streaming" || kind === "bidi_streaming";
}

/** Whether the server sends several messages in this kind of method. */
export function serverStreams(kind: MethodKind): boolean {
  return kind === "server_streaming" || kind === "bidi_streaming";
}

/** The status code of success, which no error has. */
export const OK = 0;

/** The name of a status code, as gRPC and the conventions write it. */
function statusCode(code: number): string {
  if (code === OK) return "OK";
  if (code === Code.Canceled) return "CANCELLED";
  if (Code[code] === undefined) return String(code);
  return codeName(code)
    .replaceAll(/(?<=[a-z])(?=[A-Z])/g, "_")
    .toUpperCase();
}

/** The status code and the text of a thrown value; no code if it is not a call's outcome, such as a TypeError. */
export function thrown(error: unknown): { code: number | undefined; message: string; type?: string } {
  if (isInstance(error, TtrpcError)) return { code: error.code, message: error.message };
  const { message } = TtrpcError.from(error);
  return { code: undefined, message, type: nameOf(error) ?? typeof error };
}

/** The name of an error; undefined if the value is not an error. */
export function nameOf(error: unknown): string | undefined {
  try {
    return error instanceof Error ? String(error.name) : undefined;
  } catch {
    // A user-defined getter threw, or it is a revoked Proxy.
    return undefined;
  }
}
