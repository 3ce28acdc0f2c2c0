import type { CallOptions, Connection, MethodKind } from "../../index.js";
import { withConnection } from "../connecting.js";
import { UsageError } from "../errors.js";
import { ExitCode } from "../exit-code.js";
import { encoded, type Format, formatOf, rawFormat } from "../format.js";
import { Input } from "../input.js";
import { jsonLine } from "../output/json.js";
import { rawOf } from "../output/raw.js";
import { print, printError, styledError } from "../output/stdout.js";
import type { Part } from "../output/text.js";
import { loadRegistry, namesSchema } from "../schema/schema.js";
import type { SchemaOptions } from "../schema/options.js";
import { type ServedMethod, servedMethod } from "../served-route.js";
import { interruptible } from "../signals.js";
import { targetOf, type TargetOptions } from "../target.js";

/** The options of `shimctl call`. */
export interface CallCommandOptions extends SchemaOptions, TargetOptions {
  readonly json?: boolean;
  readonly emitDefaults?: boolean;
  readonly timeout?: number;
  readonly metadata?: Record<string, string[]>;
  readonly raw?: boolean;
  readonly kind?: MethodKind;
}

/** Makes a call and prints the reply, or the replies. */
export async function call(
  to: string,
  route: string,
  data: string | undefined,
  options: CallCommandOptions,
): Promise<void> {
  const target = targetOf(to, options);
  const input = new Input(data);
  const { timeout: timeoutMs, metadata } = options;
  await interruptible(async (signal) => {
    signal.addEventListener("abort", () => input.close(), { once: true });
    const limits = { timeoutMs, signal };
    const format = options.raw ? await hexFormat(route, options) : await jsonFormat(route, options);
    await withConnection(target.address, limits, async (connection) =>
      run(connection, await format(connection, target, limits), input, { ...limits, metadata }),
    );
  });
}

async function run(
  connection: Connection,
  format: Format,
  input: Input,
  options: CallOptions,
): Promise<void> {
  const { service, method, kind } = format;
  switch (kind) {
    case "unary":
      return show(format, await connection.unary(service, method, await single(format, input), options));
    case "client_streaming": {
      const requests = new Requests(format, input);
      const response = connection.clientStreaming(service, method, requests, options);
      return show(format, await requests.failOver(response));
    }
    case "server_streaming": {
      const request = await single(format, input);
      for await (const bytes of connection.serverStreaming(service, method, request, options)) {
        await showLine(format, bytes);
      }
      return;
    }
    case "bidi_streaming": {
      const requests = new Requests(format, input);
      const replies = connection.bidiStreaming(service, method, requests, options);
      return requests.failOver(
        (async () => {
          for await (const bytes of replies) await showLine(format, bytes);
        })(),
      );
    }
  }
}

/** The requests of a stream, one per line of the input. */
class Requests implements AsyncIterable<Uint8Array> {
  readonly #format: Format;
  readonly #input: Input;
  #failure: unknown;

  constructor(format: Format, input: Input) {
    this.#format = format;
    this.#input = input;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array> {
    let number = 0;
    try {
      for await (const line of this.#input.lines()) {
        number++;
        yield encoded(this.#format, line, `${this.#input.name}, message ${number}`);
      }
    } catch (error) {
      this.#failure = error;
      throw error;
    }
  }

  /**
   * Waits for the stream, and then reads no more. If a request was wrong, that error is thrown, not the one with which the
   * stream failed.
   */
  async failOver<T>(outcome: Promise<T>): Promise<T> {
    try {
      return await outcome;
    } catch (error) {
      throw this.#failure ?? error;
    } finally {
      this.#input.close();
    }
  }
}

async function single(format: Format, input: Input): Promise<Uint8Array> {
  return encoded(format, await input.text(), input.name);
}

async function show(format: Format, bytes: Uint8Array): Promise<void> {
  await print(orRaw(bytes, () => format.lines(bytes)));
}

async function showLine(format: Format, bytes: Uint8Array): Promise<void> {
  await print(orRaw(bytes, () => [format.line(bytes)]));
}

/**
 * A reply that does not decode is shown as its bytes, and makes the exit code that of a failure. It does not end the
 * stream, because later replies may be right.
 */
function orRaw(bytes: Uint8Array, lines: () => Part[]): Part[] {
  try {
    return lines();
  } catch (error) {
    const raw = rawOf(bytes, error);
    printError(styledError("red", `shimctl: ${raw.problem}`));
    process.exitCode = ExitCode.Status;
    return [jsonLine({ ...raw })];
  }
}

/** Finds out how requests and replies are written, by asking the shim at the other end if need be. */
type ServedFormat = (...asked: Parameters<ServedMethod["ask"]>) => Promise<Format>;

async function hexFormat(route: string, options: CallCommandOptions): Promise<ServedFormat> {
  // For the details of a status, which are shown as JSON all the same.
  if (namesSchema(options)) await loadRegistry(options);
  const format = rawFormat(route, options.kind);
  return () => Promise.resolve(format);
}

async function jsonFormat(route: string, options: CallCommandOptions): Promise<ServedFormat> {
  if (options.kind !== undefined) {
    throw new UsageError("--kind needs --raw: otherwise the method's definition gives its kind");
  }
  const registry = await loadRegistry(options);
  const served = servedMethod(registry, route);
  const { emitDefaults, json } = options;
  return async (connection, target, limits) =>
    formatOf(await served.ask(connection, target, limits), { registry, emitDefaults, json, id: target.id });
}
