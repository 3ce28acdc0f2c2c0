import type { Payload } from "../codec/payload.js";
import type { BatchReader } from "../native/batch-reader.js";
import type { IncomingRequest } from "../native/types.js";
import type { ServerConnection } from "./context.js";
import { type RequestHost, RunningRequest, type Served } from "./running-request.js";

/** A request with one message and one response. */
export class UnaryRequest extends RunningRequest {
  readonly #request: unknown;
  readonly #wrong: { error: unknown } | undefined;

  constructor(
    host: RequestHost,
    method: Served,
    request: IncomingRequest,
    connection: ServerConnection,
    reader: BatchReader,
  ) {
    super(host, method, request, connection);
    this.decoding();
    try {
      this.#request = reader.read(method.decode);
    } catch (error) {
      this.#wrong = { error };
    }
    this.decoded(this.#wrong === undefined);
  }

  protected handle(): void {
    let response: unknown;
    try {
      response = this.#wrong === undefined ? this.call(this.#request) : this.refuse(this.#wrong.error);
      // A handler that returns its answer at once pays for no promise. Reading `then` from its result may throw.
      if (typeof (response as PromiseLike<unknown> | undefined)?.then === "function") {
        void Promise.resolve(response).then(
          (message) => this.#answer(message),
          (error: unknown) => this.fail(error),
        );
        return;
      }
    } catch (error) {
      this.fail(error);
      return;
    }
    this.#answer(response);
  }

  #answer(message: unknown): void {
    let response: Payload;
    try {
      response = this.method.encode(message);
    } catch (error) {
      this.fail(error);
      return;
    }
    this.succeed(response);
  }
}
