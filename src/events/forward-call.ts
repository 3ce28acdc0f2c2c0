import type { CallMessage } from "../diagnostics.js";
import type { TtrpcError } from "../error.js";
import type { BatchReader } from "../native/batch-reader.js";
import type { PendingCall } from "../native/types.js";

/** Told that a call has its outcome, while a batch is read. */
export interface ForwardCallOwner {
  landed(call: ForwardCall): void;
}

/** A ForwardRequest on its way to a server of events. */
export abstract class ForwardCall implements PendingCall {
  slot = 0;
  generation = 0;
  state: "waiting" | "sent" | "delivered" | "failed" | "settled" = "waiting";
  error: TtrpcError | undefined = undefined;
  reply = NO_BYTES;
  /** Who sent it. */
  owner: ForwardCallOwner | undefined = undefined;
  /** What the diagnostics channels were told about the current attempt. */
  trace: CallMessage | undefined = undefined;

  /**
   * @param payload - The encoded ForwardRequest.
   * @param metadata - Metadata to send with it.
   * @param lane - Parcels of one lane keep their order.
   * @param expiresAt - When it is given up, by `currentMs()`.
   */
  constructor(
    readonly payload: Uint8Array,
    readonly metadata: readonly (readonly [string, string])[],
    readonly lane: number,
    readonly expiresAt: number,
  ) {}

  /** Reports its outcome; `reply` holds the bytes of the answer. Called once, and never while a batch is read. */
  abstract settled(error: TtrpcError | undefined, reply: Uint8Array): void;

  succeed(reader: BatchReader): void {
    this.state = "delivered";
    if (reader.rest > 0) this.reply = reader.payload();
    this.owner?.landed(this);
  }

  fail(error: TtrpcError): void {
    this.state = "failed";
    this.error = error;
    this.owner?.landed(this);
  }
}

/** An answer that is an empty message. */
export const NO_BYTES: Uint8Array = new Uint8Array(0);
