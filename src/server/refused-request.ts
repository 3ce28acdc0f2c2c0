import { type CallMessage, serverCalls } from "../diagnostics.js";
import type { TtrpcError } from "../error.js";
import type { Bridge } from "../native/bridge.js";
import type { Named } from "../native/slots.js";
import type { ActiveRequest } from "../native/types.js";

/** A request that no handler sees. It is answered with an error as soon as its batch has been read. */
export class RefusedRequest implements ActiveRequest {
  readonly slot: number;
  readonly generation: number;
  readonly #bridge: Bridge;
  readonly #connection: number;
  readonly #error: TtrpcError;
  readonly #trace: ((connection: number) => CallMessage | undefined) | undefined;

  /** @param trace - Reports it to the diagnostics channels, if they have subscribers. */
  constructor(
    bridge: Bridge,
    request: Readonly<Named> & { readonly connection: number },
    error: TtrpcError,
    trace?: (connection: number) => CallMessage | undefined,
  ) {
    this.#bridge = bridge;
    this.slot = request.slot;
    this.generation = request.generation;
    this.#connection = request.connection;
    this.#error = error;
    this.#trace = trace;
  }

  run(): void {
    const message = this.#trace?.(this.#connection);
    this.#bridge.reply(this, undefined, this.#error);
    if (message !== undefined) serverCalls.end(message, { error: this.#error });
  }

  abort(): void {
    this.#bridge.letGo(this);
  }

  message(): void {}
  end(): void {}
  sent(): void {}
}
