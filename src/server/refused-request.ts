import { type CallMessage, serverCalls } from "../diagnostics.js";
import type { TtrpcError } from "../error.js";
import type { Port } from "../native/bridge.js";
import type { Named } from "../native/slots.js";
import type { ActiveRequest } from "../native/types.js";

/** A request that no handler sees: it is answered with an error as soon as its batch is read. */
export class RefusedRequest implements ActiveRequest {
  readonly slot: number;
  readonly generation: number;
  readonly #port: Port;
  readonly #connection: number;
  readonly #error: TtrpcError;
  readonly #trace: ((connection: number) => CallMessage | undefined) | undefined;

  /** @param trace - Tells the diagnostics channels of it, if they are to hear of it. */
  constructor(
    port: Port,
    request: Readonly<Named> & { readonly connection: number },
    error: TtrpcError,
    trace?: (connection: number) => CallMessage | undefined,
  ) {
    this.#port = port;
    this.slot = request.slot;
    this.generation = request.generation;
    this.#connection = request.connection;
    this.#error = error;
    this.#trace = trace;
  }

  run(): void {
    const message = this.#trace?.(this.#connection);
    this.#port.reply(this, undefined, this.#error);
    if (message !== undefined) serverCalls.end(message, { error: this.#error });
  }

  abort(): void {
    this.#port.letGo(this);
  }

  message(): void {}
  end(): void {}
  sent(): void {}
}
